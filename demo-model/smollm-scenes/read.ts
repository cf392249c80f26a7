import type { Question } from '../../src/scenes/questions.js';
import type { Scene } from '../../src/scenes/scene.js';
import { BACKGROUND_COLORS, SHAPES, type Texture } from '../../src/scenes/vocabulary.js';
import type { ParsedDescription } from '../scenes/parse.js';
import { scoreItems, type Tally } from '../scenes/score.js';
import {
  allOf,
  COLOR_WORDS,
  firstOf,
  NUMBERS,
  PLACES,
  SHAPE_WORDS,
  SIZE_WORDS,
  STYLE_WORDS,
  TEXTURE_TAILS,
  TEXTURE_WORDS,
} from './phrases.js';

const TEXTURES = Object.fromEntries(
  Object.entries(TEXTURE_WORDS).map(([name, words]) => [name, [...words, ...TEXTURE_TAILS[name as Texture]]]),
) as Record<Texture, string[]>;
/** What is printed in a scene: a word in capitals, or a number. */
const PRINTED = /\b([A-Z]{2,}|\d{1,2})\b/;

/**
 * Reads a description in free English back into what it claims, a sentence an item. Never throws: what it cannot read
 * is not there.
 */
export function readDescription(text: string): ParsedDescription {
  const parsed: ParsedDescription = { background: {}, objects: [], texts: [], shapeCounts: {} };
  for (const sentence of text.split(/[.!?\n]+/)) {
    if (/\bbackground\b/i.test(sentence)) {
      parsed.background = {
        color: BACKGROUND_COLORS.find((color) => sentence.includes(color)),
        style: firstOf(STYLE_WORDS, sentence)?.said,
      };
      continue;
    }
    const place = firstOf(PLACES, sentence);
    if (!place) continue;
    const { said: position, rest } = place;
    const color = firstOf(COLOR_WORDS, rest)?.said;
    const printed = PRINTED.exec(rest)?.[1];
    const shape = firstOf(SHAPE_WORDS, rest)?.said;
    if (printed && !shape) parsed.texts.push({ position, text: printed, color });
    else
      parsed.objects.push({
        position,
        size: firstOf(SIZE_WORDS, rest)?.said,
        color,
        texture: firstOf(TEXTURES, rest)?.said,
        shape,
      });
  }
  return parsed;
}

/** Five facts an object, three a text, two of the background; what a description says of their number is not scored. */
export const scoreFreely = (text: string, scene: Scene): Tally => scoreItems(readDescription(text), scene);

/** Whether an answer in free English says what the question's one true answer is, and nothing else of the kind. */
export function isRight({ kind, answer }: Question, given: string): boolean {
  const only = (said: readonly string[], expected: string) => said.length === 1 && said[0] === expected;
  switch (kind) {
    case 'relation':
    case 'existence':
      return /^\W*(yes|no)\b/i.exec(given)?.[1]?.toLowerCase() === answer;
    case 'count':
      return countIn(given) === Number(answer);
    case 'position':
      return only(allOf(PLACES, given), answer);
    case 'text':
      return PRINTED.exec(given)?.[1] === answer;
    case 'color':
      return only(allOf(COLOR_WORDS, given), answer);
    case 'size':
      return only(allOf(SIZE_WORDS, given), answer);
    case 'texture':
      return only(allOf(TEXTURES, given), answer);
    case 'shape':
      return only(allOf(SHAPE_WORDS, given), answer);
    case 'content': {
      if (answer === 'nothing') return /\b(nothing|empty)\b/i.test(given);
      if (!SHAPES.some((shape) => answer.endsWith(` ${shape}`)))
        return PRINTED.exec(given)?.[1] === answer.split(' ').at(-1);
      const [, size, color, texture, shape] = answer.split(' ');
      return (
        only(allOf(SIZE_WORDS, given), size!) &&
        only(allOf(COLOR_WORDS, given), color!) &&
        only(allOf(TEXTURES, given), texture!) &&
        only(allOf(SHAPE_WORDS, given), shape!)
      );
    }
  }
}

function countIn(given: string): number | undefined {
  const words = given.toLowerCase().match(/[a-z]+|\d+/g) ?? [];
  // "I see none", "There is one": the first word that is a number.
  for (const word of words) {
    if (/^\d+$/.test(word)) return Number(word);
    if (word === 'none' || word === 'no') return 0;
    if (NUMBERS.includes(word)) return NUMBERS.indexOf(word);
  }
  return undefined;
}
