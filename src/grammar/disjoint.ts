import { type Schema, type Type, typesOf } from './schema-parts.js';

/** Whether no value is valid by both of two schemas, as far as this shows in their types, listed values, and properties that both ask for. @param whole what a schema of a property comes to */
export function disjoint(a: unknown, b: unknown, whole: (schema: unknown) => unknown, depth = 0): boolean {
  if (a === false || b === false) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || depth > 5) return false;
  const [one, other] = [a as Schema, b as Schema];
  const [values, others] = [valuesOf(one), valuesOf(other)];
  if (values && others) return values.every((value) => !others.includes(value));
  // What is written by one is of the types that it says anything of, and must not be valid by the other.
  const shared = [
    ...new Set([...common(writtenOf(one), validOf(other)), ...common(writtenOf(other), validOf(one))]),
  ];
  if (shared.length === 0) return true;
  if (shared.length > 1 || shared[0] !== 'object') return false;
  const asked = namesOf(one.required).filter((name) => namesOf(other.required).includes(name));
  return asked.some((name) =>
    disjoint(whole(propertyOf(one, name)), whole(propertyOf(other, name)), whole, depth + 1),
  );
}

function valuesOf(schema: Schema): string[] | undefined {
  if ('const' in schema) return [JSON.stringify(schema.const)];
  return Array.isArray(schema.enum) ? schema.enum.map((value) => JSON.stringify(value)) : undefined;
}

function common(types: readonly Type[], others: readonly Type[]): Type[] {
  return types.filter((type) => others.includes(type));
}

function writtenOf(schema: Schema): Type[] {
  // Whole numbers are numbers.
  return typesOf(schema).map((type) => (type === 'integer' ? 'number' : type));
}

function validOf(schema: Schema): Type[] {
  return writtenOf(schema.type === undefined ? {} : schema);
}

function namesOf(required: unknown): string[] {
  return Array.isArray(required) ? required : [];
}

function propertyOf(schema: Schema, name: string): unknown {
  const properties = Object(schema.properties) as Schema;
  return Object.hasOwn(properties, name) ? properties[name] : true;
}
