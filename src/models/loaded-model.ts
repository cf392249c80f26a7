import type {
  DynamicCache,
  PreTrainedModel,
  PreTrainedTokenizer,
  Processor,
  Tensor,
} from '@huggingface/transformers';
import type { KVCache } from '../memory/kv-cache.js';
import type { Ends } from './generation/ended-generation.js';

type Generate = PreTrainedModel['generate'];
type Named<T> = { [K in keyof T as string extends K ? never : K]: T[K] };

/** What `generate()` takes in transformers.js, with a cache of ours where it has its own. */
export type GenerateOptions = Omit<Named<Parameters<Generate>[0]>, 'past_key_values'> & {
  /**
   * Holds what the model has seen. An empty one begins with this prompt; one that has seen tokens goes on from them, and
   * the inputs are then the whole conversation. Without one, everything is kept for this call.
   */
  past_key_values?: KVCache | DynamicCache | null;
  /** With `do_sample`: the same seed draws the same tokens, whatever else runs; row by row in a batch. */
  seed?: number;
  /** With `do_sample`: only tokens with at least this share of the likeliest one's probability are drawn from. */
  min_p?: number;
} & Ends & { [input: string]: unknown };

/** What `generate()` returns with `return_dict_in_generate`: the tokens are its `sequences`. */
export type GenerateOutput = Exclude<Awaited<ReturnType<Generate>>, Tensor>;

/** A transformers.js model whose `generate()` and forward pass take an `ElasticCache` as `past_key_values`. */
export interface ElasticModel extends PreTrainedModel {
  /** Returns the tokens of prompt and answer, [B, n]. */
  generate(options: GenerateOptions & { return_dict_in_generate?: false }): Promise<Tensor>;
  generate(options: GenerateOptions & { return_dict_in_generate: true }): Promise<GenerateOutput>;
  generate(options: GenerateOptions): Promise<Tensor | GenerateOutput>;
}

export interface LoadedModel {
  /** A model of the class transformers.js has for it, with the cache outside its decoder. */
  model: ElasticModel;
  /** Makes its inputs from images and text; undefined for a model of text alone, whose tokenizer makes them. */
  processor: Processor | undefined;
  tokenizer: PreTrainedTokenizer;
  /** What runs otherwise than it is meant to on this device, in sentences for people; empty where nothing does. */
  notes: readonly string[];
}

/** A model that reads images. */
export type LoadedVisionModel = LoadedModel & { processor: Processor };
