import { z } from 'zod';
import { type NamedBudget, parseBudget } from '../../cache/budget-name.js';
import { ElasticCacheError } from '../../errors.js';
import { SPLITS } from '../../eval/data/split.js';
import { METRICS, type Metric } from '../../eval/metrics/names.js';
import { createPolicy } from '../../policies/registry.js';
import { isPolicyFile } from './policy-file.js';

export { type NamedBudget, parseBudget };

const UNITS = { kb: 1e3, mb: 1e6, gb: 1e9 };

export function parseBudgets(value: string): NamedBudget[] {
  return distinct(listOf(value, 'budgets').map(parseBudget), ({ budget }) => budget);
}

/** Budgets and ranges of shares, `0.05,0.1..0.9` or `0.1..0.5:0.2` with a step (0.1 unless told); each once. */
export function parseBudgetRanges(value: string): NamedBudget[] {
  const budgets = listOf(value, 'budgets').flatMap((item) =>
    item.includes('..') ? rangeOf(item).map(parseBudget) : [parseBudget(item)],
  );
  return distinct(budgets, ({ budget }) => budget);
}

/** Each value once, as it came first: 1mb and 1000kb are one. */
function distinct<T>(items: readonly T[], value: (item: T) => unknown = (item) => item): T[] {
  const values = items.map((item) => JSON.stringify(value(item)));
  return items.filter((_, index) => values.indexOf(values[index]!) === index);
}

function rangeOf(value: string): string[] {
  const match = /^(\d*\.?\d+)\.\.(\d*\.?\d+)(?::(\d*\.?\d+))?$/.exec(value);
  const [from, to, step] = [Number(match?.[1]), Number(match?.[2]), Number(match?.[3] ?? 0.1)];
  if (!(from > 0 && from <= to && to <= 1 && step > 0)) {
    throw new ElasticCacheError(
      'invalid-budget',
      `budgets "${value}" are no range: give the smallest and the largest share, above 0 and at most 1, and a step if it is not 0.1, such as 0.1..0.5:0.2.`,
    );
  }
  // In whole steps, and rounded: 0.1 + 0.2 is no 0.3.
  const count = Math.floor((to - from) / step + 1e-9) + 1;
  return Array.from({ length: count }, (_, index) => String(Number((from + index * step).toFixed(6))));
}

export function parseMetrics(value: string): Metric[] {
  return listOf(value, 'metrics').map((name) => {
    const metric = METRICS.find((known) => known === name);
    if (metric) return metric;
    throw invalid(`metric "${name}" is unknown; choose among ${METRICS.join(', ')}.`);
  });
}

/** What is timed: `own`, or lengths of prompt and output such as `1024+512`. */
export function parseLengths(value: string): ({ prompt: number; output: number } | undefined)[] {
  return distinct(listOf(value, 'lengths').map(parseLength));
}

function parseLength(item: string): ReturnType<typeof parseLengths>[number] {
  if (item === 'own') return undefined;
  const match = /^(\d+)\+(\d+)$/.exec(item);
  const [prompt, output] = [Number(match?.[1]), Number(match?.[2])];
  if (prompt >= 1 && output >= 2) return { prompt, output };
  throw invalid(
    `--lengths "${item}" is none; give own, or the tokens of a prompt and of its output (2 or more) such as 1024+512.`,
  );
}

export function parseBatchSizes(value: string): number[] {
  return distinct(listOf(value, 'batch-sizes').map(countOf('batch-sizes')));
}

export const parseSplit = oneOf('split', SPLITS);

export const parseOnError = oneOf('on-error', ['skip', 'stop'] as const);

/** An option that is one of some words. */
export function oneOf<T extends string>(option: string, words: readonly T[]): (value: string) => T {
  return (value) => {
    const word = words.find((known) => known === value);
    if (word !== undefined) return word;
    throw invalid(`--${option} "${value}" is not ${words.join(' or ')}.`);
  };
}

/** Checks a name; a file is opened by the command. */
export function parsePolicy(value: string): string {
  return isPolicyFile(value) ? value : createPolicy(value).name;
}

