import { once } from 'node:events';
import { appendFile, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run, start } from '../cli/run-cli.js';
import { writeTinyLlava } from '../runtime/tiny-llava.js';

const samples = fileURLToPath(new URL('../../demo-model/samples', import.meta.url));

let directory: string;
const at = (name: string) => join(directory, name);

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'elastic-cache-eval-'));
  await writeTinyLlava(at('tiny'));
  const turns = (answer: string) => [
    { from: 'human', value: '<image>\nDescribe the image in detail.' },
    { from: 'gpt', value: answer },
  ];
  const llava = [
    { id: 'first', image: '01.png', conversations: turns('The picture shows 6 objects.') },
    { id: 'lost', image: 'lost.png', conversations: turns('The picture shows nothing.') },
    { id: 'second', image: '02.png', conversations: turns('There is a small red star.') },
  ];
  await writeFile(at('llava.json'), JSON.stringify(llava));
  const question = { imagename: '03.png', question: 'How many objects are there?', answer: '5<OR>five' };
  await writeFile(at('mm-vet.json'), JSON.stringify({ v1_0: question }));
});

afterAll(() => rm(directory, { recursive: true }));

const lines = async (folder: string) =>
  (await readFile(at(`${folder}/results.jsonl`), 'utf8'))
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line));
/** A line without what differs from run to run. */
const timeless = ({ latency, ...line }: { latency?: { promptTokens: number } }) => ({
  ...line,
  promptTokens: latency?.promptTokens,
});

describe('eval on the embedded model', () => {
  const options = [
    '--data',
    'llava.json',
    '--images',
    samples,
    '--on-error',
    'skip',
    '--max-new-tokens',
    '6',
  ];
  const sweep = (folder: string) => [
    ...['eval', '--out', at(folder), ...options.with(1, at('llava.json'))],
    ...[
      '--policies',
      'local,elastic:endSize=8',
      '--budgets',
      '0.2..0.4:0.2',
      '--metrics',
      'ppl,rouge,latency',
    ],
  ];

  it('goes on after it was killed, to the results of an unbroken run', async () => {
    const whole = await run(...sweep('whole'));
    expect(whole.stderr).toContain(
      `skipped: record lost of ${at('llava.json')} is broken: its image lost.png`,
    );
    expect(whole.code).toBe(0);
    const expected = await lines('whole');
    // Two samples, five cells, one task and one timing.
    expect(expected).toHaveLength(20);

    const child = start(...sweep('killed'));
    const end = once(child, 'close');
    while (child.exitCode === null && (await lines('killed').catch(() => [])).length < 3) {
      await new Promise((tick) => setTimeout(tick, 20));
    }
    child.kill('SIGKILL');
    await end;
    const before = await lines('killed');
    expect(before.length).toBeLessThan(20);
    await appendFile(at('killed/results.jsonl'), '{"sample":"first","ta');
    const resumed = await run(...sweep('killed'));
    expect(resumed.code).toBe(0);
    const after = await lines('killed');
    expect(after.slice(0, before.length)).toEqual(before);
    expect(after.map(timeless)).toEqual(expected.map(timeless));

    const table = await readFile(at('killed/table.md'), 'utf8');
    expect(table.split('\n').find((line) => line.startsWith('| full'))).toContain('1.000 [1.000, 1.000]');
    for (const chart of ['quality', 'latency']) {
      expect(await readFile(at(`killed/${chart}.svg`), 'utf8')).toMatch(/^<svg/);
    }
    const { quality, skipped } = JSON.parse(await readFile(at('killed/summary.json'), 'utf8'));
    expect(quality).toHaveLength(5);
    expect(skipped).toEqual([{ name: 'lost', reason: expect.stringContaining('lost.png') }]);
    // Done is done: the same command once more measures nothing and reports the same.
    const again = await run(...sweep('killed'));
    expect(again.stdout).toBe(resumed.stdout);
    expect(await lines('killed')).toEqual(after);
    const { stderr, code } = await run(...sweep('killed'), '--max-new-tokens', '7');
    expect(stderr).toMatch(/^skipped.*\nerror: --out .* another --max-new-tokens \(6 there, 7 now\); /);
    expect(code).toBe(2);
  });

  it('takes MM-Vet and scenes, and gives JSON', async () => {
    const common = [
      '--policies',
      'local',
      '--budgets',
      '0.2',
      '--max-new-tokens',
      '6',
      '--json',
      '--samples',
      '1',
    ];
    const vet = await run(
      'eval',
      '--out',
      at('vet'),
      '--data',
      at('mm-vet.json'),
      '--images',
      samples,
      ...common,
    );
    const [full, local] = JSON.parse(vet.stdout).quality;
    expect(full).toMatchObject({
      policy: 'full',
      answers: 1,
      held: 1,
      rougeL: { value: 1 },
      accuracy: { total: 1 },
    });
    expect(local.perplexity.value).toBeGreaterThan(1);
    const ofScene = ['eval', '--out', at('scene'), '--metrics', 'accuracy', '--data', 'scenes:1003'];
    const scene = await run(...ofScene, '--question', 'unknown', ...common);
    expect(JSON.parse(scene.stdout).quality[1].accuracy.total).toBe(4);
    const answered = await lines('scene');
    expect(answered.every(({ text, sample }) => text && sample === 'scene 1003')).toBe(true);
    // What comes before the questions is compressed once under each cache.
    expect(answered.map(({ policy }) => policy)).toEqual([
      ...new Array(4).fill('full'),
      ...new Array(4).fill('local'),
    ]);
    expect(JSON.parse(await readFile(at('scene/run.json'), 'utf8')).question).toBe('unknown');
    const { stderr } = await run(...ofScene, ...common);
    expect(stderr).toMatch(/^error: --out .* another --question \(unknown there, known now\); /);
  });
});

