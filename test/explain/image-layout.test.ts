import {
  CLIPImageProcessor,
  Idefics3ImageProcessor,
  type ImageProcessor,
  PixtralImageProcessor,
  Qwen2VLImageProcessor,
  RawImage,
  SiglipImageProcessor,
  type Tensor,
} from '@huggingface/transformers';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { imageLayout } from '../../src/explain/prompt/image-layout.js';
import { cornerOf, extentOf, type ImageLayout, type PatchGrid } from '../../src/explain/prompt/patch-grid.js';
import type { ImageProcessorFacts } from '../../src/explain/prompt/seen-part.js';
import type { Inputs } from '../../src/models/conversation/prepare-inputs.js';

/** A photo that tells in each pixel where it is: red grows from left to right, green from top to bottom. */
function ramp(width: number, height: number): RawImage {
  const data = new Uint8ClampedArray(width * height * 3);
  for (let pixel = 0; pixel < width * height; pixel++) {
    data[3 * pixel] = (255 * ((pixel % width) + 0.5)) / width;
    data[3 * pixel + 1] = (255 * (Math.floor(pixel / width) + 0.5)) / height;
  }
  return new RawImage(data, width, height, 3);
}

const PLAIN = { do_rescale: true, do_normalize: false, do_resize: true, resample: 3 };
const clip = (edge = 336) =>
  new CLIPImageProcessor({
    ...PLAIN,
    size: { shortest_edge: edge },
    do_center_crop: true,
    crop_size: { width: edge, height: edge },
  } as object);
const siglip = new SiglipImageProcessor({ ...PLAIN, size: { width: 384, height: 384 } } as object);
const pixtral = new PixtralImageProcessor({
  ...PLAIN,
  size: { longest_edge: 256 },
  patch_size: 16,
  spatial_merge_size: 2,
} as object);
const padding = new CLIPImageProcessor({
  ...PLAIN,
  size: { longest_edge: 224 },
  do_pad: true,
  pad_size: { width: 224, height: 224 },
} as object);
const qwen = new Qwen2VLImageProcessor({
  ...PLAIN,
  min_pixels: 3136,
  max_pixels: 200_704,
  patch_size: 14,
  merge_size: 2,
  temporal_patch_size: 2,
} as object);

function idefics(tile: number, longest_edge: number): Idefics3ImageProcessor {
  const sizes = { size: { longest_edge }, max_image_size: { longest_edge: tile } };
  return new Idefics3ImageProcessor({ ...PLAIN, ...sizes } as object);
}

async function layoutOf(processor: ImageProcessor, photo: RawImage, count: number) {
  const inputs = (await processor(photo, { return_row_col_info: true })) as Record<string, Tensor>;
  const facts = processor as unknown as ImageProcessorFacts;
  return { inputs, layout: imageLayout(inputs as Inputs, facts, photo, count) };
}

/** The one grid of a photo that is one picture, whose patches are in reading order. */
async function gridOf(processor: ImageProcessor, photo: RawImage, count: number) {
  const { inputs, layout } = await layoutOf(processor, photo, count);
  if (typeof layout === 'string') return { inputs, grid: layout };
  const [grid, ...others] = layout.grids;
  expect(others).toEqual([]);
  const { columns } = grid!;
  const patches = Array.from({ length: count }, (_, index) => ({
    grid: 0,
    row: Math.floor(index / columns),
    column: index % columns,
  }));
  expect(layout.patches).toEqual(patches);
  return { inputs, grid: grid! };
}

/** Mean red and green of each patch of pixel_values [1, 3, height, width], in shares of the photo's width and height. */
function seen({ pixel_values }: Record<string, Tensor>, { rows, columns }: PatchGrid): [number, number][] {
  const [, , height, width] = pixel_values!.dims as [number, number, number, number];
  const side = Math.floor(height / rows);
  return Array.from({ length: rows * columns }, (_, patch) =>
    meanOf(
      pixel_values!.data as Float32Array,
      [height, width],
      Math.floor(patch / columns),
      patch % columns,
      side,
    ),
  );
}

/** Mean red and green of a square of a picture [3, height, width], which may be one of several. */
function meanOf(
  data: Float32Array,
  [height, width]: [number, number],
  row: number,
  column: number,
  side: number,
  picture = 0,
): [red: number, green: number] {
  const sums: [number, number] = [0, 0];
  for (let y = row * side; y < (row + 1) * side; y++) {
    for (let x = column * side; x < (column + 1) * side; x++) {
      for (const channel of [0, 1] as const) {
        sums[channel] += data[((3 * picture + channel) * height + y) * width + x]!;
      }
    }
  }
  return [sums[0] / side ** 2, sums[1] / side ** 2];
}

