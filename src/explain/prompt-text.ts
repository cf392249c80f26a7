import { times } from './drawing/heat.js';
import { type Block, heading, INNER, MARGIN } from './drawing/layout.js';
import { type Chip, textStrip, visible } from './drawing/text-strip.js';
import type { PromptToken } from './prompt/explain-prompt.js';

/** The text of the prompt with, for each token, whether it stayed; the image tokens that follow each other are one chip. */
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
    if (token.patch === undefined) {
      const share = shareOf(received[place]!);
      const note = layers === 1 ? share : `${stayed[place]}/${layers} · ${share}`;
      const tip = `token ${place}: ${whereTo(place)}; received ${share} of the average token's attention`;
      chips.push({ label: visible(token.text), note, stayed: stayed[place]! / layers, tip });
    } else if (tokens[place - 1]?.patch === undefined) {
      chips.push({ label: '▦ image', note: 'drawn above', stayed: undefined, tip: 'the image' });
      chips.push(...separators(tokens, place, layers, stayed, received));
    }
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

/** The separators among the image tokens that follow each other from `start` on, which are drawn nowhere else, as one chip. */
function separators(
  tokens: readonly PromptToken[],
  start: number,
  layers: number,
  stayed: readonly number[],
  received: readonly number[],
): Chip[] {
  const after = tokens.findIndex(({ patch }, place) => place > start && patch === undefined);
  const run = tokens.slice(start, after < 0 ? undefined : after);
  const places = run.flatMap(({ patch }, index) => (patch === null ? [start + index] : []));
  if (places.length === 0) return [];
  const mean = (values: readonly number[]) =>
    places.reduce((sum, place) => sum + values[place]!, 0) / places.length;
  const held = mean(stayed) / layers;
  const share = shareOf(mean(received));
  const few = Number((held * places.length).toFixed(1));
  const tip = `separators of the image, which end rows of patches: ${few} of ${places.length} stayed${layers === 1 ? '' : ' on average'}; each received ${share} of the average token's attention`;
  return [{ label: `⏎ ${places.length} separators`, note: `${few} stayed · ${share}`, stayed: held, tip }];
}

function shareOf(received: number): string {
  return received < 0.01 ? '< 0.01×' : times(received);
}
