import { contractNames } from '../../decoder.js';
import type { GraphBuilder } from '../../onnx/builder.js';
import { DataType } from '../../onnx/onnx.js';
import type { AttentionLayer } from '../../patterns/attention-layer.js';
import { concat, lastOf, sizeOf } from '../shapes.js';

/**
 * What is added to the scores of each layer to hide tokens, made of what the runtime hands in. How far a layer sees is not
 * the runtime's to know: the graph makes a window of the positions that entries and new tokens have in the text, so that it
 * stays right for each query of a chunk, and when entries are evicted or merged.
 */
export class Masks {
  /** The value that holds S, int64 [1]. */
  readonly newTokens: string;
  /** How many of the last new queries attention is asked of, summed; int64 [1]. */
  readonly attentionQueries: string;
  /** How many the most of one is asked of. */
  readonly peakQueries: string;
  /** Their sum: 0 where nothing is asked for. */
  readonly askedQueries: string;
  private newPositions: string | undefined;
  /** [layers] names of past biases, and of the positions of a layer with a window */
  private readonly pasts = new Map<number, { bias: string; positions: string | undefined }>();
  /** Biases among the new tokens, by window; widened to as many heads as the past has. */
  private readonly amongNew = new Map<number | undefined, string>();
  private readonly shapes = new Map<string, string>();
  /** [1, H, 1, 1] */
  private perHead: string | undefined;

  /** Declares `new_bias`, `attention_queries` and `peak_queries`. */
  constructor(private readonly builder: GraphBuilder) {
    const bias = builder.input(contractNames.newBias, DataType.FLOAT, [
      'batch_size',
      1,
      'sequence_length',
      'sequence_length',
    ]);
    this.attentionQueries = builder.input(contractNames.attentionQueries, DataType.INT64, [1]);
    this.peakQueries = builder.input(contractNames.peakQueries, DataType.INT64, [1]);
    this.askedQueries = builder.op('Add', [this.attentionQueries, this.peakQueries]);
    this.newTokens = sizeOf(builder, bias, 2);
  }

  /** Declares a layer's `past_bias.i`, and what its window needs. */
  declare({ index, window }: AttentionLayer): void {
    const slots = slotsName(index);
    const bias = this.builder.input(contractNames.pastBias(index), DataType.FLOAT, [
      'batch_size',
      'bias_heads',
      1,
      slots,
    ]);
    const positions =
      window === undefined
        ? undefined
        : this.builder.input(contractNames.pastPosition(index), DataType.INT32, [
            'batch_size',
            'bias_heads',
            slots,
          ]);
    this.pasts.set(index, { bias, positions });
    this.newBias(window, bias);
  }

  /** A layer's past bias, [B, H, 1, P]. */
  past({ index }: AttentionLayer): string {
    return this.pasts.get(index)!.bias;
  }

  /**
   * A layer's whole bias, [B, H, S, P + S], made in `builder`: the graph's own, or one of a branch of it.
   * @param queries only of so many of the last new queries, int64 [1]
   */
  bias(builder: GraphBuilder, { index, window }: AttentionLayer, queries = this.newTokens): string {
    const { bias, positions } = this.pasts.get(index)!;
    const last = (name: string, axis: number) =>
      queries === this.newTokens ? name : lastOf(builder, name, queries, axis);
    let seen: string;
    if (window === undefined) {
      const one = builder.int64(`one.${index}`, [1], [1]);
      seen = builder.op('Expand', [bias, concat(builder, [one, one, queries, one], 0)]);
    } else {
      seen = this.within(builder, window, last(this.positionsOfNew(), 1), positions!, bias);
    }
    return concat(builder, [seen, last(this.amongNew.get(window)!, 2)], -1);
  }

  /** The bias of the rows of a past that new rows are written into, [B, H, 1, P], for one new token. */
  inPlace(builder: GraphBuilder, { index, window }: AttentionLayer): string {
    const { bias, positions } = this.pasts.get(index)!;
    return window === undefined
      ? bias
      : this.within(builder, window, this.positionsOfNew(), positions!, bias);
  }

  /** What splits scores [B, kvHeads, G x S, T] into [B, kvHeads, G, S, T], G query heads to a key head. @param count S, int64 [1] */
  splitShape(kvHeads: number, group: number, count: string): string {
    return this.shape(`split.${kvHeads}.${group}.${count}`, [0, kvHeads, group], count, [-1]);
  }

  /** What joins them again. */
  joinedShape(kvHeads: number, group: number, count: string): string {
    const rows = () => this.builder.op('Mul', [count, this.builder.int64('group', [1], [group])]);
    return this.shape(`joined.${kvHeads}.${group}.${count}`, [0, kvHeads], rows, [-1]);
  }

  private shape(
    hint: string,
    before: readonly number[],
    size: string | (() => string),
    after: readonly number[],
  ): string {
    const known = this.shapes.get(hint);
    if (known !== undefined) return known;
    const { builder } = this;
    const numbers = (values: readonly number[]) => builder.int64(hint, [values.length], values);
    const made = builder.op(
      'Concat',
      [numbers(before), typeof size === 'string' ? size : size(), numbers(after)],
      { attributes: { axis: 0 } },
    );
    this.shapes.set(hint, made);
    return made;
  }

  /** The bias among the new tokens, [B, H, S, S]. @param past a past bias, of as many heads as all have */
  private newBias(window: number | undefined, past: string): void {
    if (this.amongNew.has(window)) return;
    const { builder } = this;
    this.perHead ??= this.shapeOfHeads(past);
    const bias =
      window === undefined
        ? contractNames.newBias
        : this.within(
            builder,
            window,
            this.positionsOfNew(),
            unsqueezed(builder, this.positionsOfNew(), 1),
            contractNames.newBias,
          );
    this.amongNew.set(window, builder.op('Expand', [bias, this.perHead]));
  }

  private shapeOfHeads(past: string): string {
    const { builder } = this;
    const one = builder.int64('one_head', [1], [1]);
    return concat(builder, [one, sizeOf(builder, past, 1), one, one], 0);
  }

  /** `bias` where a key at one of `positions` [B, H, T] lies within the window of a new token, one of `queries` [B, S], else -inf: [B, H, S, T]. */
  private within(
    builder: GraphBuilder,
    window: number,
    queries: string,
    positions: string,
    bias: string,
  ): string {
    const ofNew = builder.op('Unsqueeze', [queries, builder.int64('query_axes', [2], [1, 3])]);
    const distance = builder.op('Sub', [ofNew, unsqueezed(builder, positions, 2)]);
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

function unsqueezed(builder: GraphBuilder, name: string, axis: number): string {
  return builder.op('Unsqueeze', [name, builder.int64('window_axis', [1], [axis])]);
}

/** The name of the size P of a layer: layers hold different numbers of slots. */
export function slotsName(layer: number): string {
  return `slots.${layer}`;
}
