import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { policyNames } from '../../src/policies/registry.js';
import { SHAPE, writeTinyLlava } from '../runtime/tiny-llava.js';
import { finished, run, start } from './run-cli.js';

const BYTES_PER_TOKEN = SHAPE.layers * SHAPE.kvHeads * SHAPE.headDim * 2 * 4;

let directory: string;
let model: string;
let question: string[];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'elastic-cache-cli-'));
  model = join(directory, 'model');
  await writeTinyLlava(model);
  const image = join(directory, 'image.png');
  await sharp({ create: { width: 40, height: 30, channels: 3, background: 'teal' } })
    .png()
    .toFile(image);
  question = ['--model', model, '--image', image, '--prompt', 'w1 w2 w3'];
});

afterAll(() => rm(directory, { recursive: true }));

describe('help', () => {
  it('lists the commands, and the policies of the registry', async () => {
    const main = await run('--help');
    for (const name of ['generate', 'compare', 'inspect', 'convert', 'demo'])
      expect(main.stdout).toContain(name);
    expect(main.code).toBe(0);
    const { stdout } = await run('generate', '--help');
    for (const name of policyNames) expect(stdout).toContain(`  ${name} `);
    expect(stdout).toContain('Examples:');
  });
});

describe('generate', () => {
  it('gives the answer on stdout and what it cost on stderr', async () => {
    const { stdout, stderr, code } = await run('generate', ...question, '--max-new-tokens', '20');
    expect(code).toBe(0);
    expect(stdout.trim().split(' ')).toHaveLength(20);
    expect(stderr).toMatch(
      /^loading .*: [\d.]+ m?s\n\ntokens {2}\d+ held of \d+ seen\ncache {3}[\d.]+ MB \(full/,
    );
    expect(stderr).toMatch(/\nspeed {3}[\d.]+ ms per token \(20 new\)\nprefill [\d.]+ m?s \(23 tokens\)\n$/);
  });

  it('gives one JSON object with --json', async () => {
    const { stdout } = await run(
      'generate',
      ...question,
      '--max-new-tokens',
      '20',
      '--budget',
      '0.5',
      '--json',
    );
    const result = JSON.parse(stdout);
    expect(result).toMatchObject({
      model,
      policy: 'elastic-plus',
      budget: '0.5',
      promptTokens: 23,
      newTokens: 20,
    });
    expect(result.stats).toMatchObject({ tokensSeen: 42, tokensHeld: 21, bytesHeld: 21 * BYTES_PER_TOKEN });
    expect(result.text.split(' ')).toHaveLength(20);
    expect(result.timings.msPerToken).toBeGreaterThan(0);
  });

  it.each([
    ['16tokens', 16],
    [`${(BYTES_PER_TOKEN * 12) / 1000}kb`, 12],
  ])('holds a budget of %s', async (budget, held) => {
    const { stdout } = await run(
      'generate',
      ...question,
      '--max-new-tokens',
      '8',
      '--budget',
      budget,
      '--json',
    );
    expect(JSON.parse(stdout).stats.tokensHeld).toBe(held);
  });

  it('ends quietly when whoever reads it has seen enough', async () => {
    const child = start('generate', ...question, '--max-new-tokens', '2000');
    const end = finished(child);
    await once(child.stdout, 'data');
    child.stdout.destroy();
    const { stderr, code } = await end;
    expect(stderr).toMatch(/^loading [^\n]*\n$/);
    expect(code).toBe(0);
  });

  it('exits 130 on Ctrl-C', async () => {
    const child = start('generate', ...question, '--max-new-tokens', '2000');
    const end = finished(child);
    await once(child.stdout, 'data');
    child.kill('SIGINT');
    expect((await end).code).toBe(130);
  });
});

describe('compare', () => {
  it('gives one table and the answers', async () => {
    const { stdout, code } = await run(
      'compare',
      ...question,
      '--max-new-tokens',
      '12',
      '--budgets',
      '1,0.2',
    );
    expect(code).toBe(0);
    const rows = stdout.split('\n').flatMap((line) => {
      const cells = line.split('│').map((cell) => cell.trim());
      return cells.length > 2 ? [cells.slice(1, -1)] : [];
    });
    expect(rows[0]).toEqual([
      'policy',
      'budget',
      'tokens held',
      'cache',
      'prefill',
      'per token',
      'as the full cache',
    ]);
    expect(rows.slice(1).map(([policy, budget, held]) => [policy, budget, held])).toEqual([
      ['full', '1', '34 of 34'],
      ['elastic-plus', '1', '34 of 34'],
      ['elastic-plus', '0.2', '6 of 34'],
      ['h2o', '1', '34 of 34'],
      ['h2o', '0.2', '6 of 30'],
      ['elastic', '1', '34 of 34'],
      ['elastic', '0.2', '6 of 34'],
    ]);
    for (const index of [1, 2, 4, 6]) expect(rows[index]?.[6]).toBe('100%');
    expect(stdout).toContain('\nelastic, 0.2:\n');
  });

  it('gives one JSON array with --json', async () => {
    const { stdout } = await run(
      'compare',
      ...question,
      '--max-new-tokens',
      '4',
      '--policies',
      'local',
      '--json',
    );
    const runs = JSON.parse(stdout);
    expect(runs.map(({ policy, budget }: Record<string, string>) => [policy, budget])).toEqual([
      ['full', '1'],
      ['local', '1'],
      ['local', '0.5'],
      ['local', '0.2'],
    ]);
  });
});

describe('inspect', () => {
  it('tells how each layer attends and what its cache costs', async () => {
    const { stdout, code } = await run('inspect', model, '--json');
    expect(code).toBe(0);
    const { decoder, report, cacheBytesPerToken, operators } = JSON.parse(stdout);
    expect(decoder.layers.map(({ kvHeads }: { kvHeads: number }) => kvHeads)).toEqual([2, 2]);
    expect(report.layers[1]).toMatchObject({ pattern: 'GroupQueryAttention', rope: 'outside' });
    expect(operators).toContainEqual({ name: 'com.microsoft.GroupQueryAttention', count: 2 });
    expect(cacheBytesPerToken).toBe(BYTES_PER_TOKEN);
    const text = await run('inspect', join(model, 'onnx', 'decoder_model_merged.onnx'));
    expect(text.stdout).toContain(`${BYTES_PER_TOKEN} bytes per token over 2 layers`);
  });
});

describe('convert', () => {
  it('makes a directory that generate takes', async () => {
    const from = fileURLToPath(new URL('../convert/fixtures/tiny-llava', import.meta.url));
    const to = join(directory, 'converted');
    const made = await run('convert', '--from', from, '--to', to, '--dtype', 'fp32,q8');
    expect(made).toMatchObject({ stdout: `${to}\n`, code: 0 });
    const [, , ...asked] = question;
    const { stdout } = await run('generate', '--model', to, ...asked, '--max-new-tokens', '4', '--json');
    expect(JSON.parse(stdout).newTokens).toBeGreaterThan(0);
  });
});

describe('demo', () => {
  it('describes a scene twice, one after the other where there is no terminal', async () => {
    const { stdout, code } = await run('demo', '--model', model, '--max-new-tokens', '8', '--scene', '2');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^\S*02\.png\nDescribe the image in detail\.\n\nTruth: The picture shows /);
    expect(stdout).toMatch(/\n--- full cache ---\n.*--- elastic-plus, budget 0\.2 ---\n/s);
    expect(stdout.match(/^tokens {2}\d+ held of \d+ seen$/gm)).toHaveLength(2);
    expect(stdout.match(/^right {3}\d+ of \d+ sentences$/gm)).toHaveLength(2);
    expect(stdout).toMatch(/The two answers agree by \d+%\.\n$/);
  });

  it('knows which scenes there are', async () => {
    const { stderr, code } = await run('demo', '--model', model, '--scene', '11');
    expect(stderr).toBe('error: there is no scene 11; choose one from 1 to 10.\n');
    expect(code).toBe(2);
  });
});