describe('a record that is too long for the model', () => {
  const turns = (question: string, answer: string) => [
    { from: 'human', value: `<image>\n${question}` },
    { from: 'gpt', value: answer },
  ];
  // The tiny model takes 2,048 tokens. The second of these has no id; the last has its answer too long.
  const records = [
    { id: 'short', image: '01.png', conversations: turns('w1 w2', 'w3 w4 w5') },
    { image: '02.png', conversations: turns('w1 '.repeat(2100), 'w3 w4') },
    { id: 'last', image: '03.png', conversations: turns('w6 w7', 'w8 w9') },
    { id: 'tail', image: '03.png', conversations: turns('w6', 'w8 '.repeat(2100)) },
  ];
  const options = (folder: string, ...more: string[]) => [
    ...['eval', '--out', at(folder), '--model', at('tiny'), '--data', at('tail.json'), '--images', samples],
    ...[
      '--policies',
      'local',
      '--budgets',
      '0.5',
      '--max-new-tokens',
      '4',
      '--metrics',
      'ppl,rouge',
      ...more,
    ],
  ];
  const tooLong = /is broken: The text has \d+ tokens and this model's decoder does not take as many/;

  beforeAll(() => writeFile(at('tail.json'), JSON.stringify(records)));

  it('is named and left out, and the others are measured, also when the run is taken up again', async () => {
    const first = await run(...options('tail', '--on-error', 'skip'));
    const [loading, ...said] = first.stderr.trimEnd().split('\n');
    expect(loading).toMatch(/^loading /);
    expect(said).toHaveLength(2);
    expect(said[0]).toMatch(`skipped: record 2 of ${at('tail.json')} is broken: `);
    expect(said[1]).toMatch(`skipped: record tail of ${at('tail.json')} is broken: `);
    for (const line of said) expect(line).toMatch(tooLong);
    expect(first.code).toBe(0);
    const measured = await lines('tail');
    expect(measured.map(({ sample, policy }) => [sample, policy])).toEqual([
      ['short', 'full'],
      ['short', 'local'],
      ['last', 'full'],
      ['last', 'local'],
    ]);
    const { quality, skipped } = JSON.parse(await readFile(at('tail/summary.json'), 'utf8'));
    expect(quality.map(({ answers }: { answers: number }) => answers)).toEqual([2, 2]);
    expect(skipped.map(({ name }: { name: string }) => name)).toEqual(['record 2', 'tail']);
    const again = await run(...options('tail', '--on-error', 'skip'));
    expect(again).toMatchObject({ code: 0, stdout: first.stdout });
    expect(await lines('tail')).toEqual(measured);
  });

  it('ends the run with its name, unless such are to be skipped', async () => {
    const { stdout, stderr, code } = await run(...options('stopped'));
    const [, sentence] = stderr.trimEnd().split('\n');
    expect(sentence).toMatch(`error: record 2 of ${at('tail.json')} is broken: `);
    expect(sentence).toMatch(/; mend it, or leave such out with --on-error skip\.$/);
    expect(stderr.split('\n')).toHaveLength(3);
    expect({ stdout, code }).toEqual({ stdout: '', code: 1 });
  });

  it('is no disk that fails, and no length that was asked for', async () => {
    await run(...options('failing', '--samples', '1'));
    await rm(at('failing/results.jsonl'));
    await symlink(at('failing/nowhere/file'), at('failing/results.jsonl'));
    const disk = await run(...options('failing', '--samples', '1', '--on-error', 'skip'));
    expect(disk.stderr).toMatch(
      /\nerror: .*results\.jsonl cannot be written \(ENOENT: no such file or directory\); [^\n]*\n$/,
    );
    expect(disk.code).toBe(2);
    const timed = ['--metrics', 'latency', '--lengths', '3000+2', '--on-error', 'skip'];
    const lengths = await run(...options('lengths', ...timed));
    expect(lengths.stderr).toMatch(/\nerror: 3000\+2 cannot be timed: .*; give shorter --lengths\.\n$/);
    expect(lengths.code).toBe(2);
  });

  it('when there is no other, ends the run: an empty table is no result', async () => {
    await writeFile(at('all.json'), JSON.stringify([records[1]]));
    const { stderr, code } = await run(...options('none', '--data', at('all.json'), '--on-error', 'skip'));
    expect(stderr).toMatch(/\nskipped: record 1 of .*\nerror: no record of .*all\.json could be measured/);
    expect(code).toBe(1);
  });
});