/** Where a patch lies on the photo, and how large it is, in pixels. */
function placeOf(
  { grids }: ImageLayout,
  { grid, row, column }: { grid: number; row: number; column: number },
) {
  const { box } = grids[grid]!;
  const [x, y] = cornerOf(grids[grid]!, row, column);
  const [across, down] = extentOf(grids[grid]!);
  const size = [box.width / across, box.height / down] as const;
  return { size, centre: [box.x + (x + 0.5) * size[0], box.y + (y + 0.5) * size[1]] as const };
}

/** Checks that what the model sees in a patch is what lies on the photo where the grid puts the patch. */
function expectOnPhoto(photo: RawImage, grid: PatchGrid, patches: [number, number][]): void {
  const { rows, columns, box } = grid;
  const inside = (share: number, margin: number) => share > margin && share < 1 - margin;
  // Half a patch of the photo would be an error; resampling at the edges and rounding of sizes are less.
  const allowed = [
    Math.max(0.35 * (box.width / columns / photo.width), 0.008),
    Math.max(0.35 * (box.height / rows / photo.height), 0.008),
  ];
  patches.forEach(([red, green], patch) => {
    const x = (box.x + ((patch % columns) + 0.5) * (box.width / columns)) / photo.width;
    const y = (box.y + (Math.floor(patch / columns) + 0.5) * (box.height / rows)) / photo.height;
    const [across, down] = [box.width / columns / photo.width, box.height / rows / photo.height];
    if (!inside(x, across) || !inside(y, down)) return;
    expect(Math.abs(red - x)).toBeLessThan(allowed[0]!);
    expect(Math.abs(green - y)).toBeLessThan(allowed[1]!);
  });
}

const sizes = fc.tuple(fc.integer({ min: 120, max: 420 }), fc.integer({ min: 120, max: 420 }));

describe('the grid over the photo', () => {
  it('of the LLaVA family lies on the middle that the crop leaves', async () => {
    const { grid } = await gridOf(clip(), ramp(900, 420), 576);
    expect(grid).toEqual({ rows: 24, columns: 24, box: { x: 240, y: 0, width: 420, height: 420 } });
  });

  it.each([
    ['crop', clip(112), 64, sizes],
    ['squares that leave a rim', siglip, 729, sizes],
    ['padding', padding, 64, sizes],
  ] as const)('shows each patch where the model sees it: %s', async (_name, processor, count, photos) => {
    await fc.assert(
      fc.asyncProperty(photos, async ([width, height]) => {
        const photo = ramp(width, height);
        const { inputs, grid } = await gridOf(processor, photo, count);
        if (typeof grid === 'string') throw new Error(grid);
        expectOnPhoto(photo, grid, seen(inputs, grid));
      }),
      { numRuns: 4 },
    );
  });

  it('keeps the shape of the photo where the processor does', async () => {
    const photo = ramp(400, 200);
    const { inputs, grid } = await gridOf(pixtral, photo, 32);
    expect(grid).toEqual({ rows: 4, columns: 8, box: { x: 0, y: 0, width: 400, height: 200 } });
    expectOnPhoto(photo, grid as PatchGrid, seen(inputs, grid as PatchGrid));
  });

  it('of the Qwen family has a cell for each 2 x 2 patches', async () => {
    const photo = ramp(500, 260);
    const [rows, columns] = [9, 18];
    const { inputs, grid } = await gridOf(qwen, photo, rows * columns);
    expect(grid).toEqual({ rows, columns, box: { x: 0, y: 0, width: 500, height: 260 } });
    const [patches, size] = inputs.pixel_values!.dims as [number, number];
    const data = inputs.pixel_values!.data as Float32Array;
    const mean = (token: number, channel: number) => {
      let sum = 0;
      for (let patch = 4 * token; patch < 4 * token + 4; patch++) {
        const start = patch * size + (channel * size) / 3;
        for (let at = start; at < start + size / 3; at++) sum += data[at]!;
      }
      return sum / ((4 * size) / 3);
    };
    const means = Array.from({ length: patches / 4 }, (_, token): [number, number] => [
      mean(token, 0),
      mean(token, 1),
    ]);
    expectOnPhoto(photo, grid as PatchGrid, means);
  });
});

