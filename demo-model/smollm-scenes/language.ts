import type { Random } from '../../src/random.js';
import type { Question } from '../../src/scenes/questions.js';
import { objectsOf, type Scene, type SceneObject, type SceneText, textsOf } from '../../src/scenes/scene.js';
import type { Position } from '../../src/scenes/vocabulary.js';
import { COLOR_WORDS, NUMBERS, PLACES, SIZE_WORDS, TEXTURE_TAILS, TEXTURE_WORDS } from './phrases.js';

/** A part of an answer, and the cell it is about; joined as they are. */
export type Piece = { text: string; cell?: number };

export const DESCRIPTION_PROMPTS = [
  'Describe the image in detail.',
  'Describe this picture in detail.',
  'What do you see in this image? Describe it in detail.',
  'Give a detailed description of the picture.',
  'Tell me everything you see in the picture.',
  'Write a detailed description of this image.',
  'Please describe what is shown here.',
  'What is in the image?',
] as const;

const article = (words: string) => `${/^[aeiou]/.test(words) ? 'an' : 'a'} ${words}`;
const capital = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);
const number = (random: Random, count: number) => (random.chance(0.5) ? String(count) : NUMBERS[count]!);
const place = (random: Random, position: Position) => random.pick(PLACES[position]);

/** Size, colour, texture and shape, in one of the orders that English allows. */
function noun(random: Random, { size, color, texture, shape }: SceneObject): string {
  const s = random.pick(SIZE_WORDS[size]);
  const c = random.pick(COLOR_WORDS[color]);
  const t = random.pick(TEXTURE_WORDS[texture]);
  if (random.chance(0.3)) return `${article(`${s} ${c} ${shape}`)} ${random.pick(TEXTURE_TAILS[texture])}`;
  return random.pick([
    `${article(`${s} ${c} ${t} ${shape}`)}`,
    `${article(`${s} ${t} ${c} ${shape}`)}`,
    `${article(`${s}, ${t} ${c} ${shape}`)}`,
  ]);
}

function aboutObject(random: Random, object: SceneObject): string {
  const at = place(random, object.position);
  const what = noun(random, object);
  const { size, color, texture, shape } = object;
  const s = random.pick(SIZE_WORDS[size]);
  const t = random.pick(TEXTURE_WORDS[texture]);
  return random.pick([
    `In the ${at} there is ${what}.`,
    `In the ${at} you can see ${what}.`,
    `There is ${what} in the ${at}.`,
    `The ${at} shows ${what}.`,
    `The ${at} has ${what}.`,
    `${capital(what)} is in the ${at}.`,
    `${capital(what)} sits in the ${at}.`,
    `I see ${what} in the ${at}.`,
    `In the ${at}, there is ${article(color)} ${shape}, ${s} and ${t}.`,
    `The ${shape} in the ${at} is ${s}, ${color} and ${t}.`,
    `Then, in the ${at}, ${what}.`,
    `At the ${at}: ${what}.`,
  ]);
}

function aboutText(random: Random, { position, textKind, text, color }: SceneText): string {
  const at = place(random, position);
  return random.pick([
    `In the ${at} the ${textKind} ${text} is printed in ${color}.`,
    `The ${at} has the ${textKind} ${text} in ${color}.`,
    `The ${textKind} "${text}" is written in ${color} in the ${at}.`,
    `In the ${at} it says ${text} in ${color} letters.`.replace(
      'letters',
      textKind === 'number' ? 'digits' : 'letters',
    ),
    `There is ${color} text in the ${at} that reads ${text}.`,
  ]);
}

function opening(random: Random, scene: Scene): string {
  const { style, color } = scene.background;
  const background = `${style} ${color} background`;
  const objects = objectsOf(scene).length;
  const texts = textsOf(scene).length;
  const things = `${number(random, objects)} ${random.pick(['objects', 'shapes', 'things'])}`;
  const printed = texts === 0 ? '' : ` and ${number(random, texts)} printed text${texts === 1 ? '' : 's'}`;
  return random.pick([
    `The picture shows ${things}${printed} on ${article(background)}.`,
    `This image has ${article(background)} with ${things}${printed}.`,
    `I can see ${things}${printed} on ${article(background)}.`,
    `There are ${things}${printed} in this picture. The background is ${style} and ${color}.`,
    `On ${article(background)} there are ${things}${printed}.`,
  ]);
}

/** One of very many true descriptions of a scene: every item with all that there is to say of it, in reading order. */
export function describeFreely(scene: Scene, random: Random): Piece[] {
  const pieces: Piece[] = [{ text: opening(random, scene) }];
  for (const item of scene.items) {
    const text = item.kind === 'object' ? aboutObject(random, item) : aboutText(random, item);
    pieces.push({ text: ` ${text}`, cell: item.cell });
  }
  return pieces;
}

/** A question's answer in a sentence, or in a word. */
export function answerFreely({ kind, answer }: Question, scene: Scene, random: Random): string {
  switch (kind) {
    case 'count': {
      const count = Number(answer);
      const many = number(random, count);
      if (count === 0) return random.pick(['None.', 'There are none.', 'Zero.', 'I see none.']);
      return random.pick([
        `${capital(many)}.`,
        `There ${count === 1 ? 'is' : 'are'} ${many}.`,
        `I count ${many}.`,
        `I see ${many}.`,
      ]);
    }
    case 'relation':
    case 'existence': {
      const is = kind === 'relation' ? 'it is' : 'there is';
      if (answer === 'yes') return random.pick(['Yes.', `Yes, ${is}.`, 'Yes, that is right.']);
      return random.pick(['No.', `No, ${is} not.`, 'No, that is not so.']);
    }
    case 'content': {
      if (answer === 'nothing')
        return random.pick(['Nothing.', 'There is nothing there.', 'That part is empty.']);
      const object = objectsOf(scene).find(
        ({ size, color, texture, shape }) => answer === `a ${size} ${color} ${texture} ${shape}`,
      );
      const what = object ? noun(random, object) : answer;
      return random.pick([`${capital(what)}.`, `There is ${what}.`, `I see ${what}.`, `It is ${what}.`]);
    }
    case 'position': {
      const at = place(random, answer as Position);
      return random.pick([
        `In the ${at}.`,
        `It is in the ${at}.`,
        `You can find it in the ${at}.`,
        `It's in the ${at}.`,
      ]);
    }
    case 'text':
      return random.pick([
        `${answer}.`,
        `It says ${answer}.`,
        `It reads "${answer}".`,
        `The text is ${answer}.`,
      ]);
    default: {
      const words = { size: SIZE_WORDS, texture: TEXTURE_WORDS, color: COLOR_WORDS } as Record<
        string,
        Record<string, readonly string[]>
      >;
      const word = random.pick(words[kind]?.[answer] ?? [answer]);
      const it = kind === 'shape' ? article(word) : word;
      return random.pick([
        `${capital(word)}.`,
        `It is ${it}.`,
        `It's ${it}.`,
        `The ${kind} is ${word}.`,
        `I would say ${word}.`,
      ]);
    }
  }
}
