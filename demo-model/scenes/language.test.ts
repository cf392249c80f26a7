import fc from 'fast-check';
import { expect, it, describe as suite } from 'vitest';
import { scoreAnswer } from '../../src/eval/metrics/accuracy.js';
import { Random } from '../../src/random.js';
import { countTokens, describe } from '../../src/scenes/describe.js';
import { QUESTION_KINDS, questions } from '../../src/scenes/questions.js';
import {
  makeScene,
  objectsOf,
  type Scene,
  type SceneItem,
  type SceneObject,
  textsOf,
} from '../../src/scenes/scene.js';
import { COLORS, POSITIONS, SHAPES, SIZES, TEXTURES } from '../../src/scenes/vocabulary.js';
import { parseDescription } from './parse.js';
import { scoreDescription } from './score.js';

const seeds = fc.integer({ min: 0, max: 2_000_000_000 });
const ATTRIBUTES = { size: SIZES, color: COLORS, texture: TEXTURES, shape: SHAPES } as const;

/** Objects that fit every attribute word of a noun phrase, singular or plural. */
function fitting(scene: Scene, noun: string): SceneObject[] {
  let objects = objectsOf(scene);
  for (const raw of noun.split(' ')) {
    if (/^(an?|the|objects?)$/.test(raw)) continue;
    const word =
      raw === 'crosses' ? 'cross' : SHAPES.some((shape) => `${shape}s` === raw) ? raw.slice(0, -1) : raw;
    const key = (['size', 'color', 'texture', 'shape'] as const).find((k) =>
      ATTRIBUTES[k].some((v) => v === word),
    );
    if (!key) throw new Error(`"${raw}" of "${noun}" is no attribute`);
    objects = objects.filter((object) => object[key] === word);
  }
  return objects;
}

/** The one item a name stands for; fails where it stands for none or for several. */
function resolve(scene: Scene, name: string): SceneItem {
  const place = /^(?:object|text) in the (.+)$/.exec(name)?.[1];
  const printed = /^(?:word|number) (.+)$/.exec(name)?.[1];
  const found = place
    ? scene.items.filter((item) => item.position === place)
    : printed
      ? textsOf(scene).filter((text) => text.text === printed)
      : fitting(scene, name);
  expect(found, name).toHaveLength(1);
  return found[0] as SceneItem;
}

const row = (item: SceneItem) => Math.floor(item.cell / 3);
const column = (item: SceneItem) => item.cell % 3;

function attributeAnswer(scene: Scene, question: string, name: string): string {
  const item = resolve(scene, name);
  if (/color/.test(question)) return item.color;
  if (item.kind === 'text') throw new Error(question);
  if (/What size|How big|small, medium or large/.test(question)) return item.size;
  return /texture|pattern/.test(question) ? item.texture : item.shape;
}

/** Answers a question from its words and the scene alone, without the code that asked it. */
function oracle(scene: Scene, question: string): string {
  const ask = (pattern: RegExp) => pattern.exec(question)?.slice(1);
  const texts = textsOf(scene);
  const yes = (truth: boolean) => (truth ? 'yes' : 'no');
  let m = ask(/^(?:How many|Count the) (.+?)(?: are there| do you see)?[?.]$/);
  if (m) return String(m[0] === 'printed texts' ? texts.length : fitting(scene, m[0] as string).length);
  if (/any (printed )?text/.test(question)) return yes(texts.length > 0);
  m = ask(/^(?:Is there|Do you see|Does the picture show) (an? .+)\?$/);
  if (m) return yes(fitting(scene, m[0] as string).length > 0);
  m = ask(/^Is the (.+) (left of|right of|above|below|higher than|lower than) the (.+)\?$/);
  if (m) {
    const [a, b] = [m[0], m[2]].map((name) => resolve(scene, (name as string).replace(/ to the$/, '')));
    if (!a || !b) throw new Error(question);
    if (/left|right/.test(m[1] as string)) expect(column(a)).not.toBe(column(b));
    else expect(row(a)).not.toBe(row(b));
    if (m[1] === 'left of') return yes(column(a) < column(b));
    if (m[1] === 'right of') return yes(column(a) > column(b));
    return yes(/above|higher/.test(m[1] as string) ? row(a) < row(b) : row(a) > row(b));
  }
  m = ask(/^(?:What does|Read) the text in the (.+?)(?: say\?|\.)$/);
  if (m) return texts.find((text) => text.position === m?.[0])?.text ?? 'none';
  m = ask(/(?:What|Which|Read the) (word|number)(?: is printed\?| can you read\?|\.)$/);
  if (m) {
    const alone = texts.filter((text) => text.textKind === m?.[0]);
    expect(alone).toHaveLength(1);
    return alone[0]?.text as string;
  }
  m = ask(/^(?:Where is|In which part of the picture is|Where do you see) the (.+)\?$/);
  if (m) return resolve(scene, m[0] as string).position;
  m = ask(/^What (?:is|do you see|is shown) in the (.+?)(?: of the picture)?\?$/);
  if (m) {
    expect(POSITIONS).toContain(m[0]);
    const item = scene.items.find((one) => one.position === m?.[0]);
    if (!item) return 'nothing';
    return item.kind === 'text'
      ? `the ${item.textKind} ${item.text}`
      : `a ${item.size} ${item.color} ${item.texture} ${item.shape}`;
  }
  m =
    ask(
      /^(?:What|How|Which) .*?(?:is|of|does|color is) the ((?:color|size|texture|shape) of the )?(.+?)(?: have| printed in)?\?$/,
    ) ?? ask(/^(Is) the (.+) small, medium or large\?$/);
  if (m) return attributeAnswer(scene, question, m[1] as string);
  throw new Error(`No oracle for "${question}"`);
}