describe('a photo in tiles and the whole of it', () => {
  it.each([
    ['squares that fill a tile', idefics(96, 288), 9, 32],
    ['squares that leave a rim of each tile', idefics(70, 280), 36, 11],
  ] as const)('shows each patch where the model sees it: %s', async (_name, processor, each, side) => {
    const sizes = fc.tuple(fc.integer({ min: 300, max: 420 }), fc.integer({ min: 300, max: 420 }));
    await fc.assert(
      fc.asyncProperty(sizes, fc.constantFrom(1, 2, 4), async ([width, height], flat) => {
        const photo = ramp(width, Math.ceil(height / flat));
        const tiles = (await processor([photo])).pixel_values.dims[1] - 1;
        const { inputs, layout } = await layoutOf(processor, photo, each * (tiles + 1));
        if (typeof layout === 'string') throw new Error(layout);
        const edge = processor.max_image_size.longest_edge as number;
        layout.patches.forEach((patch, token) => {
          const picture = Math.floor(token / each);
          const [row, column] = [Math.floor((token % each) / Math.sqrt(each)), token % Math.sqrt(each)];
          const data = inputs.pixel_values!.data as Float32Array;
          const [red, green] = meanOf(data, [edge, edge], row, column, side, picture);
          expect(patch!.grid).toBe(picture < tiles ? 0 : 1);
          const { centre, size } = placeOf(layout, patch!);
          // A ramp resampled twice, which is flat at its ends; a patch beside would be one away.
          const [across, down] = [size[0] / photo.width, size[1] / photo.height];
          const atEnd = (share: number, patch: number) => share < 1.2 * patch || share > 1 - 1.2 * patch;
          const allowed = (share: number, patch: number) =>
            (atEnd(share, patch) ? 0.4 : 0.12) * patch + 0.004;
          const [x, y] = [centre[0] / photo.width, centre[1] / photo.height];
          expect(Math.abs(red - x)).toBeLessThan(allowed(x, across));
          expect(Math.abs(green - y)).toBeLessThan(allowed(y, down));
        });
      }),
      { numRuns: 8 },
    );
  });

  it('has one grid where the processor does not split it', async () => {
    const { grid } = await gridOf(idefics(100, 100), ramp(400, 200), 25);
    expect(grid).toEqual({ rows: 5, columns: 5, box: { x: 0, y: 0, width: 400, height: 200 } });
  });
});

describe('tokens that are no grid', () => {
  it('are told apart: tokens that are not squares of every tile', async () => {
    for (const count of [64 * 9 + 1, 63 * 9, 64 * 8, 0]) {
      expect((await layoutOf(idefics(100, 400), ramp(400, 200), count)).layout).toBe(
        `its ${count} image tokens are not squares of 2 x 4 tiles and the whole photo, 9 pictures of 100 x 100 pixels`,
      );
    }
  });

  it('are told apart: tiles that are not those that the processor names', async () => {
    const { inputs } = await layoutOf(idefics(100, 400), ramp(400, 200), 64 * 9);
    const facts = idefics(100, 400) as unknown as ImageProcessorFacts;
    const lacking = { ...inputs, rows: [[3]] } as unknown as Inputs;
    expect(imageLayout(lacking, facts, ramp(400, 200), 64 * 9)).toMatch(/are not squares of 3 x 4 tiles/);
  });

  it('are told apart: pictures without a word about which they are', async () => {
    const { inputs } = await layoutOf(idefics(100, 400), ramp(400, 200), 64 * 9);
    const facts = idefics(100, 400) as unknown as ImageProcessorFacts;
    const { rows: _, ...silent } = inputs;
    expect(imageLayout(silent as Inputs, facts, ramp(400, 200), 64 * 9)).toBe(
      'its processor splits the photo into 9 pictures with tokens of their own',
    );
  });

  it('are told apart: a token more than there are patches', async () => {
    const { grid } = await gridOf(clip(), ramp(336, 336), 577);
    expect(grid).toBe('its 577 image tokens are no grid of squares over 336 x 336 pixels');
    expect((await gridOf(clip(), ramp(336, 336), 0)).grid).toMatch(/^its 0 image tokens/);
  });

  it('are told apart: not what the processor names', async () => {
    const { grid } = await gridOf(qwen, ramp(500, 260), 100);
    expect(grid).toBe('its 100 image tokens are not the 9 x 18 that its processor names');
  });

  it('are told apart: patches instead of a picture', () => {
    const inputs = { pixel_values: { dims: [1, 256, 768], data: [] } } as unknown as Inputs;
    const facts = clip() as unknown as ImageProcessorFacts;
    expect(imageLayout(inputs, facts, ramp(64, 64), 64)).toMatch(/patches of several sizes/);
  });
});
