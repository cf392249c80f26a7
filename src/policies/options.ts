import { ElasticCacheError, shown } from '../errors.js';

/** The options that are one of several words, with what they may be; the first is the paper's choice. */
export const CHOICES = {
  importance: ['sum', 'mean', 'window', 'max'],
  selection: ['per-layer', 'shared'],
  merging: ['mean', 'weighted', 'none', 'similar', 'clusters'],
  mergeInto: ['kept', 'anchors'],
  mergedKeys: ['stored', 'turned'],
  layerBudgets: ['uniform', 'adaptive', 'pool'],
  eviction: ['fixed-point', 'importance', 'repetition', 'frequency'],
  positions: ['original', 'compact'],
  heads: ['shared', 'each', 'unequal'],
} as const;

type Choices = typeof CHOICES;
type Choice = keyof Choices;

/** The options of the policies; each reads those it has a use for, all are checked. docs/policies.md has them in a table. */
export interface PolicyOptions {
  /** First tokens of the prompt that are always kept; 1 unless told. */
  readonly startSize?: number | undefined;
  /**
   * elastic: last tokens of the prompt that are always anchors; 1 unless told (the paper). As many as stand after the image
   * keep the question whole: summed over queries, importance favours early tokens, and the question comes last.
   */
  readonly endSize?: number | undefined;
  /** Where entries are removed while decoding, counted from the end of the compressed prompt (negative, -25 unless told) or from its start (positive), or at which share of it (between 0 and 1). */
  readonly distance?: number | undefined;
  /** Last tokens of the prompt whose attention counts: snapkv 32, pyramidkv 8, elastic with importance 'window' 32 unless told. */
  readonly window?: number | undefined;
  /** elastic: attention received, summed over the queries, averaged over those that can see the token, summed over the `window`, or the most that one of them gives. */
  readonly importance?: Choices['importance'][number] | undefined;
  /** elastic: anchors of each layer by itself, or the same in all layers, by the mean of their importance. */
  readonly selection?: Choices['selection'][number] | undefined;
  /** elastic: anchors are chosen one after the other, and count less the more their key is like that of one chosen before. */
  readonly novelty?: boolean | undefined;
  /** elastic: text is kept before any token of an image. */
  readonly protectText?: boolean | undefined;
  /** elastic: tokens are averaged into their anchor, averaged by importance, dropped, or gathered in ten clusters. */
  readonly merging?: Choices['merging'][number] | undefined;
  /** elastic: what is merged goes into all that is kept, or the first and the last tokens stay as they are. */
  readonly mergeInto?: Choices['mergeInto'][number] | undefined;
  /** elastic: keys are averaged as they are stored, or turned to the position of the anchor first. */
  readonly mergedKeys?: Choices['mergedKeys'][number] | undefined;
  /** elastic: log(count) is added to the scores of an anchor that stands for several tokens. */
  readonly logCountBias?: boolean | undefined;
  /** elastic: every layer holds the same, or each the same share of its importance, within the same sum. */
  readonly layerBudgets?: Choices['layerBudgets'][number] | undefined;
  /**
   * elastic: while decoding, whatever stands at the fixed point goes, or first the least important of as many prompt entries, or the least important of the
   * prompt until it is half of what is held, then the new entry most like those after it, or the one that received the least attention so far.
   */
  readonly eviction?: Choices['eviction'][number] | undefined;
  /** elastic, elastic-plus: key heads share one choice, or each keeps its own; elastic-plus: and as many entries as it has of the highest scores. */
  readonly heads?: Choices['heads'][number] | undefined;
  /** elastic-plus: scores are averaged over so many neighbours, an odd number; 13 unless told. */
  readonly kernel?: number | undefined;
  /** elastic-plus: what counts is the most that one of the last tokens gives, not their sum. */
  readonly peak?: boolean | undefined;
  /** elastic-plus: attention counts times the length of the value. */
  readonly valueNorms?: boolean | undefined;
  /** elastic-plus: what counts is what a turn attends to when it is read once more, for questions that are not known yet. */
  readonly reread?: boolean | undefined;
  /** elastic: new tokens are rotated to the number of tokens seen, or of entries held (as the released code). */
  readonly positions?: Choices['positions'][number] | undefined;
}

/** Whole numbers of tokens; and what is on or off. */
export const NUMBERS = ['startSize', 'endSize', 'distance', 'window', 'kernel'] as const;
export const FLAGS = ['novelty', 'protectText', 'logCountBias', 'peak', 'valueNorms', 'reread'] as const;

