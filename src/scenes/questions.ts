import type { Random } from '../random.js';
import { phrase, plural } from './describe.js';
import { type Attribute, references } from './refer.js';
import { objectsOf, type Scene, type SceneItem, type SceneObject, type SceneText, textsOf } from './scene.js';
import { COLORS, POSITIONS, SHAPES, SIZES, TEXTURES } from './vocabulary.js';

export const QUESTION_KINDS = [
  'count',
  'color',
  'size',
  'texture',
  'shape',
  'content',
  'position',
  'relation',
  'existence',
  'text',
] as const;
export type QuestionKind = (typeof QUESTION_KINDS)[number];
/** `cells`: where the items lie that the answer is read from; none for an answer about what is not there. */
export type Question = { kind: QuestionKind; question: string; answer: string; cells: number[] };

type Pair = Omit<Question, 'kind'>;
type Facts = { random: Random; scene: Scene; objects: SceneObject[]; texts: SceneText[] };

const cellsOf = (items: readonly SceneItem[]) => items.map((item) => item.cell);
const article = (words: string) => (/^[aeiou]/.test(words) ? `an ${words}` : `a ${words}`);
const VALUES = { size: SIZES, color: COLORS, texture: TEXTURES, shape: SHAPES } as const;

/** "the star", or "the object in the top left": fits one object and does not tell `hidden`. */
function nameOf({ random, objects }: Facts, object: SceneObject, hidden?: Attribute): string {
  const names = references(objects, object, hidden);
  if (names.length === 0 || (hidden && random.chance(0.25))) return `the object in the ${object.position}`;
  return `the ${random.chance(0.7) ? names[0] : random.pick(names)}`;
}

function count(facts: Facts): Pair {
  const { random, objects, texts } = facts;
  const ask = (many: string, counted: readonly SceneItem[]): Pair => ({
    question: random.pick([
      `How many ${many} are there?`,
      `How many ${many} do you see?`,
      `Count the ${many}.`,
    ]),
    answer: String(counted.length),
    cells: cellsOf(counted),
  });
  const which = random.next();
  if (which < 0.14) return ask('objects', objects);
  if (which < 0.2) return ask('printed texts', texts);
  const attribute = random.pick<Attribute>(['shape', 'shape', 'color', 'color', 'size', 'texture']);
  const present = new Set<string>(objects.map((object) => object[attribute]));
  const absent = VALUES[attribute].filter((value) => !present.has(value));
  const value =
    absent.length > 0 && random.chance(0.12) ? random.pick<string>(absent) : random.pick([...present]);
  const many = attribute === 'shape' ? plural(value as SceneObject['shape']) : `${value} objects`;
  return ask(
    many,
    objects.filter((object) => object[attribute] === value),
  );
}

function attributeOf(facts: Facts, attribute: Attribute): Pair {
  const { random, texts } = facts;
  if (attribute === 'color' && texts.length > 0 && random.chance(0.2)) {
    const text = random.pick(texts);
    const name = `the ${text.textKind} ${text.text}`;
    return {
      question: random.pick([`What color is ${name}?`, `Which color is ${name} printed in?`]),
      answer: text.color,
      cells: [text.cell],
    };
  }
  const object = random.pick(facts.objects);
  const name = nameOf(facts, object, attribute);
  const wordings: Record<Attribute, string[]> = {
    color: [`What color is ${name}?`, `What is the color of ${name}?`, `Which color does ${name} have?`],
    size: [`What size is ${name}?`, `How big is ${name}?`, `Is ${name} small, medium or large?`],
    texture: [
      `What texture does ${name} have?`,
      `What is the texture of ${name}?`,
      `What pattern does ${name} have?`,
    ],
    shape: [`What shape is ${name}?`, `What is the shape of ${name}?`, `Which shape does ${name} have?`],
  };
  return { question: random.pick(wordings[attribute]), answer: object[attribute], cells: [object.cell] };
}

function content({ random, scene }: Facts): Pair {
  const used = scene.items.map((item) => item.position);
  const empty = POSITIONS.filter((position) => !used.includes(position));
  const position = empty.length > 0 && random.chance(0.12) ? random.pick(empty) : random.pick(used);
  const item = scene.items.find((one) => one.position === position);
  const answer = !item
    ? 'nothing'
    : item.kind === 'object'
      ? phrase(item)
      : `the ${item.textKind} ${item.text}`;
  return {
    question: random.pick([
      `What is in the ${position}?`,
      `What do you see in the ${position}?`,
      `What is shown in the ${position} of the picture?`,
    ]),
    answer,
    cells: [POSITIONS.indexOf(position)],
  };
}

