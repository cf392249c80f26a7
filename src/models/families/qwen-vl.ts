import { cat, type PreTrainedModel, type Tensor } from '@huggingface/transformers';
import { encode, type Family, llavaPrompt, onlyPrompt, withoutSeenRows, withRepeated } from './family.js';
import { bytesOf, type Picture } from './pictures.js';

const MARK = '<|image_pad|>';

/**
 * Qwen2-VL and Qwen2.5-VL: pictures of any size as rows of patches [patches, channels], `image_grid_thw` [images, 3]
 * beside them, and rotation by time, row and column.
 *
 * transformers.js takes two images of one call for two frames of a video, so each is prepared by itself.
 */
export const qwenVl: Family = {
  mark: () => MARK,
  plainPrompt: (marks, prompt) =>
    llavaPrompt(
      marks.map((mark) => `<|vision_start|>${mark}<|vision_end|>`),
      prompt,
    ),
  async inputs(loaded, text, images) {
    const processor = loaded.processor.image_processor!;
    const pictures = [];
    for (const image of images) pictures.push(await processor(image));
    const { merge_size } = processor.config as unknown as { merge_size: number };
    const tokens = pictures.map(({ pixel_values }) => pixel_values.dims[0] / merge_size ** 2);
    return {
      ...encode(loaded, withRepeated(text, MARK, tokens)),
      pixel_values: cat(
        pictures.map(({ pixel_values }) => pixel_values),
        0,
      ),
      image_grid_thw: cat(
        pictures.map(({ image_grid_thw }) => image_grid_thw),
        0,
      ),
    };
  },
  // The grids of all images stay: positions are counted from the first token on.
  unseenImages: (inputs, prompts) => withoutSeenRows(inputs, [onlyPrompt(prompts)]),
  pictures: gridPictures,
  needsWholePrompt: true,
  patchModel: takeNewImages,
};

type Prepare = PreTrainedModel['prepare_inputs_for_generation'];
type StepInputs = { input_ids: Tensor; pixel_values?: Tensor | null; image_grid_thw?: Tensor };

/**
 * Lets a conversation go on from a cache. As soon as there is one, the class sets the pictures to null: with several new
 * tokens it then encodes null and fails, and images of a later turn are never looked at.
 */
function takeNewImages(model: PreTrainedModel): void {
  const prepare: Prepare = model.prepare_inputs_for_generation.bind(model);
  model.prepare_inputs_for_generation = (...args: Parameters<Prepare>) => {
    const { pixel_values, image_grid_thw } = args[1] as StepInputs;
    const prepared: StepInputs = prepare(...args);
    if (prepared.pixel_values !== null) return prepared;
    delete prepared.pixel_values;
    if (!pixel_values || !image_grid_thw || prepared.input_ids.dims[1] === 1) return prepared;
    return Object.assign(prepared, {
      pixel_values,
      image_grid_thw: lastGrids(image_grid_thw, pixel_values.dims[0]!),
    });
  };
}

/** The pictures of rows of patches, by their grids. */
function gridPictures(inputs: Record<string, unknown>, all: number): Picture[] {
  const pixels = inputs.pixel_values as Tensor;
  const [patches = 0, width = 0] = pixels.dims;
  let end = 0;
  return patchesOf(lastGrids(inputs.image_grid_thw as Tensor, patches)).map((count) => {
    const start = end;
    end += count;
    return { data: bytesOf(pixels, start * width, count * width), tokens: (all * count) / patches };
  });
}

/** Patches of each image of grids [images, 3]. */
function patchesOf(grids: Tensor): number[] {
  return (grids.tolist() as bigint[][]).map((grid) =>
    grid.reduce((product, side) => product * Number(side), 1),
  );
}

/** The grids of the last images, those that have `patches` patches together. */
function lastGrids(grids: Tensor, patches: number): Tensor {
  const sizes = patchesOf(grids);
  let first = sizes.length;
  for (let left = patches; left > 0 && first > 0; left -= sizes[first]!) first--;
  return grids.slice([first, sizes.length]);
}