/** The name of every option. */
export const OPTIONS: readonly (keyof PolicyOptions)[] = [
  ...NUMBERS,
  ...FLAGS,
  ...(Object.keys(CHOICES) as Choice[]),
];

/** Every option with its value. */
export type CheckedOptions = {
  readonly [Name in Exclude<keyof PolicyOptions, 'window' | 'kernel'>]-?: NonNullable<PolicyOptions[Name]>;
} & {
  /** Undefined where each policy has its own default. */
  readonly window: number | undefined;
  readonly kernel: number | undefined;
};

/** @throws ElasticCacheError 'invalid-option' */
export function checkOptions(options: PolicyOptions): CheckedOptions {
  const choice = <Name extends Choice>(name: Name) => choiceOf(name, options[name]) as Choices[Name][number];
  return {
    startSize: tokens('startSize', options.startSize ?? 1, 0),
    endSize: tokens('endSize', options.endSize ?? 1, 1),
    distance: checkDistance(options.distance ?? -25),
    window: options.window === undefined ? undefined : tokens('window', options.window, 1),
    kernel: options.kernel === undefined ? undefined : odd('kernel', options.kernel),
    peak: flag('peak', options.peak ?? false),
    valueNorms: flag('valueNorms', options.valueNorms ?? false),
    reread: flag('reread', options.reread ?? false),
    heads: choice('heads'),
    importance: choice('importance'),
    selection: choice('selection'),
    novelty: flag('novelty', options.novelty ?? false),
    protectText: flag('protectText', options.protectText ?? false),
    merging: choice('merging'),
    mergeInto: choice('mergeInto'),
    mergedKeys: choice('mergedKeys'),
    logCountBias: flag('logCountBias', options.logCountBias ?? false),
    layerBudgets: choice('layerBudgets'),
    eviction: choice('eviction'),
    positions: choice('positions'),
  };
}

/** Those of `elastic` that make a difference beside the values of the others. */
export function optionsInForce(options: PolicyOptions): (keyof PolicyOptions)[] {
  const { importance, selection, merging, eviction } = options;
  const idle = new Set<keyof PolicyOptions>([
    // Those of elastic-plus alone.
    'kernel',
    'peak',
    'valueNorms',
    'reread',
    ...(importance === 'window' ? [] : (['window'] as const)),
    // Where all layers have the same anchors, so have all heads, and each has the same share of its importance.
    ...(selection === 'shared' ? (['layerBudgets', 'heads'] as const) : []),
    ...(merging === 'none' ? (['mergedKeys', 'logCountBias', 'mergeInto'] as const) : []),
    ...(merging === 'clusters' ? (['mergeInto'] as const) : []),
    ...(merging === 'similar' ? (['mergedKeys'] as const) : []),
    ...(eviction === 'repetition' || eviction === 'frequency' ? (['distance'] as const) : []),
  ]);
  return OPTIONS.filter((name) => !idle.has(name));
}

function tokens(name: string, value: number, least: number): number {
  if (Number.isSafeInteger(value) && value >= least) return value;
  throw invalid(`${name} is ${shown(value)}; it must be a whole number of tokens, ${least} or more.`);
}

function odd(name: string, value: number): number {
  if (Number.isSafeInteger(value) && value > 0 && value % 2 === 1) return value;
  throw invalid(`${name} is ${shown(value)}; it must be an odd number of tokens, for example 13.`);
}

function checkDistance(distance: number): number {
  if ((Number.isSafeInteger(distance) && distance !== 0) || (distance > 0 && distance < 1)) return distance;
  throw invalid(
    `distance is ${shown(distance)}; it must be a whole number other than 0, for example -25: 25 entries before the end of the compressed prompt, or a share of it between 0 and 1.`,
  );
}

function choiceOf(name: Choice, value: string | undefined): string {
  const words: readonly string[] = CHOICES[name];
  if (value === undefined) return words[0]!;
  if (words.includes(value)) return value;
  throw invalid(`${name} is ${shown(value)}; choose one of ${words.join(', ')}.`);
}

function flag(name: string, value: boolean): boolean {
  if (typeof value === 'boolean') return value;
  throw invalid(`${name} is ${shown(value)}; it must be true or false.`);
}

export function invalid(message: string): ElasticCacheError {
  return new ElasticCacheError('invalid-option', message);
}
