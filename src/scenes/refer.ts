import type { SceneObject } from './scene.js';

export type Attribute = 'size' | 'color' | 'texture' | 'shape';

/** Shortest first; the words keep the order size, colour, texture, shape. */
const REFERENCES: readonly (readonly Attribute[])[] = [
  ['shape'],
  ['color'],
  ['color', 'shape'],
  ['size', 'shape'],
  ['texture', 'shape'],
  ['size', 'color'],
  ['size', 'texture'],
  ['color', 'texture'],
  ['size', 'color', 'shape'],
  ['color', 'texture', 'shape'],
  ['size', 'texture', 'shape'],
  ['size', 'color', 'texture'],
  ['size', 'color', 'texture', 'shape'],
];

/** "red star", or "red object" where the shape is not to be told. */
export function referenceWords(object: SceneObject, attributes: readonly Attribute[]): string {
  const words = attributes.map((attribute) => object[attribute]).join(' ');
  return attributes.includes('shape') ? words : `${words} object`;
}

/** All expressions, without `hidden`, that fit `object` and no other of `objects`; shortest first. */
export function references(
  objects: readonly SceneObject[],
  object: SceneObject,
  hidden?: Attribute,
): string[] {
  return REFERENCES.filter(
    (attributes) =>
      !(hidden && attributes.includes(hidden)) &&
      objects.every(
        (other) => other === object || attributes.some((attribute) => other[attribute] !== object[attribute]),
      ),
  ).map((attributes) => referenceWords(object, attributes));
}

/** The canonical expression for one object of a scene: its shape, with as little more as makes it the only one. */
export function refer(objects: readonly SceneObject[], object: SceneObject): string {
  const named = references(objects, object).filter((words) => words.endsWith(object.shape));
  return named[0] as string; // All four attributes always tell: no two objects of a scene look the same.
}
