import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { GraphBuilder } from '../../src/graph/onnx/builder.js';
import { DataType, serializeModel } from '../../src/graph/onnx/onnx.js';
import { run } from '../cli/run-cli.js';
import { FAMILIES, writeTinyFamily } from '../families/tiny-families.js';
import { IMAGE_TOKENS, writeTinyLlava } from '../runtime/tiny-llava.js';

let directory: string;
const at = (name: string) => join(directory, name);

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'elastic-cache-explain-'));
  await writeTinyLlava(at('model'));
  await sharp({ create: { width: 40, height: 30, channels: 3, background: 'teal' } })
    .png()
    .toFile(at('image.png'));
});

afterAll(() => rm(directory, { recursive: true }));

const explain = (options: Record<string, string>, ...flags: string[]) => {
  const all = {
    model: at('model'),
    image: at('image.png'),
    prompt: 'w1 w2 w3',
    policy: 'elastic',
    budget: '0.5',
    ...options,
  };
  return run('explain', ...Object.entries(all).flatMap(([name, value]) => [`--${name}`, value]), ...flags);
};

describe('explain', () => {
  it('draws a picture and tells where it is', async () => {
    const { stdout, stderr, code } = await explain({ out: at('page.svg') });
    expect(stderr).toMatch(/^loading .*: [\d.]+ m?s\nreading the prompt: [\d.]+ m?s\n$/);
    expect({ stdout, code }).toEqual({ stdout: `${at('page.svg')}\n`, code: 0 });
    const svg = await readFile(at('page.svg'), 'utf8');
    expect(svg).toContain('elastic, budget 0.5 · all 2 layers');
    expect(svg).toContain('“w1 w2 w3”');
  });

  it('tells the same in numbers with --json, of one layer with --layer', async () => {
    const { stdout, code } = await explain({ layer: '1', out: at('layer.png') }, '--json');
    expect(code).toBe(0);
    expect((await sharp(at('layer.png')).metadata()).width).toBe(2400);
    const result = JSON.parse(stdout);
    expect(result).toMatchObject({
      model: at('model'),
      policy: 'elastic',
      budget: '0.5',
      prompt: 'w1 w2 w3',
    });
    expect(result.grids).toMatchObject([{ rows: 4, columns: 4, box: { y: 0, height: 30 } }]);
    expect(result.tokens.filter(({ patch }: { patch?: object }) => patch)).toHaveLength(IMAGE_TOKENS);
    expect(result.layers).toHaveLength(1);
    const [{ layer, held, anchor, attention }] = result.layers;
    expect({ layer, held }).toEqual({ layer: 1, held: Math.floor(result.tokens.length / 2) });
    for (const holder of anchor) expect(anchor[holder]).toBe(holder);
    expect(attention).toHaveLength(anchor.length);
    expect(attention.reduce((sum: number, value: number) => sum + value, 0)).toBeCloseTo(anchor.length, 2);
  });

  it('draws a photo that the processor splits in tiles and whole', async () => {
    await mkdir(at('smolvlm'));
    await writeTinyFamily(at('smolvlm'), FAMILIES.SmolVLM!);
    const { stdout, code } = await explain({ model: at('smolvlm'), out: at('tiles.svg') }, '--json');
    expect(code).toBe(0);
    const { grids, tokens } = JSON.parse(stdout);
    expect(grids).toMatchObject([
      { rows: 4, columns: 4, tiles: { rows: 2, columns: 2, gap: 0 } },
      { rows: 2, columns: 2 },
    ]);
    expect(tokens.filter(({ patch }: { patch?: object }) => patch)).toHaveLength(20);
    const svg = await readFile(at('tiles.svg'), 'utf8');
    expect(svg).toContain('>The photo in 2 x 2 tiles<');
    expect(svg).toContain('>The whole photo<');
  });

  it('of a model whose image tokens are no grid draws nothing, and says why; --json still tells', async () => {
    await writeWithClassToken(at('class-token'));
    const { stdout, stderr, code } = await explain(
      { model: at('class-token'), out: at('none.svg') },
      '--json',
    );
    expect(stderr).toMatch(
      /\nerror: class-token cannot be drawn: its 17 image tokens are no grid of squares over 16 x 16 pixels; --json tells the same in numbers\.\n$/,
    );
    expect(code).toBe(1);
    const { grids, noGrid, layers, tokens } = JSON.parse(stdout);
    expect({ grids, noGrid }).toEqual({ grids: [], noGrid: expect.stringMatching(/^its 17 image tokens/) });
    expect(tokens.filter(({ patch }: { patch?: null }) => patch === null)).toHaveLength(17);
    expect(layers[0].anchor).toHaveLength(tokens.length);
    expect(await readdir(directory)).not.toContain('none.svg');
  });

  it.each([
    [{ out: 'image.png' }, /image\.png would take the place of the image/],
    [{}, /nowhere to put what it finds; give --out/],
  ])('%j is refused', async ({ out }: { out?: string }, message) => {
    const { stdout, stderr, code } = await explain(out === undefined ? {} : { out: at(out) });
    expect(stderr).toMatch(message);
    expect(stderr).toMatch(/^error: [^\n]+\.\n$/);
    expect({ stdout, code }).toEqual({ stdout: '', code: 2 });
  });

  it.each([
    ['2', /^loading .*\nerror: layer 2 is not in this model, which has 2; choose one from 0 to 1\.\n$/],
    ['first', /^error: --layer "first" is not a whole number from 0\.\n$/],
  ])('layer %s is refused, and nothing is written', async (layer, message) => {
    const { stdout, stderr, code } = await explain({ layer, out: at('refused.svg') });
    expect(stderr).toMatch(message);
    expect({ stdout, code }).toEqual({ stdout: '', code: 2 });
    expect((await readdir(directory)).filter((name) => name.includes('refused'))).toEqual([]);
  });
});

/** A tiny LLaVA whose vision tower keeps its class token: one token more than there are patches. */
async function writeWithClassToken(to: string): Promise<void> {
  await writeTinyLlava(to);
  const tokens = IMAGE_TOKENS + 1;
  const g = GraphBuilder.create('vision_encoder', { '': 21 });
  g.input('pixel_values', DataType.FLOAT, ['batch_size', 3, 16, 16]);
  const weight = g.float32(
    'weight',
    [3 * 16 * 16, tokens * 64],
    new Array(3 * 16 * 16 * tokens * 64).fill(0.01),
  );
  const flat = g.op('Reshape', ['pixel_values', g.int64('flat', [2], [0, -1])]);
  const features = g.op('MatMul', [flat, weight]);
  g.ops('Reshape', [features, g.int64('split', [3], [0, tokens, 64])], { outputs: ['image_features'] });
  g.output('image_features', DataType.FLOAT, ['batch_size', tokens, 64]);
  await writeFile(join(to, 'onnx', 'vision_encoder.onnx'), serializeModel(g.model));
  const file = join(to, 'processor_config.json');
  const config = JSON.parse(await readFile(file, 'utf8'));
  await writeFile(file, JSON.stringify({ ...config, num_additional_image_tokens: 1 }));
}
