import { encode, type Family } from './family.js';

/** Models of text alone: without a chat template, they go on with what they are given. */
export const text: Family = {
  mark: () => undefined,
  plainPrompt: (_marks, prompt) => prompt,
  inputs: async (loaded, text) => encode(loaded, text),
  unseenImages: (inputs) => inputs,
  pictures: () => [],
};
