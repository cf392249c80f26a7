import type { PromptToken } from './explain-prompt.js';
import { times } from './heat.js';
import { tag, text } from './svg.js';
import { type Chip, textStrip, visible } from './text-strip.js';

export const [WIDTH, MARGIN] = [1200, 36];
export const INNER = WIDTH - 2 * MARGIN;
export const [INK, SOFT] = ['#0f172a', '#64748b'];

/** Markup that takes `height` from where it begins. */
export interface Block {
  readonly markup: string;
  readonly height: number;
}

/** Blocks one below the other, each told where it begins. */
export function stack(y: number, gap: number, blocks: readonly ((y: number) => Block)[]): Block {
  let at = y;
  const drawn = blocks.map((block) => {
    const { markup, height } = block(at);
    at += height + gap;
    return markup;
  });
  return { markup: drawn.join('\n'), height: at - gap - y };
}

/** A heading of a panel and a line of numbers below it; 38 high. */
export function heading(x: number, y: number, title: string, line: string): string {
  return (
    text(x, y + 12, title, { 'font-size': 15, 'font-weight': 600, fill: INK }) +
    text(x, y + 30, line, { 'font-size': 12.5, fill: SOFT })
  );
}

export type LegendItem = { readonly fill: string; readonly stroke?: string; readonly words: string };

/** The fill of a square that shows the photo. */
export const CLEAR = 'none';

/** Small squares with words, in columns of `width` that fit into `room`. */
export function keys(x: number, y: number, items: readonly LegendItem[], width: number, room = width): Block {
  const columns = Math.max(1, Math.floor(room / width));
  const drawn = items.map(({ fill, stroke = '#94a3b8', words }, index) => {
    const left = x + (index % columns) * width;
    const top = y + Math.floor(index / columns) * 20;
    const line = { fill, stroke, 'stroke-width': fill === CLEAR ? 1.6 : 0.8 };
    return (
      tag('rect', { x: left + 1, y: top + 1, width: 11, height: 11, ...line }) +
      text(left + 20, top + 11, words, { 'font-size': 12, fill: '#475569' })
    );
  });
  return { markup: drawn.join(''), height: Math.ceil(items.length / columns) * 20 };
}

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
