import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RawImage } from '@huggingface/transformers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { InferenceSession, Tensor } from '#platform/ort.js';
import { type Explanation, explainPrompt } from '../../src/explain/prompt/explain-prompt.js';
import { imageLayout } from '../../src/explain/prompt/image-layout.js';
import type { Box, Patch } from '../../src/explain/prompt/patch-grid.js';
import type { ImageProcessorFacts } from '../../src/explain/prompt/seen-part.js';
import { createPolicy, type LoadedModel, loadElastic } from '../../src/index.js';
import { prepareInputs } from '../../src/models/conversation/prepare-inputs.js';
import { decoderOf } from '../families/family-runs.js';
import { FAMILIES, writeTinyFamily } from '../families/tiny-families.js';

const PROMPT = 'w2 w3';
const options = { policy: createPolicy('elastic'), budget: 0.5 };

/** A grey photo, with one rectangle of it in red. */
function photo(width: number, height: number, red?: Box): RawImage {
  const data = new Uint8ClampedArray(3 * width * height).fill(128);
  for (let y = 0; red && y < red.height; y++) {
    for (let x = 0; x < red.width; x++) data.set([255, 0, 0], 3 * ((red.y + y) * width + red.x + x));
  }
  return new RawImage(data, width, height, 3);
}

/** The middle of a patch, half as wide and high, on the photo; undefined where less than all of it is photo. */
function middleOf(
  { grids }: Explanation,
  { grid, row, column }: Patch,
  [width, height]: Size,
): Box | undefined {
  const { box, rows, columns } = grids[grid]!;
  const [across, down] = [box.width / columns, box.height / rows];
  const [x, y] = [Math.round(box.x + (column + 0.25) * across), Math.round(box.y + (row + 0.25) * down)];
  const middle = { x, y, width: Math.round(across / 2), height: Math.round(down / 2) };
  const inside = x >= 0 && y >= 0 && x + middle.width <= width && y + middle.height <= height;
  return inside ? middle : undefined;
}

type Size = [width: number, height: number];

/** The patch of the grid of the whole photo in which a patch of the tiles lies. */
function wholeOf({ grids }: Explanation, { row, column }: Patch): Patch {
  const [tiles, whole] = grids as [Explanation['grids'][0], Explanation['grids'][0]];
  expect([whole.tiles, whole.box]).toEqual([undefined, tiles.box]);
  const [rows, columns] = [tiles.rows / whole.rows, tiles.columns / whole.columns];
  return { grid: 1, row: Math.floor(row / rows), column: Math.floor(column / columns) };
}

const patchesOf = ({ tokens }: Explanation, grid: number) =>
  tokens.flatMap(({ patch }) => (patch?.grid === grid ? [patch] : []));

async function loadFamily(name: string, directory: string, preprocessor: object): Promise<LoadedModel> {
  const family = FAMILIES[name]!;
  const file = 'preprocessor_config.json';
  const files = { ...family.files, [file]: { ...(family.files[file] as object), ...preprocessor } };
  await writeTinyFamily(directory, { ...family, files });
  return loadElastic(directory, { threads: 1 });
}

const loaded: LoadedModel[] = [];
let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'split-photo-'));
});
afterAll(async () => {
  for (const { model } of loaded) await model.dispose();
  await rm(directory, { recursive: true });
});

