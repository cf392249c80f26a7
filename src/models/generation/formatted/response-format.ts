import type { PreTrainedTokenizer } from '@huggingface/transformers';
import { ElasticCacheError, shown } from '../../../errors.js';
import { Expressions } from '../../../grammar/expressions.js';
import { Grammar } from '../../../grammar/grammar.js';
import { Json } from '../../../grammar/json.js';
import { SchemaReader } from '../../../grammar/json-schema.js';
import { TokenMasks } from '../../../grammar/token-masks.js';
import { refuseUnknown } from '../../../options.js';
import { tokenBytes } from './token-bytes.js';

/** What form an answer has: any text, any object of JSON, or JSON that is valid by a schema. */
export type ResponseFormat =
  | { readonly type: 'text' }
  | { readonly type: 'json_object' }
  | { readonly type: 'json_schema'; readonly schema: boolean | Readonly<Record<string, unknown>> };

/** Characters of a schema at most. */
const LONGEST = 250_000;
const DEEPEST = 300;
/** Grammars of a tokenizer that are kept: what was asked lately is asked again. */
const MOST_KEPT = 16;

/** Bytes that characters outside ASCII begin with. */
const LEADS = Array.from({ length: 0xf5 - 0xc2 }, (_, index) => 0xc2 + index);

interface Known {
  readonly masks: TokenMasks;
  readonly isAscii: boolean;
  readonly grammars: Map<string, Grammar>;
}

const tokenizers = new WeakMap<PreTrainedTokenizer, Known>();

/** What an answer of a form is held to. */
export interface Form {
  readonly grammar: Grammar;
  readonly masks: TokenMasks;
}

/**
 * The form of an answer; undefined for any text.
 * @throws ElasticCacheError 'invalid-option' for what is no form, or a schema that cannot be promised; 'unsupported-model'
 */
export function formOf(format: ResponseFormat | undefined, tokenizer: PreTrainedTokenizer): Form | undefined {
  const schema = schemaOf(format);
  if (schema === undefined) return undefined;
  refuseDeep(schema);
  const text = JSON.stringify(schema);
  if (text.length > LONGEST) {
    throw new ElasticCacheError(
      'invalid-option',
      `The schema of the answer has ${text.length} characters, and ${LONGEST} are read at most; make it smaller.`,
    );
  }
  const { masks, isAscii, grammars } = knownOf(tokenizer);
  const known = grammars.get(text);
  grammars.delete(text);
  const grammar = known ?? grammarOf(schema, isAscii);
  grammars.set(text, grammar);
  const [oldest] = grammars.keys();
  if (grammars.size > MOST_KEPT) grammars.delete(oldest!);
  return { grammar, masks };
}

/** Refuses what is nested so deep that to write it down alone would take more than there is. @throws ElasticCacheError 'invalid-option' */
export function refuseDeep(schema: unknown): void {
  let level = [schema];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > DEEPEST)
      throw new ElasticCacheError(
        'invalid-option',
        `The schema of the answer is nested more than ${DEEPEST} deep; make it flatter.`,
      );
    level = level.flatMap((each) => (typeof each === 'object' && each !== null ? Object.values(each) : []));
  }
}

function schemaOf(format: ResponseFormat | undefined): unknown {
  if (format === undefined) return undefined;
  const { type, schema } = Object(format) as { type?: unknown; schema?: unknown };
  refuseUnknown('responseFormat', format, type === 'json_schema' ? ['type', 'schema'] : ['type']);
  if (type === 'text') return undefined;
  if (type === 'json_object') return { type: 'object' };
  if (type === 'json_schema' && schema !== undefined) return schema;
  throw new ElasticCacheError(
    'invalid-option',
    type === 'json_schema'
      ? 'responseFormat of type "json_schema" has no schema; give one.'
      : `responseFormat is of type ${shown(type)}; it must be "text", "json_object" or "json_schema".`,
  );
}

function knownOf(tokenizer: PreTrainedTokenizer): Known {
  const found = tokenizers.get(tokenizer);
  if (found) return found;
  const tokens = tokenBytes(tokenizer);
  const single = new Set(tokens.flatMap((bytes) => (bytes?.length === 1 ? [bytes[0]!] : [])));
  const isAscii = LEADS.some((byte) => !single.has(byte));
  const known = { masks: new TokenMasks(tokens), isAscii, grammars: new Map<string, Grammar>() };
  tokenizers.set(tokenizer, known);
  return known;
}

function grammarOf(schema: unknown, isAscii: boolean): Grammar {
  const make = new Expressions();
  const json = new Json(make, isAscii);
  const value = new SchemaReader(json, schema).read();
  // Where words begin with a space, an answer does.
  return new Grammar(make.sequence(make.optional(make.byte(0x20)), value), make);
}
