import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const src = join(root, 'src');

/** What each folder of src/ may import from its neighbours; '' is a file directly in src/. */
const ARROWS: Record<string, string[]> = {
  cache: [],
  policies: ['cache'],
  graph: [],
  runtime: ['cache', 'graph'],
  models: ['runtime', 'policies', 'cache', 'graph'],
  convert: ['graph'],
  scenes: [],
  eval: ['models', 'policies', 'runtime', 'cache'],
  explain: ['models', 'policies', 'runtime', 'cache'],
  cli: ['', 'scenes', 'explain', 'models', 'policies', 'runtime', 'cache', 'graph', 'convert', 'eval'],
  '': ['models', 'policies', 'runtime', 'cache', 'graph', 'convert', 'eval'],
};

/** The only folders or files that may import a package; packages that are not listed may be imported anywhere. */
const OWNERS: [package_: RegExp, owners: string[]][] = [
  // Only transformers.js's own copy will do, which runtime/ort.ts finds.
  [/^onnxruntime-/, []],
  [/^@huggingface\//, ['models', 'runtime/ort.ts']],
  [/^@bufbuild\//, ['graph']],
  [/^(commander|cli-table3|cli-progress)$/, ['cli']],
];

/** Pure folders: typed arrays and bytes in, typed arrays and bytes out. */
const WITHOUT_NODE = ['cache', 'policies', 'graph'];
/** Files that everybody may import. */
const FOR_ALL = ['errors.js', 'options.js', 'random.js'];
const MAX_LINES = 300;

type Import = { from: string; specifier: string };

const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
const product = files.filter((file) => !file.endsWith('.test.ts'));
const folderOf = (file: string) => (file.includes('/') ? file.split('/')[0]! : '');

function importsOf(file: string): Import[] {
  const text = readFileSync(join(src, file), 'utf8');
  const pattern =
    /(?:^|\n)\s*(?:import|export)\b[^;]*?\bfrom\s*['"]([^'"]+)['"]|import\(\s*['"]([^'"]+)['"]\s*\)/g;
  return [...text.matchAll(pattern)].map((match) => ({ from: file, specifier: (match[1] ?? match[2])! }));
}

const all = product.flatMap(importsOf);

describe('architecture', () => {
  it('sees the imports it checks', () => {
    expect(product.length).toBeGreaterThan(30);
    expect(all.length).toBeGreaterThan(100);
  });

  it('imports run one way', () => {
    const wrong = all.flatMap(({ from, specifier }) => {
      if (!specifier.startsWith('.')) return [];
      const target = relative(src, join(src, dirname(from), specifier));
      if (target.startsWith('..')) return [`${from} reaches out of src/: ${specifier}`];
      const [here, there] = [folderOf(from), folderOf(target)];
      if (here === there || FOR_ALL.includes(target)) return [];
      return ARROWS[here]?.includes(there) ? [] : [`${from} must not import ${specifier}`];
    });
    expect(wrong).toEqual([]);
  });

  it('each outside package has one owner', () => {
    const wrong = all.flatMap(({ from, specifier }) => {
      const owner = OWNERS.find(([name]) => name.test(specifier));
      return !owner || [folderOf(from), from].some((name) => owner[1].includes(name))
        ? []
        : [`${from} must not import ${specifier}`];
    });
    expect(wrong).toEqual([]);
  });

  it('cache, policies and graph are free of Node', () => {
    const wrong = all.filter(
      ({ from, specifier }) => WITHOUT_NODE.includes(folderOf(from)) && specifier.startsWith('node:'),
    );
    const globals = product
      .filter((file) => WITHOUT_NODE.includes(folderOf(file)))
      .filter((file) => /\b(process\.|Buffer\b)/.test(readFileSync(join(src, file), 'utf8')));
    expect([...wrong, ...globals]).toEqual([]);
  });

  it('only the command line prints or exits', () => {
    const wrong = product
      .filter((file) => folderOf(file) !== 'cli')
      .filter((file) =>
        /\b(console\.|process\.(exit|stdout|stderr))/.test(readFileSync(join(src, file), 'utf8')),
      );
    expect(wrong).toEqual([]);
  });

  it(`no file is longer than ${MAX_LINES} lines`, () => {
    const long = files
      .filter((file) => !file.endsWith('.gen.ts'))
      .filter((file) => readFileSync(join(src, file), 'utf8').split('\n').length > MAX_LINES);
    expect(long).toEqual([]);
  });
});
