import { type Family, firstToken, processorOf, withoutSeenRows } from './family.js';
import { equalPictures } from './pictures.js';

/** PaliGemma: image tokens, then `<bos>`, the prompt and a line feed, which its processor adds. */
export const paligemma: Family = {
  mark: () => '<image>',
  plainPrompt: (marks, prompt) => marks.join('') + prompt,
  textOnly: ({ tokenizer }, text) => `${tokenizer.bos_token}${text}\n`,
  inputs: (loaded, text, images) => processorOf(loaded, { add_special_tokens: false })([...images], text),
  unseenImages: withoutSeenRows,
  pictures: equalPictures,
};

/** Gemma 3: a token that begins an image, which its processor makes the image's tokens of. */
export const gemma3: Family = {
  mark: ({ tokenizer }) => (tokenizer.config as { boi_token?: string }).boi_token ?? '<start_of_image>',
  plainPrompt: (marks, prompt) =>
    `<start_of_turn>user\n${marks.join('')}${prompt}<end_of_turn>\n<start_of_turn>model\n`,
  inputs: (loaded, text, images) => processorOf(loaded, firstToken(loaded, text))(text, [...images]),
  unseenImages: withoutSeenRows,
  pictures: equalPictures,
};
