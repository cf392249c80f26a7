import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ElasticCacheError } from '../../src/errors.js';
import { prepareInputs } from '../../src/models/conversation/prepare-inputs.js';
import { loadElastic } from '../../src/models/load.js';
import { run } from '../cli/run-cli.js';
import { FAMILIES, writeTinyFamily } from './tiny-families.js';

let root: string;
const at = (name: string) => join(root, name);

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'elastic-cache-odd-'));
  for (const [width, height] of SIZES) {
    await sharp({ create: { width, height, channels: 3, background: 'teal' } }).toFile(
      at(`${width}x${height}.png`),
    );
  }
});

afterAll(() => rm(root, { recursive: true }));

const SIZES = [
  [1, 1],
  [1, 40],
  [257, 27],
  [1, 3000],
  [20000, 1],
] as const;

describe('pictures of a few pixels, and strips', () => {
  it.each(Object.keys(FAMILIES))('of %s are taken, or refused by name', async (name) => {
    const directory = at(name.replaceAll(' ', '-'));
    await writeTinyFamily(directory, FAMILIES[name]!);
    const loaded = await loadElastic(directory, { threads: 1 });
    try {
      for (const [width, height] of SIZES) {
        const file = `${width}x${height}.png`;
        const inputs = await prepareInputs(loaded, { images: [at(file)], prompt: 'w2' }).catch(
          (error) => error,
        );
        if (inputs instanceof Error) {
          expect(inputs).toBeInstanceOf(ElasticCacheError);
          expect(inputs.message).toMatch(
            new RegExp(`image \\S*${file} \\(${width} x ${height} pixels\\) .*\\.$`),
          );
        }
        // Of what is longer than 3,000 to 1 nothing would be left, in any family that keeps the shape.
        if (width === height || width === 257) expect(inputs).toHaveProperty('input_ids');
      }
    } finally {
      await loaded.model.dispose();
    }
  });
});

describe('a processor that scales the short side', () => {
  /** LLaVA-1.5 with a size of its processor set otherwise. */
  async function sized(side: number): Promise<string> {
    const directory = at(`sized-${side}`);
    await writeTinyFamily(directory, FAMILIES['LLaVA-1.5']!);
    const path = join(directory, 'preprocessor_config.json');
    const config = JSON.parse(await readFile(path, 'utf8'));
    await writeFile(path, JSON.stringify({ ...config, size: { shortest_edge: side } }));
    return directory;
  }

  it('is not handed a strip of 365 bytes that it would make thousands of millions of pixels of', async () => {
    const loaded = await loadElastic(await sized(336), { threads: 1 });
    const before = process.memoryUsage().rss;
    const prepared = prepareInputs(loaded, { images: [at('20000x1.png')], prompt: 'w2' });
    await expect(prepared).rejects.toMatchObject({
      code: 'invalid-image',
      message: expect.stringMatching(
        /20000x1\.png \(20000 x 1 pixels\) is too long and narrow: .* 6,720,000 x 336 pixels/,
      ),
    });
    expect(process.memoryUsage().rss - before).toBeLessThan(100e6);
    await loaded.model.dispose();
  });

  it.each([1e6, 0, -5])('to %d, or to none, is the fault of the model', async (side) => {
    const loaded = await loadElastic(await sized(side), { threads: 1 });
    const prepared = prepareInputs(loaded, { images: [at('257x27.png')], prompt: 'w2' });
    await expect(prepared).rejects.toMatchObject({ code: 'invalid-model' });
    await loaded.model.dispose();
  });

  it('leaves a strip out of an evaluation that skips broken records', async () => {
    const images = ['20000x1.png', '257x27.png'];
    const turns = [
      { from: 'human', value: '<image>\nw2 w3' },
      { from: 'gpt', value: 'w4 w5' },
    ];
    await writeFile(
      at('data.json'),
      JSON.stringify(images.map((image) => ({ id: image, image, conversations: turns }))),
    );
    const { stdout, stderr, code } = await run(
      ...['eval', '--model', await sized(336), '--data', at('data.json'), '--out', at('results'), '--json'],
      ...[
        '--metrics',
        'rouge',
        '--policies',
        'local',
        '--budgets',
        '0.5',
        '--max-new-tokens',
        '3',
        '--on-error',
        'skip',
      ],
    );
    expect({ stderr, code }).toMatchObject({ code: 0 });
    expect(stdout).toContain('too long and narrow');
  });
});
