import type { PromptToken } from './explain-prompt.js';
import { times } from './heat.js';
import { type Block, heading, INNER, MARGIN } from './layout.js';
import { type Chip, textStrip, visible } from './text-strip.js';

/** The text of the prompt with, for each token, whether it stayed; all tokens of the image are one chip. */
export function promptText(
  y: number,
  tokens: readonly PromptToken[],
  layers: number,
  stayed: readonly number[],
  received: readonly number[],
  whereTo: (token: number) => string,
): Block {
  const chips: Chip[] = [];
  tokens.forEach((token, place) => {
    if (token.patch) {
      if (!tokens[place - 1]?.patch)
        chips.push({ label: '▦ image', note: 'drawn above', stayed: undefined, tip: 'the image' });
      return;
    }
    const share = received[place]! < 0.01 ? '< 0.01×' : times(received[place]!);
    const note = layers === 1 ? share : `${stayed[place]}/${layers} · ${share}`;
    const tip = `token ${place}: ${whereTo(place)}; received ${share} of the average token's attention`;
    chips.push({ label: visible(token.text), note, stayed: stayed[place]! / layers, tip });
  });
  const strip = textStrip(MARGIN, y + 50, INNER, chips);
  const line =
    layers === 1
      ? 'filled: stayed; dashed: did not. Below each token: attention received, as a multiple of the average token'
      : `filled: stayed in all ${layers} layers; tinted: in some; dashed: in none. Below each token: in how many it stayed, and attention received (mean of the layers)`;
  return {
    markup: heading(MARGIN, y, 'The text of the prompt', line) + strip.markup,
    height: 50 + strip.height,
  };
}
