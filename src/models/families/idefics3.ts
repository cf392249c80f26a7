import { type Family, llavaPrompt, withoutSeen } from './family.js';

/** Idefics3 and SmolVLM: an image is split into tiles and a smaller copy of the whole; `pixel_values` [1, tiles, 3, side, side]. */
export const idefics3: Family = {
  mark: () => '<image>',
  plainPrompt: llavaPrompt,
  inputs: ({ processor }, text, images) => processor(text, [...images]),
  unseenImages: (inputs, count) => withoutSeen(inputs, ['pixel_values', 'pixel_attention_mask'], 1, count),
};
