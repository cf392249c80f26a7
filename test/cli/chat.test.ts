import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { jsonPage } from '../../src/cli/results/json-page.js';
import {
  CompareResult,
  Conversation,
  EvalResult,
  ExplainResult,
  GenerateResult,
  InspectResult,
} from '../../src/cli/results/schemas.js';
import { finished, run, start } from './run-cli.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const sample = join(root, 'demo-model/samples/01.png');
const own = join(root, 'test/cli/own-policy.mjs');
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'elastic-cli-'));
});
afterAll(() => rm(folder, { recursive: true }));

/** A conversation by the lines of a pipe. */
function talk(lines: readonly string[], ...options: string[]): ReturnType<typeof finished> {
  const child = start('chat', ...options);
  child.stdin.end(`${lines.join('\n')}\n`);
  return finished(child);
}

describe('chat, piped', () => {
  it('answers a line at a time on one cache; only answers go to stdout', async () => {
    const { stdout, stderr, code } = await talk(
      ['Describe the image in detail.', '', 'How many objects are there?', '/stats', '/quit', 'not asked'],
      ...['--image', sample, '--policy', 'full', '--budget', '1', '--max-new-tokens', '9'],
    );
    const [description, count, ...rest] = stdout.split('\n');
    expect(description).toMatch(/^The picture shows \d objects/);
    expect(count).toBeTruthy();
    expect(rest).toEqual(['']);
    expect(stderr).toMatch(/prompt {2}6\d\d tokens, 5\d\d of them seen before/);
    expect(code).toBe(0);
  });

  it('goes on after what is wrong with one line, and says so in its exit status', async () => {
    const { stdout, stderr, code } = await talk([
      '/imgae x.png',
      '/image',
      '/image nowhere.png',
      '/reset',
      `/image ${sample}`,
      'How many objects are there?',
    ]);
    expect(stdout).toMatch(/^\d+\n$/);
    expect(stderr).toContain(
      'error: there is no command /imgae; there are /image, /save, /stats, /reset, /help, /quit. Did you mean "/image"?',
    );
    expect(stderr).toContain('error: /image has no file');
    expect(stderr).toContain('error: image nowhere.png cannot be opened');
    expect(code).toBe(1);
  });

  it('writes what was said to a file, as JSON or as text, and over no other file', async () => {
    const [json, text, other] = ['talk.json', 'talk.txt', 'own.txt'].map((name) => join(folder, name));
    await writeFile(other!, 'mine');
    const { stderr } = await talk(
      [
        `/save ${json}`,
        'How many objects are there?',
        `/save ${json}`,
        `/save ${text}`,
        `/save ${other}`,
        '/save',
      ],
      ...['--image', sample, '--policy', 'full', '--budget', '1', '--system', 'Be brief.'],
    );
    const saved = Conversation.parse(JSON.parse(await readFile(json!, 'utf8')));
    const turn = { image: [sample], prompt: 'How many objects are there?', finishReason: 'stop' };
    expect(saved).toMatchObject({ policy: 'full', budget: '1', system: 'Be brief.', dtype: null });
    expect(saved.turns).toEqual([{ ...turn, answer: expect.stringMatching(/^.+$/) }]);
    expect(await readFile(text!, 'utf8')).toMatch(
      /llava-scenes, full, budget 1\n\n\(Be brief\.\)\n\n\[.*01\.png\]\n> How many objects are there\?\n.+\n$/,
    );
    expect(await readFile(other!, 'utf8')).toBe('mine');
    expect(stderr).toContain(`error: ${other} is there already; save to another file.`);
    expect(stderr).toContain('error: /save has no file; write for example /save talk.json.');
  });

  it('a signal ends the answer, a second one the program', async () => {
    const child = start(
      'chat',
      '--image',
      sample,
      '--policy',
      'full',
      '--budget',
      '1',
      '--temperature',
      '5',
      '--seed',
      '1',
      '--max-new-tokens',
      '3000',
    );
    const whole = finished(child);
    child.stdin.write('Describe the image in detail.\n');
    await new Promise((resolve) => child.stdout.once('data', resolve));
    child.kill('SIGINT');
    const stopped = new Promise<void>((resolve) => {
      child.stderr.on('data', (data) => String(data).includes('(stopped)') && resolve());
    });
    await stopped;
    child.kill('SIGINT');
    expect((await whole).code).toBe(130);
  });
});