describe.each(['SmolVLM', 'Idefics3'])('%s', (name) => {
  let model: LoadedModel;
  beforeAll(async () => {
    // Three tiles of 2 x 2 tokens on the longest side.
    model = await loadFamily(name, join(directory, name), { size: { longest_edge: 48 } });
    loaded.push(model);
  });

  it.each<[Size, [rows: number, columns: number]]>([
    [
      [192, 128],
      [2, 3],
    ],
    [
      [128, 192],
      [3, 2],
    ],
    [
      [144, 144],
      [3, 3],
    ],
    [
      [240, 60],
      [1, 3],
    ],
    [
      [97, 180],
      [3, 2],
    ],
  ])(
    'of a photo of %j: what is painted on a patch changes the tokens that lie there, and only those',
    async (size, [rows, columns]) => {
      const grey = await embedded(model, photo(...size));
      const { explanation } = grey;
      const whole = { x: 0, y: 0, width: size[0], height: size[1] };
      expect(explanation.grids).toEqual([
        { rows: 2 * rows, columns: 2 * columns, box: near(whole), tiles: { rows, columns, gap: 0 } },
        { rows: 2, columns: 2, box: near(whole) },
      ]);
      expect(patchesOf(explanation, 1)).toHaveLength(4);
      const patches = patchesOf(explanation, 0);
      expect(new Set(patches.map(({ row, column }) => `${row} ${column}`)).size).toBe(4 * rows * columns);
      for (const patch of patches) {
        const painted = await embedded(model, photo(...size, middleOf(explanation, patch, size)));
        const changed = changedRows(grey.rows, painted.rows).map((token) => explanation.tokens[token]!.patch);
        expect(changed).toEqual([patch, wholeOf(explanation, patch)]);
      }
    },
  );

  it('of a photo that is not split has one grid', async () => {
    const one = await loadFamily(name, join(directory, `${name}-one`), { do_image_splitting: false });
    loaded.push(one);
    const { grids, tokens } = await explainPrompt(one, { images: [photo(60, 40)], prompt: PROMPT }, options);
    expect(grids).toEqual([{ rows: 2, columns: 2, box: near({ x: 0, y: 0, width: 60, height: 40 }) }]);
    expect(tokens.filter(({ patch }) => patch)).toHaveLength(4);
  });
});

describe('Phi-3.5-vision', () => {
  let model: LoadedModel;
  beforeAll(async () => {
    model = await loadFamily('Phi-3.5-vision', join(directory, 'phi'), {});
    loaded.push(model);
  });
  const explained = (size: Size) =>
    explainPrompt(model, { images: [photo(...size)], prompt: PROMPT }, options);

  it.each<[Size, padded: Box]>([
    [[120, 120], { x: 0, y: 0, width: 120, height: 120 }],
    [[180, 120], { x: 0, y: -30, width: 180, height: 180 }],
    [[228, 120], { x: 0, y: -54, width: 228, height: 228 }],
  ])(
    'of a photo of %j: what is painted on a patch is in the pictures where it lies, and only there',
    async (size, box) => {
      const explanation = await explained(size);
      expect(explanation.grids).toEqual([
        { rows: 4, columns: 4, box: near(box, 0.5), tiles: { rows: 2, columns: 2, gap: 0 } },
        { rows: 2, columns: 2, box: near(box, 0.5) },
      ]);
      const grey = await pixelsOf(model, photo(...size));
      let seen = 0;
      for (const patch of patchesOf(explanation, 0)) {
        const red = middleOf(explanation, patch, size);
        if (red === undefined) continue;
        seen++;
        const changed = changedSquares(grey, await pixelsOf(model, photo(...size, red)));
        const { row, column } = wholeOf(explanation, patch);
        const tile = 1 + 2 * Math.floor(patch.row / 2) + Math.floor(patch.column / 2);
        expect(changed).toEqual([
          { picture: 0, row, column },
          { picture: tile, row: patch.row % 2, column: patch.column % 2 },
        ]);
      }
      expect(seen).toBeGreaterThanOrEqual(8);
    },
  );

  it('has the lines of the tiles, a separator, and the lines of the whole photo, each with a separator at its end', async () => {
    const { tokens } = await explained([180, 120]);
    const image = tokens.flatMap(({ patch }) => (patch === undefined ? [] : [patch]));
    const told = image.map((patch) => (patch ? `${patch.grid}:${patch.row},${patch.column}` : '|'));
    expect(told.join(' ')).toBe(
      '0:0,0 0:0,1 0:0,2 0:0,3 | 0:1,0 0:1,1 0:1,2 0:1,3 | 0:2,0 0:2,1 0:2,2 0:2,3 | 0:3,0 0:3,1 0:3,2 0:3,3 | ' +
        '| 1:0,0 1:0,1 | 1:1,0 1:1,1 |',
    );
  });

  it.each<[Size, string]>([
    [[120, 180], '2 x 1'],
    [[120, 40], '1 x 3'],
  ])(
    'of a photo of %j is refused: the tiles that are cut are not those that the tokens stand for',
    async (size, tiles) => {
      const { grids, noGrid, tokens } = await explained(size);
      expect(grids).toEqual([]);
      expect(noGrid).toBe(
        `its processor cuts the photo into 2 x 2 tiles where its model takes them for ${tiles}`,
      );
      expect(tokens.filter(({ patch }) => patch === null).length).toBeGreaterThan(10);
    },
  );

  it('is refused where the tokens are not those of squares', async () => {
    const inputs = await prepareInputs(model, { images: [photo(180, 120)], prompt: PROMPT });
    const processor = model.processor!.image_processor as unknown as ImageProcessorFacts;
    const layoutOf = (count: number, num_img_tokens?: number) =>
      imageLayout(
        inputs,
        { ...processor, config: { num_img_tokens } } as ImageProcessorFacts,
        photo(180, 120),
        count,
      );
    expect(layoutOf(27, 4)).toMatchObject({ grids: [{ rows: 4 }, { rows: 2 }] });
    for (const [count, each] of [
      [26, 4],
      [27, 5],
      [27, 9],
      [27, undefined],
    ] as const) {
      expect(layoutOf(count, each)).toBe(
        `its ${count} image tokens are not squares of 2 x 2 tiles and the whole photo, 5 pictures of 336 x 336 pixels`,
      );
    }
  });
});

