import { ElasticCacheError } from '../errors.js';
import { isMeasurable } from './decimals.js';

/** Characters of a value or a name that is written word by word, at most. */
const LONGEST = 2000;

/** A JSON Schema that is an object, as it was parsed. */
export type Schema = Readonly<Record<string, unknown>>;

export const TYPES = ['null', 'boolean', 'integer', 'number', 'string', 'array', 'object'] as const;
export type Type = (typeof TYPES)[number];

/** Keywords of each type: of what they say nothing, nothing else does. */
const OF_TYPES: ReadonlyMap<string, Type> = new Map([
  ...all('string', 'minLength', 'maxLength', 'pattern', 'format'),
  ...all('number', 'minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf'),
  ...all('array', 'items', 'prefixItems', 'minItems', 'maxItems', 'uniqueItems'),
  ...all('object', 'properties', 'required', 'additionalProperties'),
]);
const OF_ALL = ['type', 'const', 'enum', 'anyOf', 'oneOf', 'allOf', '$ref'];
/** Those that say nothing of what is valid. */
const NOTES = [
  ...['title', 'description', '$schema', '$id', '$anchor', '$comment', 'default', 'example', 'examples'],
  ...['deprecated', 'readOnly', 'writeOnly', '$defs', 'definitions', 'discriminator'],
  ...['contentEncoding', 'contentMediaType'],
];
const COUNTS = ['minLength', 'maxLength', 'minItems', 'maxItems'];

/** A schema that cannot be held to, for a reason that its place begins. */
export function refused(place: string, reason: string): ElasticCacheError {
  const cut = place.length > 200 ? `${place.slice(0, 200)}...` : place;
  return new ElasticCacheError(
    'invalid-option',
    `The schema of the answer cannot be held to: ${cut} ${reason}.`,
  );
}

/** Whether anything is valid by it, or nothing; else an object. @throws ElasticCacheError 'invalid-option' for what is no schema */
export function checkedSchema(schema: unknown, place: string): boolean | Schema {
  if (typeof schema === 'boolean') return schema;
  if (typeof schema !== 'object' || schema === null || Array.isArray(schema))
    throw refused(place, 'is no schema');
  for (const [name, value] of Object.entries(schema)) {
    if (NOTES.includes(name) || name.startsWith('x-')) continue;
    if (!OF_ALL.includes(name) && !OF_TYPES.has(name)) {
      throw refused(place, `has "${name.slice(0, 100)}", which cannot be promised; leave it out`);
    }
    const reason = wrongValue(name, value);
    if (reason) throw refused(place, `has "${name}" that is ${reason}`);
  }
  return schema as Schema;
}

function wrongValue(name: string, value: unknown): string | undefined {
  const isList = Array.isArray(value);
  const texts = isList && value.every((each) => typeof each === 'string');
  if (COUNTS.includes(name))
    return Number.isSafeInteger(value) && (value as number) >= 0 ? undefined : 'no whole number from 0';
  if (OF_TYPES.get(name) === 'number') {
    if (typeof value !== 'number' || !Number.isFinite(value)) return 'no number';
    if (name !== 'multipleOf') return undefined;
    if (value <= 0) return 'not above 0';
    return isMeasurable(value) ? undefined : 'too small a part to be told';
  }
  const isLong = (each: unknown) => (JSON.stringify(each)?.length ?? 0) > LONGEST;
  if (name === 'enum' && isList && value.some(isLong))
    return `a list with a value of more than ${LONGEST} characters`;
  if (name === 'const') return isLong(value) ? `more than ${LONGEST} characters long` : undefined;
  if (name === 'enum') return isList && value.length > 0 ? undefined : 'no list of values';
  if (['anyOf', 'oneOf', 'allOf', 'prefixItems'].includes(name))
    return isList && value.length > 0 ? undefined : 'no list of schemas';
  if (name === 'required') return texts ? undefined : 'no list of names';
  if (name === 'type') {
    const types = isList ? value : [value];
    return types.length > 0 && types.every((type) => TYPES.includes(type)) ? undefined : 'no type of JSON';
  }
  if (name === 'properties' && Object.keys(Object(value)).some((each) => each.length > LONGEST))
    return `a name of more than ${LONGEST} characters`;
  if (name === 'properties')
    return typeof value === 'object' && value !== null && !isList ? undefined : 'no object';
  if (['$ref', 'pattern', 'format'].includes(name)) return typeof value === 'string' ? undefined : 'no text';
  if (name === 'uniqueItems') return value === false ? undefined : 'true, which cannot be promised';
  return undefined;
}

