import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { drawRooms } from '../docs/architecture.js';
import { FOR_ALL, mayImport, ROOMS, roomOf } from './rooms.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const src = join(root, 'src');

/** The only rooms or files that may import a package; packages that are not listed may be imported anywhere. */
const OWNERS: [package_: RegExp, owners: string[], instead: string][] = [
  [/^onnxruntime-/, [], 'only the copy of transformers.js will do, which platform/ finds'],
  [/^@huggingface\//, ['models', 'platform'], 'take what models/ makes of it as an argument'],
  [/^@bufbuild\//, ['graph'], 'read and write graphs with graph/onnx/'],
  [/^(commander|cli-table3|cli-progress)$/, ['cli'], 'return values, and let cli/ show them'],
  [/^(hono|@hono|prom-client)(\/|$)/, ['server'], 'ask an engine, and let server/ answer'],
  [/^pino$/, ['cli/commands/serve.ts'], 'take a logger as an argument'],
  [/^pg-boss$/, ['queue'], 'take a queue as an argument'],
  [/^yauzl$/, ['convert'], 'read checkpoints with convert/reading/'],
  [/^d3-/, ['eval'], 'draw with svg.ts'],
];

/** Pure folders: typed arrays and bytes in, typed arrays and bytes out. They run in a browser as they are. */
const WITHOUT_NODE = ['cache', 'memory', 'policies', 'grammar', 'graph'];
/** Stands for `platform/node/` in Node and for `platform/browser/` elsewhere: package.json says so. */
const PLATFORM = '#platform/';
const MAX_LINES = 300;
/** Files and folders in one folder, tests beside their files not counted. */
const MAX_ENTRIES = 12;

interface Import {
  /** Path of the importing file, from src/. */
  from: string;
  specifier: string;
  /** Path of the imported file, from src/; undefined for a package. */
  to: string | undefined;
}

const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
const product = files.filter((file) => !file.endsWith('.test.ts'));
const folderOf = (file: string) => (file.includes('/') ? file.split('/')[0]! : '');
const textOf = (file: string) => readFileSync(join(src, file), 'utf8');

function importsOf(from: string): Import[] {
  const pattern =
    /(?:^|\n)\s*(?:import|export)\b[^;]*?\bfrom\s*['"]([^'"]+)['"]|import\(\s*['"]([^'"]+)['"]\s*\)|(?:^|\n)\s*import\s*['"]([^'"]+)['"]/g;
  return [...textOf(from).matchAll(pattern)].map((match) => {
    const specifier = (match[1] ?? match[2] ?? match[3])!;
    const path = specifier.startsWith(PLATFORM)
      ? join('platform/node', specifier.slice(PLATFORM.length))
      : specifier.startsWith('.') && relative(src, join(src, dirname(from), specifier));
    return { from, specifier, to: path ? path.replace(/\.js$/, '.ts') : undefined };
  });
}

const all = product.flatMap(importsOf);

describe('architecture', () => {
  it('sees the imports it checks', () => {
    expect(product.length).toBeGreaterThan(30);
    expect(all.length).toBeGreaterThan(100);
    expect(all.filter(({ to }) => to !== undefined && !to.startsWith('..') && !files.includes(to))).toEqual(
      [],
    );
  });

  it('every file lies in a room', () => {
    const homeless = product.filter((file) => roomOf(file) === undefined);
    expect(homeless, 'give the folder a room in test/rooms.ts and a line in docs/architecture.md').toEqual(
      [],
    );
  });

  it('imports run one way', () => {
    const wrong = all.flatMap(({ from, to }) => {
      if (to === undefined || FOR_ALL.includes(to)) return [];
      if (to.startsWith('..')) return [`${from} reaches out of src/ for ${to}: move what it needs into src/`];
      const [here, there] = [roomOf(from), roomOf(to)];
      if (here === undefined || there === undefined || mayImport(here, there)) return [];
      const allowed = ROOMS[here]!.imports.map((room) => (room === '' ? 'index.ts' : room)).join(', ');
      return [`${from} must not import ${to}: ${here || 'src/'} may import ${allowed || 'nothing'}`];
    });
    expect(
      wrong,
      'move what both need into a room below, or hand it in as an argument; an arrow that ought to be there is added in test/rooms.ts',
    ).toEqual([]);
  });

  it('no file imports itself by way of others', () => {
    expect(
      circles(),
      'what ties a circle is mostly a type or a constant: move it into a file of its own that imports none of these',
    ).toEqual([]);
  });

  it('each outside package has one owner', () => {
    const wrong = all.flatMap(({ from, specifier }) => {
      const [, owners, instead] = OWNERS.find(([name]) => name.test(specifier)) ?? [];
      if (!owners || owners.some((owner) => from === owner || from.startsWith(`${owner}/`))) return [];
      return [`${from} must not import ${specifier}: ${instead}`];
    });
    expect(wrong).toEqual([]);
  });

  it(`${WITHOUT_NODE.join(', ')} are free of Node`, () => {
    const pure = product.filter((file) => WITHOUT_NODE.includes(folderOf(file)));
    const wrong = pure.filter(
      (file) =>
        importsOf(file).some(({ specifier }) => specifier.startsWith('node:')) ||
        /\b(process\.|Buffer\b)/.test(textOf(file)),
    );
    expect(wrong, 'read and write in runtime/ or above, and hand these folders arrays and bytes').toEqual([]);
  });

  it('what Node has of platform/, browsers have as well', () => {
    const modules = new Set(
      all.map(({ specifier }) => specifier).filter((specifier) => specifier.startsWith(PLATFORM)),
    );
    const wrong = Array.from(modules, (specifier) =>
      specifier.slice(PLATFORM.length).replace(/\.js$/, '.ts'),
    ).filter(
      (file) => exportsOf(`platform/node/${file}`).join() !== exportsOf(`platform/browser/${file}`).join(),
    );
    expect(modules.size).toBeGreaterThan(5);
    expect(wrong, 'export the same names from both files').toEqual([]);
  });

  it('Node and browsers are told apart in platform/ alone', () => {
    const reaching = all.filter(
      ({ from, specifier, to }) =>
        !from.startsWith('platform/') &&
        folderOf(from) !== 'cli' &&
        !specifier.startsWith(PLATFORM) &&
        to?.match(/^platform\/(node|browser)\//),
    );
    expect(reaching, `import ${PLATFORM}... instead`).toEqual([]);
  });

  it('only the command line prints or exits', () => {
    const wrong = product
      // A worker process is the engine's own, and goes when the engine's does.
      .filter((file) => folderOf(file) !== 'cli' && file !== 'engine/worker/node-main.ts')
      .filter((file) => /\b(console\.|process\.(exit|stdout|stderr))/.test(textOf(file)));
    expect(wrong, 'return it, throw an ElasticCacheError, or take a function to report to').toEqual([]);
  });

  it(`no file is longer than ${MAX_LINES} lines`, () => {
    const long = files
      .filter((file) => !file.endsWith('.gen.ts'))
      .filter((file) => textOf(file).split('\n').length > MAX_LINES);
    expect(long, 'part it into files that do one thing each').toEqual([]);
  });

  it(`a folder has at most ${MAX_ENTRIES} entries, or a reason in docs/architecture.md`, () => {
    const reasons = [...guide().matchAll(/^- `src\/([\w/-]*?)\/?`: /gm)].map((match) => match[1]!);
    const full = ['', ...foldersOf(src)].filter((folder) => entriesOf(folder) > MAX_ENTRIES);
    expect(
      full.sort(),
      'give files that belong together a folder of their own, or say why not under "Full rooms" (and take out reasons that are no longer needed)',
    ).toEqual(reasons.sort());
  });

  it('docs/architecture.md and docs/adding.md name files that are there', () => {
    const named = ['architecture.md', 'adding.md'].flatMap((page) =>
      [
        ...readFileSync(join(root, 'docs', page), 'utf8').matchAll(
          /`((?:src|test|docs|bench|demo-model)\/[\w./-]+)`/g,
        ),
      ].map((match) => match[1]!),
    );
    expect(named.length).toBeGreaterThan(30);
    expect(
      named.filter((path) => !existsSync(join(root, path))),
      'these have moved: say where they are now',
    ).toEqual([]);
  });

  it('docs/architecture.svg shows these rooms and arrows', () => {
    const drawn = readFileSync(join(root, 'docs/architecture.svg'), 'utf8') === drawRooms();
    expect(drawn, 'draw it again: npx tsx docs/architecture.ts').toBe(true);
  });
});

/** One circle for each file that closes one, as `a.ts -> b.ts -> a.ts`. */
function circles(): string[] {
  const targets = new Map(product.map((file) => [file, [] as string[]]));
  for (const { from, to } of all) if (to !== undefined) targets.get(from)!.push(to);
  const found: string[] = [];
  const done = new Set<string>();
  const path: string[] = [];
  const visit = (file: string) => {
    const start = path.indexOf(file);
    if (start >= 0) found.push([...path.slice(start), file].join(' -> '));
    if (start >= 0 || done.has(file)) return;
    path.push(file);
    targets.get(file)?.forEach(visit);
    path.pop();
    done.add(file);
  };
  product.forEach(visit);
  return found;
}

/** The names of the values that a file exports. */
function exportsOf(file: string): string[] {
  const text = textOf(file);
  const declared = text.matchAll(/^export (?:async )?(?:const|let|function\*?|class) (\w+)/gm);
  const listed = text.matchAll(/^export (?:const )?\{([^}]*)\}/gm);
  return [
    ...Array.from(declared, (match) => match[1]!),
    ...Array.from(listed, (match) => match[1]!.split(',').map((name) => name.trim())).flat(),
  ]
    .filter((name) => name !== '')
    .sort();
}

function guide(): string {
  return readFileSync(join(root, 'docs/architecture.md'), 'utf8');
}

/** All folders inside a folder, by their paths in it. */
function foldersOf(folder: string): string[] {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isDirectory())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)));
}

function entriesOf(folder: string): number {
  return readdirSync(join(src, folder)).filter((name) => !name.endsWith('.test.ts')).length;
}
