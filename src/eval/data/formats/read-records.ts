import { ElasticCacheError } from '../../../errors.js';
import type { ParsedRecord } from '../dataset.js';
import { reasonOf } from '../record.js';
import { parseLine } from './json-lines.js';
import { parseLlava } from './llava.js';
import { parseMessages } from './messages.js';
import { parseMmVet } from './mm-vet.js';
import { parseVqa, vqaImageName, withAnnotations } from './vqa.js';

/** A record as it is in its file. */
export interface RawRecord {
  /** What the file calls it. */
  readonly name: string;
  /** Line of its file, from 1, where a record is one. */
  readonly line?: number;
  /** Reads it. Throws what is wrong with it, for people. */
  parse(promptTokens?: number): ParsedRecord;
}

/**
 * The records of a file. Of JSON Lines and of a list each record tells its format by what it has; an object is VQAv2's or TextVQA's if it has a list of these, else MM-Vet's.
 * @throws ElasticCacheError 'invalid-data' for what is no JSON or holds none
 */
export async function readRecords(source: string, text: string): Promise<RawRecord[]> {
  if (/\.(jsonl|ndjson)$/i.test(source)) return linesOf(source, text);
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (cause) {
    throw new ElasticCacheError('invalid-data', `data ${source} is no JSON (${reasonOf(cause)}).`, { cause });
  }
  if (Array.isArray(content) && content.length > 0) {
    return named(content.map((record) => ({ record, parse: parserOf(record, parseLlava) })));
  }
  const { questions, data, ...others } = Object(content) as Record<string, unknown>;
  const list = [questions, data].find((one) => Array.isArray(one) && one.length > 0) as unknown[] | undefined;
  if (list) {
    const parse = parseVqa(vqaImageName(others));
    return named((await withAnnotations(source, list)).map((record) => ({ record, parse })));
  }
  const entries = Array.isArray(content) ? [] : Object.entries(Object(content) as Record<string, unknown>);
  if (entries.length > 0)
    return entries.map(([name, record]) => ({ name, parse: () => parseMmVet(record, name) }));
  throw new ElasticCacheError(
    'invalid-data',
    `data ${source} holds no records; give a list as LLaVA's detail_1k.json or an object as mm-vet.json.`,
  );
}

type Parser = (record: unknown, name: string, promptTokens?: number) => ParsedRecord;

function parserOf(record: unknown, otherwise: Parser): Parser {
  const has = (key: string) => record !== null && typeof record === 'object' && key in record;
  if (has('conversations')) return parseLlava;
  if (has('messages')) return parseMessages;
  if (has('question_id')) return parseVqa(vqaImageName({}));
  return has('prompt') || has('questions') || has('summary') ? parseLine : otherwise;
}

function linesOf(source: string, text: string): RawRecord[] {
  const lines = text.split('\n').flatMap((line, index) => {
    if (line.trim() === '') return [];
    // What is no JSON is a broken record like any other.
    const record = jsonOf(line);
    return [{ record, parse: parserOf(record, parseLine), line: index + 1 }];
  });
  if (lines.length === 0) throw new ElasticCacheError('invalid-data', `data ${source} holds no records.`);
  return named(lines);
}

function jsonOf(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return line;
  }
}

/** Names records by their ids, and by their place where there is none or it is taken. */
function named(records: readonly { record: unknown; parse: Parser; line?: number }[]): RawRecord[] {
  const taken = new Set<string>();
  return records.map(({ record, parse, ...place }, index) => {
    const { id, question_id } = Object(record) as { id?: unknown; question_id?: unknown };
    const own = id ?? question_id;
    const numbered = `record ${index + 1}`;
    const known = typeof own === 'string' || typeof own === 'number';
    const name = !known ? numbered : taken.has(String(own)) ? `${own}, ${numbered}` : String(own);
    taken.add(name);
    return { name, ...place, parse: (promptTokens) => parse(record, name, promptTokens) };
  });
}
