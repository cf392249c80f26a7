import { disjoint } from './disjoint.js';
import type { Expression } from './expressions.js';
import { FORMATS } from './formats.js';
import type { Json, Property } from './json.js';
import {
  assertions,
  checkedSchema,
  isOfType,
  merged,
  refused,
  type Schema,
  TYPES,
  type Type,
  typesOf,
} from './schema-parts.js';

/** Schemas within one at most, each counted where it is used. */
const MOST_SCHEMAS = 5000;
const MOST_DEPTH = 100;

/**
 * The texts that are valid by a JSON Schema (draft 2020-12, and what of draft-07 differs not), as a grammar. Properties are written in the order of the schema, and none that it does not
 * name unless it says what they are. What cannot be promised is refused by name.
 */
export class SchemaReader {
  readonly #rules = new Map<Schema, Extract<Expression, { kind: 'rule' }>>();
  #count = 0;

  constructor(
    private readonly json: Json,
    private readonly root: unknown,
  ) {}

  /** @throws ElasticCacheError 'invalid-option' */
  read(): Expression {
    return this.#expression(this.root, '#', 0);
  }

  #expression(given: unknown, place: string, depth: number): Expression {
    if (depth > MOST_DEPTH || ++this.#count > MOST_SCHEMAS)
      throw refused(place, 'is one schema too many; make it smaller');
    const schema = checkedSchema(given, place);
    if (schema === true) return this.json.any;
    if (schema === false) return this.json.make.nothing;
    const known = this.#rules.get(schema);
    if (known) return known;
    const rule = this.json.make.rule();
    this.#rules.set(schema, rule);
    rule.is = this.#flat(this.#whole(schema, place, []), place, depth);
    return rule;
  }

  /** A schema without references and parts that all hold. @param through references that led here */
  #whole(schema: Schema, place: string, through: readonly string[]): Schema | boolean {
    const { $ref, allOf = [], ...own } = assertions(schema) as { $ref?: string; allOf?: readonly unknown[] };
    const parts: { part: unknown; place: string; through: readonly string[] }[] = allOf.map(
      (part, index) => ({
        part,
        place: `${place}/allOf/${index}`,
        through,
      }),
    );
    if ($ref !== undefined) {
      if (through.includes($ref)) throw refused(place, 'refers to itself');
      parts.push({ part: this.#referred($ref, place), place: $ref, through: [...through, $ref] });
    }
    let whole: Schema = own;
    for (const each of parts) {
      if (++this.#count > MOST_SCHEMAS) throw refused(place, 'is one schema too many; make it smaller');
      const part = checkedSchema(each.part, each.place);
      const inner = typeof part === 'boolean' ? part : this.#whole(part, each.place, each.through);
      if (inner === false) return false;
      if (inner !== true) whole = merged(whole, inner, place);
    }
    return whole;
  }

  #flat(schema: Schema | boolean, place: string, depth: number): Expression {
    const { make, any } = this.json;
    if (typeof schema === 'boolean') return schema ? any : make.nothing;
    const { anyOf, oneOf, ...own } = schema as { anyOf?: readonly unknown[]; oneOf?: readonly unknown[] };
    if (anyOf) return this.#either(anyOf, oneOf ? { ...own, oneOf } : own, `${place}/anyOf`, depth);
    if (oneOf) {
      this.#refuseOverlaps(oneOf, `${place}/oneOf`);
      return this.#either(oneOf, own, `${place}/oneOf`, depth);
    }
    if ('const' in own || 'enum' in own) return this.#values(own, place);
    const types = typesOf(own);
    if (types.length === TYPES.length - 1 && Object.keys(assertions(own)).length === 0) return any;
    return make.choice(...types.map((type) => this.#ofType(type, own, place, depth)));
  }

  /** One of several, each with what is said beside them. */
  #either(options: readonly unknown[], beside: Schema, place: string, depth: number): Expression {
    const isAlone = Object.keys(beside).length === 0;
    const expressions = options.map((option, index) =>
      this.#expression(isAlone ? option : { allOf: [beside, option] }, `${place}/${index}`, depth + 1),
    );
    return this.json.make.choice(...expressions);
  }

  #refuseOverlaps(options: readonly unknown[], place: string): void {
    const wholes = options.map((option, index) => {
      const schema = checkedSchema(option, `${place}/${index}`);
      return typeof schema === 'boolean' ? schema : this.#whole(schema, `${place}/${index}`, []);
    });
    const resolved = (schema: unknown) =>
      typeof schema === 'object' && schema !== null ? this.#whole(schema as Schema, place, []) : schema;
    wholes.forEach((a, index) => {
      const other = wholes.findIndex((b, place) => place > index && !disjoint(a, b, resolved));
      if (other < 0) return;
      throw refused(
        place,
        `has alternatives, ${index + 1} and ${other + 1}, that may both hold; use anyOf, or give each a required property with a "const" of its own`,
      );
    });
  }

  /** Values that are listed. */
  #values(schema: Schema, place: string): Expression {
    const {
      const: only,
      enum: listed,
      type,
      ...rest
    } = schema as { const?: unknown; enum?: readonly unknown[] } & Schema;
    const [beside] = Object.keys(rest);
    if (beside !== undefined)
      throw refused(place, `has "${beside}" beside values that are listed; leave one out`);
    const types = type === undefined ? TYPES : ([type].flat() as Type[]);
    const isOnly = (value: unknown) => JSON.stringify(value) === JSON.stringify(only);
    const values = !('const' in schema) ? listed! : listed ? listed.filter(isOnly) : [only];
    return this.json.values(values.filter((value) => types.some((type) => isOfType(value, type))));
  }

