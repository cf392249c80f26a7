import { objectsOf, type Scene, textsOf } from '../../src/scenes/scene.js';
import { SHAPES } from '../../src/scenes/vocabulary.js';
import { type ParsedDescription, type ParsedObject, type ParsedText, parseDescription } from './parse.js';

export type Tally = { right: number; total: number };
export type ItemTally = Tally & { described: number; missing: number; invented: number };
export type DescriptionScore = Tally & {
  /** Five facts an object: position, size, colour, texture, shape. */
  objects: ItemTally;
  /** Three facts a text: position, string, colour. */
  texts: ItemTally;
  /** Colour and style. */
  background: Tally;
  /** Number of objects, number of texts, and one fact a shape of the summary. */
  counts: Tally;
};

const OBJECT_FACTS = ['position', 'size', 'color', 'texture', 'shape'] as const;
const TEXT_FACTS = ['position', 'text', 'color'] as const;
/** An object told in the wrong place is still taken for the one it shares this many facts with. */
const LEAST_SHARED = 2;

type Facts<K extends string> = { readonly [key in K]?: string };

/** Pairs by position, then what is left by most shared facts; every unpaired item is wrong in all its facts. */
function match<K extends string>(
  keys: readonly K[],
  given: readonly Facts<K>[],
  truth: readonly Facts<K>[],
  least: number,
): ItemTally {
  const shared = (a: Facts<K>, b: Facts<K>) => keys.filter((key) => a[key] === b[key]).length;
  const position = keys[0] as K;
  const open = new Set(given);
  const left: Facts<K>[] = [];
  let right = 0;
  let paired = 0;
  const pair = (one: Facts<K>, other: Facts<K>) => {
    open.delete(other);
    right += shared(one, other);
    paired++;
  };
  for (const one of truth) {
    const there = [...open].find((other) => other[position] === one[position]);
    if (there) pair(one, there);
    else left.push(one);
  }
  for (const one of left) {
    const best = [...open].sort((a, b) => shared(one, b) - shared(one, a))[0];
    if (best && shared(one, best) >= least) pair(one, best);
  }
  const missing = truth.length - paired;
  const invented = open.size;
  return {
    right,
    total: keys.length * (truth.length + invented),
    described: given.length,
    missing,
    invented,
  };
}

function scoreCounts(parsed: ParsedDescription, scene: Scene): Tally {
  const objects = objectsOf(scene);
  const facts = [parsed.objectCount === objects.length, parsed.textCount === textsOf(scene).length];
  for (const shape of SHAPES) {
    const actual = objects.filter((object) => object.shape === shape).length;
    const said = parsed.shapeCounts[shape] ?? 0;
    if (actual > 0 || said > 0) facts.push(actual === said);
  }
  return { right: facts.filter(Boolean).length, total: facts.length };
}

/** The items and the background alone, for descriptions that sum nothing up. A missing or invented item is wrong in all its facts. */
export function scoreItems(
  parsed: ParsedDescription,
  scene: Scene,
): Tally & Pick<DescriptionScore, 'objects' | 'texts' | 'background'> {
  const objects = match<keyof ParsedObject>(OBJECT_FACTS, parsed.objects, objectsOf(scene), LEAST_SHARED);
  const texts = match<keyof ParsedText>(TEXT_FACTS, parsed.texts, textsOf(scene), 1);
  const { color, style } = scene.background;
  const background = {
    right: Number(parsed.background.color === color) + Number(parsed.background.style === style),
    total: 2,
  };
  return { ...sum([objects, texts, background]), objects, texts, background };
}

/**
 * How much of what a description says, and should say, is right. A missing object counts as wrong in all its
 * facts, an invented one too. Relation sentences are not scored: they repeat positions.
 */
export function scoreDescription(text: string, scene: Scene): DescriptionScore {
  const parsed = parseDescription(text);
  const items = scoreItems(parsed, scene);
  const counts = scoreCounts(parsed, scene);
  return { ...items, ...sum([items, counts]), counts };
}

const sum = (parts: readonly Tally[]): Tally => ({
  right: parts.reduce((total, part) => total + part.right, 0),
  total: parts.reduce((total, part) => total + part.total, 0),
});
