import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run } from '../cli/run-cli.js';
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
