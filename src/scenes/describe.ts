import { refer } from './refer.js';
import { objectsOf, type Scene, type SceneObject, textsOf } from './scene.js';
import { SHAPES, type Shape } from './vocabulary.js';

/** Shortest description, in words and punctuation marks. */
const MIN_TOKENS = 80;

export const DESCRIPTION_PROMPTS = [
  'Describe the image in detail.',
  'Describe this picture in detail.',
  'What do you see in this image? Describe it in detail.',
  'Give a detailed description of the picture.',
  'Tell me everything you see in the picture.',
  'Write a detailed description of this image.',
] as const;

/** The words and punctuation marks of a text. */
export function countTokens(text: string): number {
  return text.match(/[A-Za-z0-9]+|[^\sA-Za-z0-9]/g)?.length ?? 0;
}

export function plural(shape: Shape): string {
  return shape === 'cross' ? 'crosses' : shape === 'hexagon' ? 'hexagons' : `${shape}s`;
}

const counted = (count: number, one: string, many: string) => `${count} ${count === 1 ? one : many}`;

function summary(objects: SceneObject[]): string {
  const counts = SHAPES.flatMap((shape) => {
    const count = objects.filter((object) => object.shape === shape).length;
    return count > 0 ? [{ count, phrase: counted(count, shape, plural(shape)) }] : [];
  });
  const phrases = counts.map((entry) => entry.phrase);
  const last = phrases.pop();
  const list = phrases.length > 0 ? `${phrases.join(', ')} and ${last}` : last;
  return `There ${counts[0]?.count === 1 ? 'is' : 'are'} ${list}.`;
}

/** Relations of neighbours in reading order first, then of pairs further apart, each pair once each way. */
function relations(objects: SceneObject[]): string[] {
  const forward: string[] = [];
  const backward: string[] = [];
  for (let step = 1; step < objects.length; step++) {
    for (let i = 0; i + step < objects.length; i++) {
      const [a, b] = [objects[i] as SceneObject, objects[i + step] as SceneObject];
      const [first, second] = [refer(objects, a), refer(objects, b)];
      const sameRow = Math.floor(a.cell / 3) === Math.floor(b.cell / 3);
      forward.push(`The ${first} is ${sameRow ? 'left of' : 'above'} the ${second}.`);
      backward.push(`The ${second} is ${sameRow ? 'right of' : 'below'} the ${first}.`);
    }
  }
  return [...forward, ...backward];
}

/** A noun phrase with everything there is to say of an object but where it is. */
export function phrase(object: SceneObject): string {
  return `a ${object.size} ${object.color} ${object.texture} ${object.shape}`;
}

/**
 * The one description of a scene: 80 to 200 words and punctuation marks. Items in reading order, then the
 * count of every shape, then as many relations as a scene of few items needs to be long enough.
 */
export function describe(scene: Scene): string {
  const objects = objectsOf(scene);
  const texts = textsOf(scene);
  const printed =
    texts.length === 0 ? 'no printed text' : counted(texts.length, 'printed text', 'printed texts');
  const { style, color } = scene.background;
  const sentences = [
    `The picture shows ${objects.length} objects and ${printed} on a ${style} ${color} background.`,
    ...scene.items.map((item) =>
      item.kind === 'object'
        ? `In the ${item.position} there is ${phrase(item)}.`
        : `In the ${item.position} the ${item.textKind} ${item.text} is printed in ${item.color}.`,
    ),
    summary(objects),
  ];
  for (const relation of relations(objects)) {
    if (countTokens(sentences.join(' ')) >= MIN_TOKENS) break;
    sentences.push(relation);
  }
  return sentences.join(' ');
}
