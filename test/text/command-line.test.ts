import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Tensor } from '@huggingface/transformers';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { chat, ElasticCache, loadElastic } from '../../src/index.js';
import { finished, run, start } from '../cli/run-cli.js';
import { TEXT_MODELS, writeTinyText } from './tiny-text.js';

let directory: string;
let question: string[];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'text-cli-'));
  const model = join(directory, 'model');
  await writeTinyText(model, TEXT_MODELS['optimum-llama']!);
  question = ['--model', model, '--prompt', 'w2 w3 w14 w5 w6 w17 w8', '--budget', '0.5'];
});
afterAll(() => rm(directory, { recursive: true }));

describe('a model of text alone on the command line', () => {
  it('answers', async () => {
    const { stdout, code } = await run('generate', ...question, '--max-new-tokens', '8', '--json');
    expect(code).toBe(0);
    const { text, newTokens, promptTokens, stats } = JSON.parse(stdout);
    expect(text).not.toBe('');
    expect(stats.tokensHeld).toBe(Math.floor(0.5 * (promptTokens + newTokens - 1)));
  });

  it('is talked with, turn by turn, on one cache', async () => {
    const child = start('chat', '--model', question[1]!, '--max-new-tokens', '4', '--budget', '0.5');
    child.stdin.end('w2 w3 w14\nw5 w6\n/stats\n/image x.png\n');
    const { stdout, stderr, code } = await finished(child);
    expect(stdout).toMatch(/^.+\n.+\n$/);
    const [, prompt, seen] = /prompt {2}(\d+) tokens, (\d+) of them seen before/.exec(stderr)!.map(Number);
    expect(seen).toBeGreaterThan(3 + 3);
    expect(prompt).toBeGreaterThan(seen!);
    expect(stderr).toContain('error: image x.png cannot be opened');
    expect(code).toBe(1);
  });

  it('says in a later turn what it would if all were read at once', async () => {
    const loaded = await loadElastic(question[1]!, { threads: 1 });
    const { ask, tokens: _none, ...conversation } = chat(loaded, { cache: new ElasticCache({ budget: 1 }) });
    const known = () => chat(loaded, { cache: conversation.cache }).tokens;
    for (const prompt of ['w2 w3 w14', 'w5 w6', 'w17']) {
      for await (const event of ask({ prompt, maxNewTokens: 5 })) {
        if (event.type === 'usage') expect(event.usage.newTokens).toBeGreaterThan(0);
      }
      const all = known().map(BigInt);
      const read = all.slice(0, -4);
      const input_ids = new Tensor('int64', read, [1, read.length]);
      const attention_mask = new Tensor(
        'int64',
        read.map(() => 1n),
        [1, read.length],
      );
      const anew = await loaded.model.generate({ input_ids, attention_mask, max_new_tokens: 4 });
      expect((anew.tolist() as bigint[][])[0]).toEqual(all);
    }
    await loaded.model.dispose();
  });

  it('is compared', async () => {
    const [, model, , prompt] = question;
    const { stdout, code } = await run(
      ...['compare', '--model', model!, '--prompt', prompt!, '--max-new-tokens', '4', '--json'],
      ...['--policies', 'snapkv', '--budgets', '1,0.5'],
    );
    expect(code).toBe(0);
    const [full, all] = JSON.parse(stdout);
    expect(all).toMatchObject({ policy: 'snapkv', text: full.text, agreement: 1 });
  });

  it('is drawn: the text, token by token', async () => {
    for (const layer of [[], ['--layer', '1']]) {
      const out = join(directory, 'page.svg');
      const { stdout, code } = await run('explain', ...question, ...layer, '--out', out, '--json');
      expect(code).toBe(0);
      const { tokens, grids, noGrid, layers } = JSON.parse(stdout);
      expect({ grids, noGrid }).toEqual({ grids: [], noGrid: undefined });
      const svg = await readFile(out, 'utf8');
      expect(svg.match(/class="chip (stayed|gone)"/g)).toHaveLength(tokens.length);
      expect(svg.match(/class="chip stayed"/g)!.length).toBeGreaterThanOrEqual(layers[0].held);
      expect(svg).not.toContain('id="photo"');
    }
  });

  it('is measured on questions and long texts of a file', async () => {
    const data = join(directory, 'data.jsonl');
    const lines = [
      { prompt: 'w2 w3 w14', answer: 'w5 w6', accepted: ['w5'], begun: 'w7', maxNewTokens: 4 },
      { text: 'w2 w3 w14 w5 w6 w17 w8 w9 w10 w31', promptTokens: 6, tokens: 3 },
    ];
    await writeFile(data, lines.map((line) => JSON.stringify(line)).join('\n'));
    const { stdout, stderr, code } = await run(
      ...['eval', '--model', question[1]!, '--data', data, '--out', join(directory, 'results'), '--json'],
      ...['--policies', 'snapkv', '--budgets', '1,0.5', '--metrics', 'ppl,accuracy'],
    );
    expect({ stderr: stderr.match(/error.*/)?.[0], code }).toEqual({ stderr: undefined, code: 0 });
    const { quality } = JSON.parse(stdout);
    expect(quality).toHaveLength(3);
    const [full, whole, half] = quality;
    // Every word is a token, and the last of what is begun a part of the prompt.
    expect(full).toMatchObject({ answers: 2, accuracy: { total: 1 } });
    expect(whole.timesFull.value).toBeCloseTo(1, 4);
    expect(half.timesFull.value).not.toBeCloseTo(1, 3);
    expect(half.held).toBeLessThan(0.51);
  });

  it('refuses an image in one sentence', async () => {
    const image = join(directory, 'image.png');
    await sharp({ create: { width: 4, height: 4, channels: 3, background: 'teal' } }).toFile(image);
    const { stderr, code } = await run('generate', ...question, '--image', image);
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /\nerror: This model \(llama\) reads text alone; leave the images out, or choose a vision-language model\.\n$/,
    );
  });
});
