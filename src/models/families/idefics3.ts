import { cat, type Tensor } from '@huggingface/transformers';
import { type Family, firstToken, llavaPrompt, onlyPrompt, picturesDoNotFit, processorOf } from './family.js';
import { equalPictures } from './pictures.js';

/** Idefics3 and SmolVLM: an image is split into tiles and a smaller copy of the whole; `pixel_values` [1, tiles, 3, side, side]. */
export const idefics3: Family = {
  mark: () => '<image>',
  plainPrompt: llavaPrompt,
  inputs: (loaded, text, images) => processorOf(loaded, firstToken(loaded, text))(text, [...images]),
  pictures: (inputs, all) => equalPictures(inputs, all, 2),
  joined: (before, after) => cat([before, after], 1),
  unseenImages(inputs, prompts) {
    const count = onlyPrompt(prompts);
    const given = ['pixel_values', 'pixel_attention_mask'].filter((name) => inputs[name]);
    const rest = given.map((name) => {
      const tensor = inputs[name] as Tensor;
      const tiles = tensor.dims[1]!;
      const skip = (count.seen * tiles) / count.all;
      if (!Number.isInteger(skip)) throw picturesDoNotFit(count, name, tiles);
      return [name, tensor.slice(null, [skip, tiles])] as const;
    });
    return { ...inputs, ...Object.fromEntries(rest) };
  },
};