/** A box to so many pixels: sizes are rounded down to whole pixels where the processor resizes. */
function near(box: Box, pixels = 1e-6) {
  const digits = -Math.log10(2 * pixels);
  return Object.fromEntries(
    Object.entries(box).map(([side, value]) => [side, expect.closeTo(value, digits)]),
  );
}

/** What a prompt with a photo becomes, and the rows that its tokens are for the decoder. */
async function embedded(
  model: LoadedModel,
  image: RawImage,
): Promise<{ explanation: Explanation; rows: Tensor }> {
  const decoder = decoderOf(model.model);
  const run = decoder.run;
  let rows: Tensor | undefined;
  decoder.run = function (this: unknown, feeds, ...rest: []): ReturnType<InferenceSession['run']> {
    rows ??= feeds.inputs_embeds;
    return run.call(this, feeds, ...rest);
  };
  try {
    const explanation = await explainPrompt(model, { images: [image], prompt: PROMPT }, options);
    return { explanation, rows: rows! };
  } finally {
    decoder.run = run;
  }
}

/** Indices of the rows [1, tokens, hidden] that differ by more than a tenth of what differs most. */
function changedRows(before: Tensor, after: Tensor): number[] {
  const [, tokens, hidden] = before.dims as [number, number, number];
  const [a, b] = [before.data as Float32Array, after.data as Float32Array];
  const changes = Array.from({ length: tokens }, (_, token) => {
    const places = Array.from({ length: hidden }, (_, at) => token * hidden + at);
    return Math.max(...places.map((place) => Math.abs(a[place]! - b[place]!)));
  });
  const most = Math.max(...changes);
  expect(most).toBeGreaterThan(0.1);
  return changes.flatMap((change, token) => (change > most / 10 ? [token] : []));
}

async function pixelsOf(model: LoadedModel, image: RawImage): Promise<Float32Array> {
  const { pixel_values } = await prepareInputs(model, { images: [image], prompt: PROMPT });
  expect((pixel_values as Tensor).dims).toEqual([1, 5, 3, 336, 336]);
  return (pixel_values as Tensor).data as Float32Array;
}

/** The squares of 168 pixels that differ by more than a tenth of what differs most, of pictures [1, 5, 3, 336, 336]. */
function changedSquares(before: Float32Array, after: Float32Array) {
  const changes = new Float32Array(5 * 2 * 2);
  before.forEach((value, at) => {
    const [picture, y, x] = [Math.floor(at / (3 * 336 * 336)), Math.floor(at / 336) % 336, at % 336];
    const square = 4 * picture + 2 * Math.floor(y / 168) + Math.floor(x / 168);
    changes[square] = Math.max(changes[square]!, Math.abs(value - after[at]!));
  });
  const most = Math.max(...changes);
  expect(most).toBeGreaterThan(0.1);
  const squares = Array.from(changes, (change, square) => ({ change, square }));
  return squares
    .filter(({ change }) => change > most / 10)
    .map(({ square }) => ({
      picture: Math.floor(square / 4),
      row: Math.floor(square / 2) % 2,
      column: square % 2,
    }));
}