function position(facts: Facts): Pair {
  const { random, texts } = facts;
  const text = texts.length > 0 && random.chance(0.2) ? random.pick(texts) : undefined;
  const object = random.pick(facts.objects);
  const name = text ? `the ${text.textKind} ${text.text}` : nameOf(facts, object);
  return {
    question: random.pick([
      `Where is ${name}?`,
      `In which part of the picture is ${name}?`,
      `Where do you see ${name}?`,
    ]),
    answer: (text ?? object).position,
    cells: [(text ?? object).cell],
  };
}

function relation(facts: Facts): Pair | undefined {
  const { random, objects } = facts;
  const [a, b] = random.shuffle(objects) as [SceneObject, SceneObject];
  const across = random.chance(0.5);
  const side = across ? (b.cell % 3) - (a.cell % 3) : Math.floor(b.cell / 3) - Math.floor(a.cell / 3);
  if (side === 0) return undefined;
  const truth = random.chance(0.5);
  const first = side > 0 === truth;
  const words = across
    ? first
      ? random.pick(['left of', 'to the left of'])
      : random.pick(['right of', 'to the right of'])
    : first
      ? random.pick(['above', 'higher than'])
      : random.pick(['below', 'lower than']);
  const question = `Is ${nameOf(facts, a)} ${words} ${nameOf(facts, b)}?`;
  return { question, answer: truth ? 'yes' : 'no', cells: [a.cell, b.cell] };
}

function existence({ random, objects, texts }: Facts): Pair {
  if (random.chance(0.1)) {
    return {
      question: random.pick(['Is there any printed text?', 'Is any text printed in the picture?']),
      answer: texts.length > 0 ? 'yes' : 'no',
      cells: cellsOf(texts),
    };
  }
  const [first, second] = random.pick<[Attribute, Attribute]>([
    ['color', 'shape'],
    ['color', 'shape'],
    ['texture', 'shape'],
    ['size', 'shape'],
  ]);
  const object = random.pick(objects);
  const wanted: Partial<Record<Attribute, string>> = { [first]: object[first], [second]: object[second] };
  const truth = random.chance(0.5);
  // A "no" keeps one of the two words true of something in the picture: the hard kind of wrong.
  const fitting = () =>
    objects.filter((one) => one[first] === wanted[first] && one[second] === wanted[second]);
  const change = random.pick([first, second]);
  for (const value of random.shuffle<string>(VALUES[change])) {
    if (truth || fitting().length === 0) break;
    wanted[change] = value;
  }
  const words = `${wanted[first]} ${wanted[second]}`;
  return {
    question: random.pick([
      `Is there ${article(words)}?`,
      `Do you see ${article(words)}?`,
      `Does the picture show ${article(words)}?`,
    ]),
    answer: fitting().length > 0 ? 'yes' : 'no',
    cells: cellsOf(fitting()),
  };
}

function text({ random, texts }: Facts): Pair | undefined {
  if (texts.length === 0) return undefined;
  const one = random.pick(texts);
  const alone = texts.filter((other) => other.textKind === one.textKind).length === 1;
  const wordings = [
    `What does the text in the ${one.position} say?`,
    `Read the text in the ${one.position}.`,
  ];
  if (alone)
    wordings.push(
      `What ${one.textKind} is printed?`,
      `Which ${one.textKind} can you read?`,
      `Read the ${one.textKind}.`,
    );
  return { question: random.pick(wordings), answer: one.text, cells: [one.cell] };
}

const ASK: Record<QuestionKind, (facts: Facts) => Pair | undefined> = {
  count,
  color: (facts) => attributeOf(facts, 'color'),
  size: (facts) => attributeOf(facts, 'size'),
  texture: (facts) => attributeOf(facts, 'texture'),
  shape: (facts) => attributeOf(facts, 'shape'),
  content,
  position,
  relation,
  existence,
  text,
};

/** `limit` different questions about a scene with their one true answer; every kind about as often. */
export function questions(scene: Scene, random: Random, limit = 12): Question[] {
  const facts: Facts = { random, scene, objects: objectsOf(scene), texts: textsOf(scene) };
  const found = new Map<string, Question>();
  while (found.size < limit) {
    for (const kind of random.shuffle(QUESTION_KINDS)) {
      const pair = ASK[kind](facts);
      if (pair && found.size < limit) found.set(pair.question, { kind, ...pair });
    }
  }
  return [...found.values()];
}