/** What a schema says beside notes. */
export function assertions(schema: Schema): Schema {
  return Object.fromEntries(
    Object.entries(schema).filter(([name]) => !NOTES.includes(name) && !name.startsWith('x-')),
  );
}

/** The types that values are made of: those that are named, or those that anything is said of, or all. */
export function typesOf(schema: Schema): readonly Type[] {
  if (schema.type !== undefined) return [schema.type].flat() as Type[];
  const named = new Set(Object.keys(schema).flatMap((name) => OF_TYPES.get(name) ?? []));
  return named.size > 0 ? [...named] : TYPES.filter((type) => type !== 'integer');
}

export function isOfType(value: unknown, type: Type): boolean {
  if (type === 'null') return value === null;
  if (type === 'array') return Array.isArray(value);
  if (type === 'integer') return Number.isInteger(value);
  if (type === 'object') return typeof value === 'object' && value !== null && !Array.isArray(value);
  return typeof value === type;
}

const LARGEST = ['minimum', 'exclusiveMinimum', 'minLength', 'minItems'];
const SMALLEST = ['maximum', 'exclusiveMaximum', 'maxLength', 'maxItems'];

/** What holds where both do. @throws ElasticCacheError 'invalid-option' where this cannot be said in one schema */
export function merged(a: Schema, b: Schema, place: string): Schema {
  refuseHidden(a, b, place);
  refuseHidden(b, a, place);
  const result: Record<string, unknown> = { ...a };
  for (const [name, value] of Object.entries(b)) {
    const own = result[name];
    if (own === undefined) result[name] = value;
    else if (name === 'required') result[name] = [...new Set([...(own as string[]), ...(value as string[])])];
    else if (LARGEST.includes(name)) result[name] = Math.max(own as number, value as number);
    else if (SMALLEST.includes(name)) result[name] = Math.min(own as number, value as number);
    else if (name === 'type') result[name] = commonTypes([own].flat() as Type[], [value].flat() as Type[]);
    else if (name === 'enum') {
      const texts = (value as unknown[]).map((each) => JSON.stringify(each));
      result[name] = (own as unknown[]).filter((each) => texts.includes(JSON.stringify(each)));
    } else if (name === 'properties') {
      const [ours, theirs] = [own as Schema, value as Schema];
      const shared = Object.keys(theirs).filter((key) => Object.hasOwn(ours, key));
      const together = shared.map((key) => [key, { allOf: [ours[key], theirs[key]] }]);
      result[name] = { ...ours, ...theirs, ...Object.fromEntries(together) };
    } else if (JSON.stringify(own) !== JSON.stringify(value))
      throw refused(place, `has "${name}" twice where both hold, in two ways; say it once`);
  }
  return result;
}

function commonTypes(a: readonly Type[], b: readonly Type[]): Type[] {
  const takes = (types: readonly Type[], type: Type) =>
    types.includes(type) || (type === 'integer' && types.includes('number'));
  return TYPES.filter((type) => takes(a, type) && takes(b, type) && (a.includes(type) || b.includes(type)));
}

/** Where one says what other properties are, those that only the other names would be these. */
function refuseHidden(a: Schema, b: Schema, place: string): void {
  const { additionalProperties = true, properties = {} } = a as {
    additionalProperties?: unknown;
    properties?: Schema;
  };
  const hidden = Object.keys((b.properties as Schema | undefined) ?? {}).find(
    (name) => !Object.hasOwn(properties, name),
  );
  if (additionalProperties === true || hidden === undefined) return;
  throw refused(
    place,
    `has "additionalProperties" that is not about "${hidden.slice(0, 100)}", which is told elsewhere; name all properties in one place`,
  );
}

function all(type: Type, ...names: string[]): [string, Type][] {
  return names.map((name) => [name, type]);
}
