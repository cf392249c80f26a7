import { plural } from '../../src/scenes/describe.js';
import {
  BACKGROUND_COLORS,
  BACKGROUND_STYLES,
  COLORS,
  POSITIONS,
  SHAPES,
  type Shape,
  SIZES,
  TEXTURES,
} from '../../src/scenes/vocabulary.js';

export type ParsedObject = {
  position?: string;
  size?: string;
  color?: string;
  texture?: string;
  shape?: string;
};
export type ParsedText = { position?: string; text?: string; color?: string };
export type ParsedDescription = {
  objectCount?: number;
  textCount?: number;
  background: { color?: string; style?: string };
  objects: ParsedObject[];
  texts: ParsedText[];
  shapeCounts: Partial<Record<Shape, number>>;
};

/** The first of `values`, as whole words, in `text`. */
function find(text: string, values: readonly string[]): string | undefined {
  return values.find((value) => new RegExp(`\\b${value}\\b`, 'i').test(text));
}

// "middle center" and "center" must not be found inside "top center".
const PLACE = new RegExp(`^In the (${[...POSITIONS].sort((a, b) => b.length - a.length).join('|')})\\b`, 'i');

function readIntro(sentence: string, into: ParsedDescription): void {
  const objects = /(\d+) objects?\b/.exec(sentence)?.[1];
  const texts = /(\d+|no) printed text/.exec(sentence)?.[1];
  if (objects) into.objectCount = Number(objects);
  if (texts) into.textCount = texts === 'no' ? 0 : Number(texts);
  into.background = { color: find(sentence, BACKGROUND_COLORS), style: find(sentence, BACKGROUND_STYLES) };
}

function readItem(position: string | undefined, rest: string, into: ParsedDescription): void {
  const printed = /\b(?:word|number) (\S+)/.exec(rest)?.[1];
  const color = find(printed ? rest.slice(rest.indexOf(printed) + printed.length) : rest, COLORS);
  if (printed) into.texts.push({ position, text: printed, color });
  else
    into.objects.push({
      position,
      size: find(rest, SIZES),
      color,
      texture: find(rest, TEXTURES),
      shape: find(rest, SHAPES),
    });
}

function readSummary(sentence: string, into: ParsedDescription): void {
  for (const shape of SHAPES) {
    const count = new RegExp(`\\b(\\d+) (?:${shape}|${plural(shape)})\\b`).exec(sentence)?.[1];
    if (count) into.shapeCounts[shape] = Number(count);
  }
}

/** Reads a description, right or wrong, whole or cut short, back into what it claims. Never throws. */
export function parseDescription(text: string): ParsedDescription {
  const parsed: ParsedDescription = { background: {}, objects: [], texts: [], shapeCounts: {} };
  for (const sentence of text.split('.').map((part) => part.trim())) {
    const place = PLACE.exec(sentence);
    if (/^The picture shows\b/i.test(sentence)) readIntro(sentence, parsed);
    else if (place) readItem(place[1]?.toLowerCase(), sentence.slice(place[0].length), parsed);
    else if (/^In the\b/i.test(sentence)) readItem(undefined, sentence, parsed);
    else if (/^There (is|are) \d/i.test(sentence)) readSummary(sentence, parsed);
  }
  return parsed;
}
