import {
  type BackgroundStyle,
  type Color,
  type Position,
  SHAPES,
  type Shape,
  type Size,
  type Texture,
} from '../../src/scenes/vocabulary.js';

/** The ways to say one thing. Reading back takes the longest match, so a phrase may be part of another. */
type Ways<K extends string> = Readonly<Record<K, readonly string[]>>;

export const PLACES: Ways<Position> = {
  'top left': ['top left', 'top left corner', 'upper left', 'upper left corner'],
  'top center': ['top center', 'top middle', 'middle of the top row', 'upper middle'],
  'top right': ['top right', 'top right corner', 'upper right', 'upper right corner'],
  'middle left': ['middle left', 'left side', 'left of the middle row', 'center left'],
  center: ['center', 'very center', 'middle of the picture', 'center of the image'],
  'middle right': ['middle right', 'right side', 'right of the middle row', 'center right'],
  'bottom left': ['bottom left', 'bottom left corner', 'lower left', 'lower left corner'],
  'bottom center': ['bottom center', 'bottom middle', 'middle of the bottom row', 'lower middle'],
  'bottom right': ['bottom right', 'bottom right corner', 'lower right', 'lower right corner'],
};
export const SIZE_WORDS: Ways<Size> = {
  small: ['small', 'little', 'tiny'],
  medium: ['medium', 'medium-sized', 'mid-sized'],
  large: ['large', 'big'],
};
/** In front of a noun. */
export const TEXTURE_WORDS: Ways<Texture> = {
  plain: ['plain', 'solid'],
  striped: ['striped'],
  dotted: ['dotted', 'spotted'],
  checkered: ['checkered'],
};
/** After a noun. */
export const TEXTURE_TAILS: Ways<Texture> = {
  plain: ['without a pattern', 'with no pattern'],
  striped: ['with stripes'],
  dotted: ['with dots', 'with spots'],
  checkered: ['with checks'],
};
export const SHAPE_WORDS = Object.fromEntries(
  SHAPES.map((shape) => [shape, [shape]]),
) as unknown as Ways<Shape>;
export const COLOR_WORDS: Ways<Color> = {
  red: ['red'],
  orange: ['orange'],
  yellow: ['yellow'],
  green: ['green'],
  blue: ['blue'],
  purple: ['purple'],
  pink: ['pink'],
  brown: ['brown'],
  black: ['black'],
  white: ['white'],
};
export const STYLE_WORDS: Ways<BackgroundStyle> = {
  plain: ['plain'],
  shaded: ['shaded'],
  lined: ['lined'],
  speckled: ['speckled'],
};
export const NUMBERS = ['zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine'];

const escaped = (text: string) => text.replace(/[-/\\^$*+?.()|[\]{}]/g, '\\$&');
const readers = new WeakMap<object, { pattern: RegExp; said: ReadonlyMap<string, string> }>();

function readerOf(ways: Ways<string>) {
  const known = readers.get(ways);
  if (known) return known;
  const said = new Map(
    Object.entries(ways).flatMap(([one, all]) => all.map((phrase) => [phrase, one] as const)),
  );
  const longestFirst = [...said.keys()].sort((a, b) => b.length - a.length).map(escaped);
  const reader = { pattern: new RegExp(`(?<![a-z])(${longestFirst.join('|')})(?![a-z])`, 'i'), said };
  readers.set(ways, reader);
  return reader;
}

/** Reads the first phrase of any of `ways` in a text: what it says, and the text without it. */
export function firstOf<K extends string>(
  ways: Ways<K>,
  text: string,
): { said: K; rest: string } | undefined {
  const { pattern, said } = readerOf(ways);
  const found = pattern.exec(text);
  if (!found) return undefined;
  return {
    said: said.get(found[1]!.toLowerCase()) as K,
    rest: text.slice(0, found.index) + text.slice(found.index + found[0].length),
  };
}

/** All that is said, each once, in the order of the text. */
export function allOf<K extends string>(ways: Ways<K>, text: string): K[] {
  const said = new Set<K>();
  for (let found = firstOf(ways, text); found; found = firstOf(ways, found.rest)) said.add(found.said);
  return [...said];
}