describe('what cannot be measured is said in one sentence', () => {
  it.each([
    [
      ['--metrics', 'bleu'],
      /metric "bleu" is unknown; choose among ppl, rouge, rouge-l-union, rouge-true, accuracy, latency\./,
    ],
    [['--budgets', '0.9..0.1'], /budgets "0\.9\.\.0\.1" are no range/],
    [['--budgets', '0.1..1.5'], /budgets "0\.1\.\.1\.5" are no range/],
    [['--policies', 'best'], /policy "best" is unknown/],
    [['--policies', 'elastic:endSize=0'], /endSize is 0/],
    [['--lengths', '1024'], /--lengths "1024" is none/],
    [['--batch-sizes', '0'], /--batch-sizes "0" is not a whole number from 1/],
    [['--question', 'maybe'], /--question "maybe" is not known or unknown\./],
    [['--on-error', 'ignore'], /--on-error "ignore" is not skip or stop/],
    [['--samples', '0'], /--samples "0" is not a whole number/],
    [['--data', 'nowhere.json'], /data nowhere\.json cannot be opened/],
    [['--data', 'scenes:x'], /data "scenes:x" with 10 samples are no held-out scenes/],
  ])('%j', async (options, message) => {
    const { stdout, stderr, code } = await run(
      'eval',
      '--out',
      at('never'),
      '--model',
      at('tiny'),
      ...options,
    );
    expect(stderr).toMatch(message);
    expect(stderr).toMatch(/^error: [^\n]+\.\n$/);
    expect({ stdout, code }).toEqual({ stdout: '', code: options[0] === '--data' ? 1 : 2 });
  });

  it('a metric that the data cannot give; with others that it can, those are measured', async () => {
    const data = ['--model', at('tiny'), '--data', at('llava.json'), '--images', samples, '--samples', '1'];
    const only = await run('eval', '--out', at('never'), ...data, '--metrics', 'accuracy');
    expect(only.stderr).toBe(
      `error: accuracy needs short answers, which no record of ${at('llava.json')} has (1 read); choose other --metrics (ppl, rouge, rouge-l-union, rouge-true, accuracy, latency), other data, or more --samples.\n`,
    );
    expect(only).toMatchObject({ stdout: '', code: 2 });
    await expect(readFile(at('never/run.json'))).rejects.toThrow('ENOENT');
    const both = await run('eval', '--out', at('both'), ...data, '--metrics', 'ppl,accuracy');
    expect(both.stderr).toMatch(/^not measured: accuracy needs short answers, which no record of .* has /);
    expect(both.stdout).toContain('perplexity');
    expect(both.code).toBe(0);
  });

  it('a broken record, unless such are to be skipped', async () => {
    const { stderr, code } = await run(
      'eval',
      '--out',
      at('never'),
      '--data',
      at('llava.json'),
      '--images',
      samples,
    );
    expect(stderr).toMatch(
      /^error: record lost of .*llava\.json is broken: its image lost\.png is not in .*; mend it, or/,
    );
    expect(code).toBe(1);
  });
});
