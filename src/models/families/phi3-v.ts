import { cat, type Tensor, zeros } from '@huggingface/transformers';
import { ElasticCacheError } from '../../errors.js';
import {
  encode,
  type Family,
  type ImageTokens,
  onlyPrompt,
  picturesDoNotFit,
  withRepeated,
} from './family.js';
import { bytesOf, type Picture } from './pictures.js';

const MARK = '<|image|>';
/** Pixels along the side of a tile. */
const TILE = 336;

/**
 * Phi-3.5-vision: an image is a small copy of the whole and tiles, `pixel_values` [images, 1 + tiles, 3, 336, 336], and takes as
 * many tokens as its size, a row of `image_sizes` [images, 2] in pixels, gives. The ids of these tokens are negative: the
 * session that makes embeddings puts the rows of the images in their places.
 *
 * The processor of transformers.js gives each image in a text as many tokens as the first one takes.
 */
export const phi3V: Family = {
  mark: () => MARK,
  // What its processor, and the prompts it was trained on, have in place of an image.
  otherMarks: /<\|image_\d+\|>/,
  plainPrompt: (marks, prompt) =>
    `<|user|>\n${marks.map((mark) => `${mark}\n`).join('')}${prompt}<|end|>\n<|assistant|>\n`,
  async inputs(loaded, text, images) {
    const token = loaded.tokenizer.convert_tokens_to_ids(MARK) as number | undefined;
    if (token === undefined) {
      throw new ElasticCacheError(
        'invalid-model',
        `The tokenizer has no "${MARK}", which stands for an image in this model's text; fetch its tokenizer.json again.`,
      );
    }
    const pictures = await loaded.processor.image_processor!([...images]);
    const inputs = encode(loaded, withRepeated(text, MARK, pictures.num_img_tokens));
    inputs.input_ids.map_((id: bigint) => (id === BigInt(token) ? -id : id));
    return { ...inputs, ...pictures };
  },
  unseenImages: withoutSeenImages,
  pictures: tiledPictures,
  joined: withTilesAdded,
  isImageToken: (id) => id < 0n,
  decoder: 'model',
};

/** Each picture without the tiles that fill it up to the largest of its call. */
function tiledPictures(inputs: Record<string, unknown>, all: number): Picture[] {
  const pixels = inputs.pixel_values as Tensor;
  const sizes = inputs.image_sizes as Tensor;
  const [images = 1, most = 1] = pixels.dims;
  const tile = pixels.size / (images * most);
  const tokens = tokensOfEach(sizes, all);
  return (sizes.tolist() as bigint[][]).map(([height, width], at) => {
    const tiles = 1 + (Number(height) * Number(width)) / TILE ** 2;
    return { data: bytesOf(pixels, at * most * tile, tiles * tile), tokens: tokens[at]! };
  });
}

/** Images [n, tiles, ...] of which some have fewer tiles get empty ones, as in a call of all of them; sizes [n, 2] are no tiles. */
function withTilesAdded(before: Tensor, after: Tensor): Tensor {
  const tiles = Math.max(before.dims[1]!, after.dims[1]!);
  const widened = (images: Tensor) => {
    const [count, own, ...rest] = images.dims as [number, number, ...number[]];
    if (own === tiles) return images;
    return cat([images, zeros([count, tiles - own, ...rest])], 1);
  };
  return cat([widened(before), widened(after)], 0);
}

/** Leaves out the first images, which may take more or fewer tokens than the others. */
function withoutSeenImages(
  inputs: Record<string, unknown>,
  prompts: readonly ImageTokens[],
): Record<string, unknown> {
  const count = onlyPrompt(prompts);
  const pixels = inputs.pixel_values as Tensor | undefined;
  const sizes = inputs.image_sizes as Tensor | undefined;
  // The class asks for whichever is missing.
  if (!pixels || !sizes) return inputs;
  const images = sizes.dims[0]!;
  const tokens = tokensOfEach(sizes, count.all);
  let skip = 0;
  let left = count.seen;
  while (left > 0 && skip < images) left -= tokens[skip++]!;
  if (left !== 0 || pixels.dims[0] !== images) throw picturesDoNotFit(count, 'image_sizes', images);
  return { ...inputs, pixel_values: pixels.slice([skip, images]), image_sizes: sizes.slice([skip, images]) };
}

/**
 * Tokens of images that take `all` together: side² for the small copy and for each tile, `side` that part rows of tiles and
 * one more, and one that parts the copy from the tiles. The side is 12 on the Hub; it follows from the sum, since it is not
 * among the inputs. NaN for images that cannot take so many.
 */
function tokensOfEach(sizes: Tensor, all: number): number[] {
  const tiles = (sizes.tolist() as bigint[][]).map((size) => size.map((pixels) => Number(pixels) / TILE));
  const squares = tiles.map(([rows, columns]) => rows! * columns! + 1);
  const lines = tiles.map(([rows]) => rows! + 1);
  const sum = (numbers: number[]) => numbers.reduce((total, number) => total + number, 0);
  const [a, b, c] = [sum(squares), sum(lines), tiles.length - all];
  const side = (Math.sqrt(b * b - 4 * a * c) - b) / (2 * a);
  return tiles.map((_, i) =>
    Number.isInteger(side) ? squares[i]! * side * side + lines[i]! * side + 1 : NaN,
  );
}