describe('generate', () => {
  const asked = ['--image', sample, '--prompt', 'Describe the image in detail.', '--max-new-tokens', '12'];

  it('draws by temperature, top-p, top-k and seed, and ends at stop strings', async () => {
    const draw = (seed: string) =>
      run('generate', ...asked, '--temperature', '2', '--top-k', '40', '--top-p', '0.95', '--seed', seed);
    const [one, same, other] = await Promise.all([draw('7'), draw('7'), draw('8')]);
    expect(one.stdout).toBe(same.stdout);
    expect(one.stdout).not.toBe(other.stdout);
    const { stdout } = await run(
      'generate',
      ...asked,
      '--policy',
      'full',
      '--stop',
      ' shows',
      '--stop',
      'none',
    );
    expect(stdout).toBe('The picture\n');
  });

  it('refuses an option that its policy has no use for', async () => {
    const given = [...asked, '--end-size', '9'];
    for (const policy of ['snapkv', own]) {
      const { stdout, stderr, code } = await run('generate', ...given, '--policy', policy);
      expect([stdout, code]).toEqual(['', 2]);
      expect(stderr).toMatch(
        /^error: --end-size makes no difference to .*; leave it out, or choose a policy/,
      );
    }
    expect((await run('compare', ...given, '--policies', 'h2o,snapkv')).code).toBe(2);
    const { stdout } = await run(
      'compare',
      ...given,
      '--policies',
      'snapkv,elastic',
      '--budgets',
      '0.5',
      '--json',
    );
    expect(CompareResult.parse(JSON.parse(stdout))).toHaveLength(3);
  });

  it.each([
    ['--top-p', '0', '--top-p "0" is not a number above 0 and at most 1 (all tokens).'],
    ['--top-k', '-1', '--top-k "-1" is not a whole number from 1, or 0 for all tokens.'],
    ['--seed', '1.5', '--seed "1.5" is not a whole number from 0.'],
    ['--stop', '', '--stop is empty; give one character at least.'],
  ])('refuses %s %j', async (option, value, message) => {
    const { stderr, code } = await run('generate', ...asked, `${option}=${value}`);
    expect(stderr).toContain(message);
    expect(code).not.toBe(0);
  });
});

describe('a policy of a user, from a file', () => {
  const asked = [
    '--image',
    sample,
    '--prompt',
    'How many objects are there?',
    '--max-new-tokens',
    '3',
    '--json',
  ];

  it('runs in generate, compare and explain, under its name and the state of its file', async () => {
    const generated = GenerateResult.parse(
      JSON.parse((await run('generate', ...asked, '--policy', own)).stdout),
    );
    expect(generated.policy).toMatch(/^own-policy\.mjs@[0-9a-f]{8}$/);
    const rows = CompareResult.parse(
      JSON.parse(
        (await run('compare', ...asked, '--policies', `${own}:step=3,snapkv`, '--budgets', '0.5')).stdout,
      ),
    );
    expect(rows.map(({ policy }) => policy)).toEqual(['full', `${generated.policy}:step=3`, 'snapkv']);
    expect(rows[1]!.stats.tokensHeld).toBeLessThan(rows[2]!.stats.tokensHeld);
    const { stdout } = await run(
      'explain',
      ...asked.slice(0, 4),
      '--policy',
      own,
      '--budget',
      '0.5',
      '--json',
    );
    const explained = ExplainResult.parse(JSON.parse(stdout));
    expect(explained).toMatchObject({
      policy: generated.policy,
      budget: '0.5',
      image: [sample],
      version: generated.version,
    });
  });

  it('is measured by eval, and again when its file has changed', async () => {
    const out = join(folder, 'results');
    const file = join(folder, 'mine.mjs');
    const policy = (minimum: number) =>
      writeFile(
        file,
        `export default { name: 'mine', attention: 'never', minimum: ${minimum}, begin: () => ({
          compress: (layers) => layers.map((views) => views.map(({ tokens, allowed }) => ({ keep: Int32Array.from({ length: Math.min(tokens, allowed.entries) }, (_, i) => i) }))),
          evict: (entries, allowed) => (entries.length > allowed.entries ? entries.first : -1),
        }) };`,
      );
    const evaluate = () =>
      run(
        'eval',
        '--out',
        out,
        '--policies',
        `${file},snapkv`,
        '--budgets',
        '0.2',
        '--samples',
        '1',
        '--metrics',
        'ppl,accuracy,latency',
        '--json',
      );
    await policy(2);
    const first = EvalResult.parse(JSON.parse((await evaluate()).stdout));
    const names = first.quality.map(({ policy }) => policy);
    expect(names).toEqual(['full', expect.stringMatching(/^mine\.mjs@/), 'snapkv']);
    await policy(3);
    const second = JSON.parse((await evaluate()).stdout);
    expect(second.quality[1].policy).not.toBe(names[1]);
  });

  it.each([
    ['nowhere.mjs', undefined, /policy .*nowhere\.mjs cannot be opened; check the path\./],
    ['none.mjs', 'export const policy = 1;', /has no default export; export a policy/],
    ['broken.mjs', 'export default {', /cannot be loaded \(/],
    ['empty.mjs', 'export default {};', /is no policy: it has no name/],
    ['fixed.mjs:a=1', "export default { name: 'x' };", /takes no options/],
    [
      'wrong.mjs',
      "export default { name: 'x', attention: 'never', minimum: 1, begin: () => ({ compress: () => [], evict: () => -1 }) };",
      /compress\(\) returns 0 edits for 4 layers/,
    ],
  ])('is refused by name: %s', async (name, text, message) => {
    const spec = join(folder, name);
    if (text !== undefined) await writeFile(spec.replace(/:.*$/, ''), text);
    const { stdout, stderr, code } = await run('generate', ...asked, '--policy', spec);
    expect(stderr).toMatch(message);
    expect([stdout, code === 0]).toEqual(['', false]);
    expect(stderr).not.toContain('unexpected');
  });
});

it('inspect --json is what its schema says', async () => {
  const { stdout } = await run('inspect', join(root, 'demo-model/llava-scenes'), '--json');
  InspectResult.parse(JSON.parse(stdout));
});

it('docs/json.md has the schemas', async () => {
  expect(await readFile(join(root, 'docs/json.md'), 'utf8')).toBe(jsonPage());
});