  #ofType(type: Type, schema: Schema, place: string, depth: number): Expression {
    const { json } = this;
    if (type === 'null') return json.value(null);
    if (type === 'boolean') return json.values([true, false]);
    if (type === 'integer' || type === 'number')
      return json.number({ ...schema, isInteger: type === 'integer' });
    if (type === 'string') return this.#string(schema, place);
    if (type === 'array') return this.#array(schema, place, depth);
    return this.#object(schema, place, depth);
  }

  #string(schema: Schema, place: string): Expression {
    const {
      minLength = 0,
      maxLength,
      pattern,
      format,
    } = schema as Record<string, number> & { pattern?: string; format?: string };
    if (pattern === undefined && format === undefined) return this.json.string(minLength, maxLength);
    // A pattern says more than the name of a format beside it.
    const source = pattern ?? (Object.hasOwn(FORMATS, format!) ? FORMATS[format!] : undefined);
    if (source === undefined) {
      const known = Object.keys(FORMATS).join(', ');
      throw refused(
        place,
        `has the format "${format!.slice(0, 100)}", which cannot be promised; leave it out, or take one of ${known}`,
      );
    }
    const { is, least, most } = this.json.matching(source, (reason) => {
      throw refused(place, `has a pattern that ${reason}; write it otherwise, or leave it out`);
    });
    if (least >= minLength && most <= (maxLength ?? Number.POSITIVE_INFINITY)) return is;
    throw refused(
      place,
      'has "minLength" or "maxLength" beside a pattern or format that may be shorter or longer; say it in the pattern',
    );
  }

  #array(schema: Schema, place: string, depth: number): Expression {
    const { prefixItems, items: given } = schema as { prefixItems?: readonly unknown[]; items?: unknown };
    // Draft-07 has lists there.
    const first = prefixItems ?? (Array.isArray(given) ? given : []);
    const rest = Array.isArray(given) ? undefined : given;
    const { minItems = 0, maxItems = Number.POSITIVE_INFINITY } = schema as Record<string, number>;
    const own = first
      .slice(0, maxItems)
      .map((item, index) => this.#expression(item, `${place}/prefixItems/${index}`, depth + 1));
    const isClosed = rest === false || (rest === undefined && first.length > 0 && minItems <= first.length);
    const most = isClosed ? 0 : Math.max(0, maxItems - own.length);
    const item =
      isClosed || most === 0
        ? this.json.make.nothing
        : this.#expression(rest ?? true, `${place}/items`, depth + 1);
    const least = Math.max(0, minItems - own.length);
    return least > most ? this.json.make.nothing : this.json.array(own, item, least, most);
  }

  #object(schema: Schema, place: string, depth: number): Expression {
    const { properties = {}, required = [] } = schema as {
      properties?: Schema;
      required?: readonly string[];
    };
    // Where some are named, others are written only if it is said what they are.
    const open = schema.additionalProperties ?? Object.keys(properties).length === 0;
    const more =
      open === false ? undefined : this.#expression(open, `${place}/additionalProperties`, depth + 1);
    const unnamed = required.filter((name) => !Object.hasOwn(properties, name));
    const all: Property[] = [
      ...Object.entries(properties),
      ...unnamed.map((name) => [name, schema.additionalProperties ?? true] as const),
    ].map(([name, value]) => ({
      name,
      value: this.#expression(value, `${place}/properties/${name}`, depth + 1),
      isRequired: required.includes(name),
    }));
    return this.json.object(all, more);
  }

  #referred($ref: string, place: string): unknown {
    if (!/^#(\/|$)/.test($ref))
      throw refused(
        place,
        `has "$ref" to ${$ref.slice(0, 100)}, which is not in it; refer to its own parts, such as #/$defs/name`,
      );
    let found: unknown = this.root;
    for (const part of $ref.split('/').slice(1)) {
      const name = decoded(part).replaceAll('~1', '/').replaceAll('~0', '~');
      found =
        typeof found === 'object' && found !== null && Object.hasOwn(found, name)
          ? (found as Schema)[name]
          : undefined;
    }
    if (found === undefined) throw refused(place, `has "$ref" to ${$ref.slice(0, 100)}, which is not there`);
    return found;
  }
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
