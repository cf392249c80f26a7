import { contractNames } from '../decoder.js';
import type { GraphBuilder } from '../onnx/builder.js';
import { DataType } from '../onnx/onnx.js';
import type { AttentionLayer } from '../patterns/attention-layer.js';

/**
 * What is added to the scores of each layer to hide tokens, made of what the runtime hands in. How far a layer sees is not
 * the runtime's to know: the graph makes a window of the positions that entries and new tokens have in the text, so that it
 * stays right for each query of a chunk, and when entries are evicted or merged.
 */
export class Masks {
  /** The value that holds S, int64 [1]. */
  readonly newTokens: string;
  /** [1, 1, S, 1], what a past bias is widened to: one row for each query. */
  private readonly perQuery: string;
  private newPositions: string | undefined;
  /** Biases among the new tokens, by window. */
  private readonly windowed = new Map<number, string>();

  /** Declares `new_bias`. */
  constructor(private readonly builder: GraphBuilder) {
    const bias = builder.input(contractNames.newBias, DataType.FLOAT, [
      'batch_size',
      1,
      'sequence_length',
      'sequence_length',
    ]);
    this.newTokens = builder.op('Gather', [
      builder.op('Shape', [bias]),
      builder.int64('new_tokens_axis', [1], [2]),
    ]);
    const one = builder.int64('one', [1], [1]);
    this.perQuery = builder.op('Concat', [one, one, this.newTokens, one], { attributes: { axis: 0 } });
  }

  /** Declares a layer's `past_bias.i`, and what its window needs. Gives its whole bias, [B, 1, S, P + S]. */
  of({ index, window }: AttentionLayer): string {
    const { builder } = this;
    const slots = slotsName(index);
    const past = builder.input(contractNames.pastBias(index), DataType.FLOAT, ['batch_size', 1, 1, slots]);
    let biases = [builder.op('Expand', [past, this.perQuery]), contractNames.newBias];
    if (window !== undefined) {
      const positions = builder.input(contractNames.pastPosition(index), DataType.INT32, [
        'batch_size',
        slots,
      ]);
      biases = [this.within(window, positions, past), this.amongNew(window)];
    }
    return builder.op('Concat', biases, { attributes: { axis: -1 } });
  }

  private amongNew(window: number): string {
    const known = this.windowed.get(window);
    if (known !== undefined) return known;
    const bias = this.within(window, this.positionsOfNew(), contractNames.newBias);
    this.windowed.set(window, bias);
    return bias;
  }

  /** `bias` where a key at one of `positions` [B, T] lies within the window of a new token, else -inf: [B, 1, S, T]. */
  private within(window: number, positions: string, bias: string): string {
    const { builder } = this;
    const unsqueezed = (name: string, axes: readonly number[]) =>
      builder.op('Unsqueeze', [name, builder.int64('window_axes', [2], axes)]);
    const distance = builder.op('Sub', [
      unsqueezed(this.positionsOfNew(), [1, 3]),
      unsqueezed(positions, [1, 2]),
    ]);
    const near = builder.op('Less', [distance, builder.int32('window', [], [window])]);
    return builder.op('Where', [near, bias, builder.float32('hidden', [], [Number.NEGATIVE_INFINITY])]);
  }

  private positionsOfNew(): string {
    this.newPositions ??= this.builder.input(contractNames.newPosition, DataType.INT32, [
      'batch_size',
      'sequence_length',
    ]);
    return this.newPositions;
  }
}

/** The name of the size P of a layer: layers hold different numbers of slots. */
export function slotsName(layer: number): string {
  return `slots.${layer}`;
}
