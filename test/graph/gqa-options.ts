import type { AttributeValue } from '../../src/graph/onnx/attributes.js';

/** What the test decoder is made of. */
export interface GqaDecoderOptions {
  layers: number;
  queryHeads: number;
  kvHeads: number;
  headDim: number;
  hidden: number;
  vocab: number;
  /** One projection for queries, keys and values. */
  packed: boolean;
  /** Rotation by its own operator, inside GroupQueryAttention, or none. */
  rope: 'outside' | 'inside' | 'none';
  /** Whether the graph declares position_ids; with `rope: 'inside'` they are then the operator's input 9. */
  positionIds: boolean;
  interleaved: boolean;
  /** Rotated part of a head, at most headDim. */
  rotaryDim: number;
  softcap: number;
  /** 0 leaves the attribute out. */
  scale: number;
  /** Inputs of the operator; those past the ninth are empty. */
  inputs: 7 | 9 | 10 | 11 | 12;
  weights: 'float32' | 'int8' | 'int4';
  /** 'float16', 'bfloat16': the whole graph; 'float16-inside': float32 inputs and outputs around it. */
  float: 'float32' | 'float16' | 'float16-inside' | 'bfloat16';
  /** Norms of queries and keys per head: as inputs 14 and 15, or as nodes before the operator. */
  qkNorm: 'none' | 'inside' | 'outside';
  /** Whether past inputs declare headDim or only a name for it. */
  declareHeadDim: boolean;
  /** How many tokens each layer sees, 0 for all; of layers that are not named, all. */
  windows: readonly number[];
  /** A learned score for each head that takes part in the softmax: input 11. */
  sink: boolean;
  /** An attention bias, input 10: the causal mask, that of a window of 6 tokens, or ALiBi's slopes. */
  bias: 'none' | 'causal' | 'window' | 'alibi';
  /** Further inputs of the operator by position, by name of a value of the graph. */
  extraInputs: Record<number, string>;
  /** Further attributes of the operator. */
  extraAttributes: Record<string, AttributeValue>;
  /** Adds outputs probabilities.i [B, queryHeads, S, T]: the operator's own attention, an oracle for the rewritten graph's. */
  probabilities: boolean;
  longest: number;
  seed: number;
}

export const DEFAULTS: GqaDecoderOptions = {
  layers: 2,
  queryHeads: 4,
  kvHeads: 2,
  headDim: 16,
  hidden: 64,
  vocab: 96,
  packed: false,
  rope: 'outside',
  positionIds: true,
  interleaved: false,
  rotaryDim: 16,
  softcap: 0,
  scale: 0,
  inputs: 9,
  weights: 'float32',
  float: 'float32',
  qkNorm: 'none',
  declareHeadDim: true,
  windows: [],
  sink: false,
  bias: 'none',
  extraInputs: {},
  extraAttributes: {},
  probabilities: false,
  longest: 256,
  seed: 1,
};
