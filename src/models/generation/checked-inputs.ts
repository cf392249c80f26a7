import { GenerationConfig, StoppingCriteria, Tensor } from '@huggingface/transformers';
import { ElasticCacheError, shown } from '../../errors.js';
import { closest, refuseUnknown } from '../../options.js';

/** What `generate()` takes beside the settings of a generation and the tensors of a prompt. */
const ARGUMENTS = [
  ...['input_ids', 'inputs', 'inputs_embeds', 'attention_mask', 'position_ids', 'token_type_ids'],
  ...['pixel_values', 'pixel_attention_mask', 'image_grid_thw', 'image_sizes', 'past_key_values'],
  ...['generation_config', 'logits_processor', 'stopping_criteria', 'streamer'],
  ...['seed', 'min_p', 'signal', 'stop_strings'],
];
const SETTINGS: readonly string[] = Object.keys(new GenerationConfig({} as GenerationConfig));
const KNOWN = [...ARGUMENTS, ...SETTINGS];
/** Settings that transformers.js has a place for and does nothing with, by what they are where they ask for nothing. */
const WITHOUT_EFFECT: Readonly<Record<string, number>> = {
  num_beams: 1,
  num_beam_groups: 1,
  num_return_sequences: 1,
};

const isFlag = { is: (value: unknown) => typeof value === 'boolean', wanted: 'true or false' };
const isList = { is: (value: unknown) => Symbol.iterator in Object(value), wanted: 'a list' };
/** Settings that are no numbers, and what they are; others are checked where they are used. */
const KINDS: Readonly<Record<string, { is(value: unknown): boolean; wanted: string }>> = {
  do_sample: isFlag,
  return_dict_in_generate: isFlag,
  logits_processor: isList,
  stopping_criteria: {
    is: (value) => value instanceof StoppingCriteria || isList.is(value),
    wanted: 'a criterion, or a list of them',
  },
  streamer: {
    is: (value) => ['put', 'end'].every((name) => typeof Object(value)[name] === 'function'),
    wanted: 'a streamer, with put() and end()',
  },
  signal: { is: (value) => value instanceof AbortSignal, wanted: 'an AbortSignal' },
};

/**
 * Refuses what `generate()` would silently go without: settings that do not exist, and those that have no effect. What a processor makes passes under any
 * name, since each has names of its own, unless it is a slip of one that is known.
 * @throws ElasticCacheError 'invalid-option'
 */
export function checkSettings(options: unknown): void {
  refuseUnknown('generate()', options ?? null, KNOWN, isOfAPrompt);
  const given = Object(options) as Record<string, unknown>;
  // Files of settings hold much that is none.
  refuseUnknown(
    'generation_config',
    given.generation_config ?? {},
    SETTINGS,
    (name) => !closest(name, SETTINGS, 1),
  );
  for (const [name, idle] of Object.entries(WITHOUT_EFFECT)) {
    const value = given[name] ?? idle;
    if (value === idle) continue;
    throw new ElasticCacheError(
      'invalid-option',
      `${name} is ${shown(value)}, and transformers.js knows no beams and no several answers to one prompt; leave it out.`,
    );
  }
  for (const [name, { is, wanted }] of Object.entries(KINDS)) {
    const value = given[name] ?? undefined;
    if (value === undefined || is(value)) continue;
    throw new ElasticCacheError('invalid-option', `${name} is ${described(value)}; it must be ${wanted}.`);
  }
  for (const name of ['max_new_tokens', 'max_length']) {
    const value = given[name] ?? 1;
    if (Number.isSafeInteger(value) && (value as number) >= 1) continue;
    throw new ElasticCacheError(
      'invalid-option',
      `${name} is ${shown(value)}; it must be a whole number from 1.`,
    );
  }
}

/**
 * Refuses what is no tensor of token ids [B, S], and a mask that is none over them.
 * @throws ElasticCacheError 'invalid-prompt'
 */
export function checkTokens({
  input_ids,
  inputs,
  inputs_embeds,
  attention_mask,
}: Record<string, unknown>): void {
  const ids = input_ids ?? inputs;
  if (ids === undefined || ids === null) {
    if (inputs_embeds instanceof Tensor) return;
    throw noTokens('there are no input_ids');
  }
  if (!(ids instanceof Tensor && ids.type === 'int64' && ids.dims.length === 2)) {
    throw noTokens(`input_ids is ${described(ids)}, and no tensor of int64 [batch, tokens]`);
  }
  if (attention_mask === undefined || attention_mask === null) return;
  const [rows, tokens] = ids.dims as [number, number];
  const mask = attention_mask as Tensor;
  if (mask instanceof Tensor && mask.dims.length === 2 && mask.dims[0] === rows && mask.dims[1]! >= tokens)
    return;
  throw noTokens(`attention_mask is ${described(mask)}, and input_ids [${rows}, ${tokens}]`);
}

function noTokens(wrong: string): ElasticCacheError {
  return new ElasticCacheError(
    'invalid-prompt',
    `${wrong}; pass what prepareInputs(), the processor or the tokenizer made, as it is.`,
  );
}

function described(value: unknown): string {
  if (value instanceof Tensor) return `a tensor of ${value.type} [${value.dims.join(', ')}]`;
  return Array.isArray(value) ? 'a list' : `${typeof value === 'object' ? 'an' : 'a'} ${typeof value}`;
}

/** Whether it may be what a processor made, tensors or numbers in lists, under a name that is none of ours with a slip in it. */
function isOfAPrompt(name: string, value: unknown): boolean {
  const isMade = value === undefined || value instanceof Tensor || isNumbers(value);
  return isMade && closest(name, KNOWN, 1) === undefined;
}

function isNumbers(value: unknown): boolean {
  return (
    Array.isArray(value) &&
    value.every((each) => ['number', 'bigint'].includes(typeof each) || isNumbers(each))
  );
}