export function parsePolicies(value: string): string[] {
  return listOf(value, 'policies').map(parsePolicy);
}

/** Names of one kind or of several, with commas between, each once: `q4` or `fp32,q4`. */
export function listOf(value: string, option: string): string[] {
  const names = value
    .split(',')
    .map((name) => name.trim())
    .filter(Boolean);
  if (names.length === 0)
    throw invalid(`--${option} names nothing; give one or several with commas between.`);
  return [...new Set(names)];
}

export const countOf = (option: string) =>
  checked(option, z.string().regex(/^\d+$/).transform(Number).pipe(z.int().min(1)), 'a whole number from 1');

/** Bytes as they are typed: `32mb`. */
export const bytesOf = (option: string) =>
  checked(
    option,
    z
      .string()
      .regex(/^(\d+(\.\d+)?)(kb|mb|gb)$|^0$/i)
      .transform((value) => {
        const [, amount = '0', unit = 'kb'] = /^([\d.]+)(kb|mb|gb)?$/i.exec(value) ?? [];
        return Math.round(Number(amount) * UNITS[unit.toLowerCase() as keyof typeof UNITS]);
      }),
    'an amount of memory such as 64mb (kb, mb, gb), or 0',
  );

export const parsePort = checked(
  'port',
  z.string().regex(/^\d+$/).transform(Number).pipe(z.int().max(65535)),
  'a whole number from 0 (any that is free) to 65535',
);

export const wholeFrom0 = (option: string) =>
  checked(option, z.string().regex(/^\d+$/).transform(Number).pipe(z.int().min(0)), 'a whole number from 0');

/** Adds one more origin of pages. */
export function collectOrigin(value: string, origins: readonly string[] = []): string[] {
  if (value === '*' || /^https?:\/\/[^/]+$/.test(value)) return [...origins, value];
  throw invalid(
    `--cors "${value}" is no origin of pages; give one such as https://chat.example.org, or * for all.`,
  );
}

export const parseLayer = checked(
  'layer',
  z.string().regex(/^\d+$/).transform(Number).pipe(z.int().min(0)),
  'a whole number from 0',
);

export const parseTemperature = checked(
  'temperature',
  z.string().min(1).transform(Number).pipe(z.number().min(0).max(100)),
  'a number from 0 (always the likeliest token) to 100',
);

export const parseTopP = checked(
  'top-p',
  z.string().min(1).transform(Number).pipe(z.number().gt(0).max(1)),
  'a number above 0 and at most 1 (all tokens)',
);

export const parseTopK = checked(
  'top-k',
  z.string().regex(/^\d+$/).transform(Number).pipe(z.int().min(0)),
  'a whole number from 1, or 0 for all tokens',
);

export const parseSeed = checked(
  'seed',
  z.string().regex(/^\d+$/).transform(Number).pipe(z.int().min(0)),
  'a whole number from 0',
);

/** Adds one more stop string; \n and \t are written as in JSON. */
export function collectStop(value: string, stops: readonly string[] = []): string[] {
  if (value === '') throw invalid('--stop is empty; give one character at least.');
  return [...stops, value.replaceAll('\\n', '\n').replaceAll('\\t', '\t')];
}

/** @throws ElasticCacheError 'invalid-prompt' when there is nothing but space */
export function parsePrompt(value: string): string {
  const prompt = value.trim();
  if (prompt) return prompt;
  throw new ElasticCacheError(
    'invalid-prompt',
    'the prompt is empty; give a question or an instruction, for example --prompt "Describe the image.".',
  );
}

/** Adds one more image to those named before. */
export function collectImage(value: string, images: readonly string[] = []): string[] {
  if (value === '')
    throw invalid('--image is empty; give the path or the address of an image, or - for standard input.');
  return [...images, value];
}

function checked<T>(option: string, schema: z.ZodType<T, string>, wanted: string): (value: string) => T {
  return (value) => {
    const { success, data } = schema.safeParse(value);
    if (success) return data;
    throw invalid(`--${option} "${value}" is not ${wanted}.`);
  };
}

function invalid(message: string): ElasticCacheError {
  return new ElasticCacheError('invalid-option', message);
}
