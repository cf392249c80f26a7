import { ElasticCacheError } from '../errors.js';

/**
 * What a decoder takes its new tokens as: embeddings [B, S, hidden], or ids, int64 [B, S], where the embedding layer is inside it, as in
 * models of text alone.
 */
export const TOKEN_INPUTS = ['inputs_embeds', 'input_ids'] as const;
export type TokenInput = (typeof TOKEN_INPUTS)[number];

/** The one of these that a decoder has; undefined for none. */
export function tokenInputOf(graph: { input: readonly { name: string }[] }): TokenInput | undefined {
  return TOKEN_INPUTS.find((name) => graph.input.some((input) => input.name === name));
}

/** One attention layer of a rewritten decoder. */
export interface DecoderLayer {
  index: number;
  queryHeads: number;
  kvHeads: number;
  headDim: number;
  /** The latest tokens that a token sees, itself included; absent when it sees all before it. */
  window?: number;
  /** Present when it can write a new row into the memory that its past lies in. Its new rows then come token by token, [B, S, kvHeads * headDim]. */
  inPlace?: true;
  /** Present, with `inPlace`, when it can where its key heads hold different numbers of rows. */
  packs?: true;
}

/** How past keys and values are fed: as floats of 32 or 16 bits, or as whole numbers of 8 bits with a scale for each row of each head. */
export type PastFormat = 'float32' | 'float16' | 'int8';

/**
 * What a rewritten decoder is to run on: the host's processor, or a GPU through WebGPU, which has no kernel for some of the operators that are fastest on the host: a graph with these
 * takes its cache to the host and back at every step.
 */
export const TARGETS = ['host', 'gpu'] as const;
export type Target = (typeof TARGETS)[number];

/** What a rewritten decoder takes and gives, beside the tensors whose names `contractNames` spells. */
export interface DecoderSignature {
  /** Layers 0 to n - 1, in order. */
  layers: DecoderLayer[];
  tokenInput: TokenInput;
  /** What it is for. One for GPUs takes a past of one row at least, which may be empty: a product over no rows fails there. */
  target: Target;
  /** How it takes past keys and values. */
  past: PastFormat;
  /** How the original took them. */
  stockPast: 'float32' | 'float16';
  /** The shape of `position_ids`: [B, S], [3, B, S] (time, height, width), or no such input. */
  positionIds: 'batch-sequence' | 'three-batch-sequence' | 'absent';
  /** Present when the original took no positions and counted tokens from 0: `position_ids` must be that count. */
  countsTokens?: true;
  /** The tokens of the longest text, where the original fails beyond it because its mask is no wider. */
  longestText?: number;
  /** Present when it takes `text_length`. */
  textLength?: true;
  /** Inputs of the original decoder that it still needs: `num_logits_to_keep`, or `attention_mask` [B, tokens seen + S] where positions are made of it. */
  otherInputs: string[];
  /** Outputs of the original decoder beside `logits` and the cache. */
  otherOutputs: string[];
}

/** [B, tokens seen + S], all that is left in the original's inputs to tell how many tokens came before once the cache holds fewer. */
export const MASK = 'attention_mask';

/** Names of the decoder contract's tensors beside the new tokens, which come as the original takes them. B = batch, S = new tokens, P = slots of the layer. */
export const contractNames = {
  /** int64, as the original decoder, else [B, S]. */
  positionIds: 'position_ids',
  /** In the format of the signature, [B, kvHeads, P, headDim], or [B, 1, P, headDim] where each key head has rows of its own among these, and biases that hide the others'. */
  pastKey: (layer: number) => `past_key.${layer}`,
  /** As the keys. */
  pastValue: (layer: number) => `past_value.${layer}`,
  /** float32, as the keys but for headDim 1, only with int8: what the whole numbers of a row are times. */
  pastKeyScale: (layer: number) => `past_key_scale.${layer}`,
  pastValueScale: (layer: number) => `past_value_scale.${layer}`,
  /** float32 [B, H, 1, P], added to the scores; H is 1, or kvHeads where rows have biases (and positions) of their own in each key head: the same in all layers. */
  pastBias: (layer: number) => `past_bias.${layer}`,
  /** float32 [B, 1, S, S], added to the scores among the new tokens. */
  newBias: 'new_bias',
  /** int32 [B, H, P], only of a layer with a window: where in the text each entry stands, counted in tokens. */
  pastPosition: (layer: number) => `past_position.${layer}`,
  /** int32 [B, S], only of a decoder with such a layer: where the new tokens stand. */
  newPosition: 'new_position',
  /**
   * int64 [1], only of a decoder that chooses its rotation by it: tokens seen and all those of the running call. With compact
   * positions (`positions: 'compact'` and the policies `*-reference`), entries held stand for the tokens seen, as in the positions.
   */
  textLength: 'text_length',
  logits: 'logits',
  /**
   * bool [1], only of a decoder with layers that write in place: whether they do. A pass that does is of one token of one sequence: `held` rows of its past are in use, 0 to held - 1, with room for
   * one more, whose bias is 0 like that of a token without one; `presentKey` and `presentValue` are bound to the memory of the past, where the new row is written behind those held; and `attention`
   * is of the rows as they lie there then, [1, kvHeads, P].
   */
  inPlace: 'in_place',
  /**
   * int64 [1], with it, where one of these layers `packs`: 1 where the rows of all heads lie as one head's, [1, 1, P, headDim]. The new rows are then written to the last kvHeads of the P, one head's
   * after the other's; biases [1, kvHeads, 1, P], and positions beside them, show each head its own rows, the new one among them, and hide those of others; and attention is not to be asked for.
   */
  packed: 'packed',
  /** int64 [1], with it, where one of these layers has no window: 1 where rows in use have biases other than 0. */
  biased: 'biased',
  /** int32 [B], of a layer that writes in place: rows in use before. */
  held: (layer: number) => `held.${layer}`,
  /** int64 [1], of a layer that writes in place: the most rows in use afterwards. */
  total: (layer: number) => `total.${layer}`,
  /** As the past, [B, kvHeads, P, headDim]; empty unless it is written in place. */
  presentKey: (layer: number) => `present_key.${layer}`,
  presentValue: (layer: number) => `present_value.${layer}`,
  /** float32 [B, kvHeads, S, headDim], after rotation. */
  newKey: (layer: number) => `new_key.${layer}`,
  /** float32 [B, kvHeads, S, headDim]. */
  newValue: (layer: number) => `new_value.${layer}`,
  /** int64 [1]: how many of the last new queries `attention` is asked of, 0 to S. */
  attentionQueries: 'attention_queries',
  /** int64 [1]: how many of them `peak` is asked of. */
  peakQueries: 'peak_queries',
  /** float32 [B, kvHeads, P + S]: attention received, summed over the new queries asked for, averaged over the query heads of a key head; [1, kvHeads, 0] for none. */
  attention: (layer: number) => `attention.${layer}`,
  /** float32 [B, kvHeads, P + S]: the most attention received from one of the new queries asked for, itself left out, averaged over the query heads of a key head. */
  peak: (layer: number) => `attention_peak.${layer}`,
} as const;

/** The way out that most refusals share. */
export const USE_ANOTHER_EXPORT =
  'use an export made by the ONNX Runtime GenAI model builder, or convert the checkpoint with `elastic-cache convert`';

/** A refusal: what could not be rewritten and why, in one sentence. */
export function unsupported(message: string): ElasticCacheError {
  return new ElasticCacheError('unsupported-graph', message);
}
