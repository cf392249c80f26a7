import { type Family, firstToken, withoutSeenRows } from './family.js';
import { equalPictures } from './pictures.js';

/** PaliGemma: image tokens, then `<bos>`, the prompt and a line feed, which its processor adds. */
export const paligemma: Family = {
  mark: () => '<image>',
  plainPrompt: (marks, prompt) => marks.join('') + prompt,
  textOnly: ({ tokenizer }, text) => `${tokenizer.bos_token}${text}\n`,
  inputs: ({ processor }, text, images) => processor([...images], text),
  unseenImages: withoutSeenRows,
  pictures: equalPictures,
};

/** Gemma 3: a token that begins an image, which its processor makes the image's tokens of. */
export const gemma3: Family = {
  mark: ({ tokenizer }) => (tokenizer.config as { boi_token?: string }).boi_token ?? '<start_of_image>',
  plainPrompt: (marks, prompt) =>
    `<start_of_turn>user\n${marks.join('')}${prompt}<end_of_turn>\n<start_of_turn>model\n`,
  // Its template begins with <bos>, and so would the tokenizer.
  inputs: (loaded, text, images) => loaded.processor(text, [...images], firstToken(loaded, text)),
  unseenImages: withoutSeenRows,
  pictures: equalPictures,
};