suite('describe', () => {
  it('is 80 to 200 words and punctuation marks long', () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        const tokens = countTokens(describe(makeScene(seed)));
        expect(tokens).toBeGreaterThanOrEqual(80);
        expect(tokens).toBeLessThanOrEqual(200);
      }),
      { numRuns: 500 },
    );
  });

  it('reads back as the scene, and scores all its facts', () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        const scene = makeScene(seed);
        const score = scoreDescription(describe(scene), scene);
        expect(score.right).toBe(score.total);
        expect(parseDescription(describe(scene)).objects).toEqual(
          objectsOf(scene).map(({ position, size, color, texture, shape }) => ({
            position,
            size,
            color,
            texture,
            shape,
          })),
        );
      }),
    );
  });

  it('tells relations that hold of the one object each name fits', () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        const scene = makeScene(seed);
        for (const [, a, relation, b] of describe(scene).matchAll(
          /The ([^.]+) is (left of|right of|above|below) the ([^.]+)\./g,
        )) {
          expect(oracle(scene, `Is the ${a} ${relation} the ${b}?`)).toBe('yes');
        }
      }),
    );
  });
});

suite('scoreDescription', () => {
  const scene = makeScene(5);
  const text = describe(scene);
  const whole = scoreDescription(text, scene);

  it('takes off one fact for a wrong attribute', () => {
    const size = objectsOf(scene)[0]?.size as string;
    const wrong = text.replace(` a ${size} `, ` a ${size === 'small' ? 'large' : 'small'} `);
    expect(scoreDescription(wrong, scene)).toMatchObject({ right: whole.right - 1, total: whole.total });
  });

  it('counts a missing object as wrong in all five facts, an invented one in five more', () => {
    const sentence = /In the [^.]*there is a [^.]*\. /.exec(text)?.[0] as string;
    const missing = scoreDescription(text.replace(sentence, ''), scene);
    expect(missing).toMatchObject({
      right: whole.right - 5,
      total: whole.total,
      objects: { missing: 1, invented: 0 },
    });
    const twice = scoreDescription(text.replace(sentence, sentence + sentence), scene);
    expect(twice).toMatchObject({
      right: whole.right,
      total: whole.total + 5,
      objects: { missing: 0, invented: 1 },
    });
  });

  it('takes an object told in the wrong place for the same object', () => {
    const used = objectsOf(scene)[0]?.position as string;
    const free = POSITIONS.find(
      (position) => !scene.items.some((item) => item.position === position),
    ) as string;
    const moved = scoreDescription(text.replace(`In the ${used} there`, `In the ${free} there`), scene);
    expect(moved).toMatchObject({ right: whole.right - 1, total: whole.total });
  });

  it('gives nothing for nothing and never throws', () => {
    expect(scoreDescription('', scene)).toMatchObject({ right: 0, total: whole.total });
    fc.assert(
      fc.property(fc.string(), fc.nat(text.length), (noise, cut) => {
        const score = scoreDescription(text.slice(0, cut) + noise, scene);
        expect(score.right).toBeLessThanOrEqual(score.total);
      }),
    );
  });

  it('scores another scene’s description lower', () => {
    fc.assert(
      fc.property(seeds, seeds, (a, b) => {
        fc.pre(a !== b);
        const other = scoreDescription(describe(makeScene(a)), makeScene(b));
        expect(other.right).toBeLessThan(other.total);
      }),
    );
  });
});

suite('questions', () => {
  it('have the answer that their words and the scene alone give, and name one item each', () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        const scene = makeScene(seed);
        const asked = questions(scene, new Random(seed, 1));
        expect(new Set(asked.map((one) => one.question)).size).toBe(12);
        for (const one of asked) expect(oracle(scene, one.question), one.question).toBe(one.answer);
      }),
      { numRuns: 500 },
    );
  });

  it('come in all kinds, with yes and no about as often', () => {
    const all = Array.from({ length: 300 }, (_, seed) =>
      questions(makeScene(seed), new Random(seed, 1)),
    ).flat();
    expect(new Set(all.map((one) => one.kind))).toEqual(new Set(QUESTION_KINDS));
    for (const kind of ['existence', 'relation']) {
      const answers = all.filter((one) => one.kind === kind).map((one) => one.answer === 'yes');
      expect(Math.abs(answers.filter(Boolean).length / answers.length - 0.5)).toBeLessThan(0.1);
    }
  });
});

suite('scoreAnswer', () => {
  it('forgives case, an article, quotes and a full stop, nothing else', () => {
    expect(scoreAnswer(' The word CAT.', 'the word CAT')).toBe(true);
    expect(scoreAnswer('Top Left', 'top left')).toBe(true);
    expect(scoreAnswer('top', 'top left')).toBe(false);
    expect(scoreAnswer('', 'no')).toBe(false);
  });
});
