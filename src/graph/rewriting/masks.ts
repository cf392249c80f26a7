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
  private othersAmongNew: string | undefined;
  /** Biases among the new tokens, by window; widened to as many heads as the past has. */
  private readonly amongNew = new Map<number | undefined, string>();
  private readonly shapes = new Map<string, string>();
  /** [1, H, 1, 1] */
  private perHead: string | undefined;

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

  /** Declares a layer's `past_bias.i`, and what its window needs. Gives its whole bias, [B, H, S, P + S]. */
  of({ index, window }: AttentionLayer): string {
    const { builder } = this;
    const slots = slotsName(index);
    const shape = ['batch_size', 'bias_heads', 1, slots];
    const past = builder.input(contractNames.pastBias(index), DataType.FLOAT, shape);
    const seen =
      window === undefined
        ? builder.op('Expand', [past, this.perQuery])
        : this.within(
            window,
            builder.input(contractNames.pastPosition(index), DataType.INT32, [
              'batch_size',
              'bias_heads',
              slots,
            ]),
            past,
          );
    return builder.op('Concat', [seen, this.newBias(window, past)], { attributes: { axis: -1 } });
  }

  /** What splits scores [B, kvHeads, G x S, T] into [B, kvHeads, G, S, T], G query heads to a key head. */
  splitShape(kvHeads: number, group: number): string {
    return this.shape(`split.${kvHeads}.${group}`, [0, kvHeads, group], this.newTokens, [-1]);
  }

  /** What joins them again. */
  joinedShape(kvHeads: number, group: number): string {
    const rows = () => this.builder.op('Mul', [this.newTokens, this.builder.int64('group', [1], [group])]);
    return this.shape(`joined.${kvHeads}.${group}`, [0, kvHeads], rows, [-1]);
  }

  /**
   * 0 where a key is the query's own, else 1: [S, P + S].
   * @param pastShape S and P, int64 [2]
   */
  notOwn(pastShape: string, hint: string): string {
    const { builder } = this;
    const ones = builder.op('Expand', [builder.float32(hint, [], [1]), pastShape]);
    return builder.op('Concat', [ones, this.otherNew()], { attributes: { axis: 1 } });
  }

  /** 0 where a new token meets itself, else 1: [S, S]. */
  private otherNew(): string {
    if (this.othersAmongNew !== undefined) return this.othersAmongNew;
    const { builder, newTokens } = this;
    const square = builder.op('Concat', [newTokens, newTokens], { attributes: { axis: 0 } });
    const zeros = builder.op('Expand', [builder.float32('zero', [], [0]), square]);
    const own = builder.op('EyeLike', [zeros]);
    const others = builder.op('Equal', [own, builder.float32('no_own', [], [0])]);
    this.othersAmongNew = builder.op('Cast', [others], { attributes: { to: DataType.FLOAT } });
    return this.othersAmongNew;
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
  private newBias(window: number | undefined, past: string): string {
    const known = this.amongNew.get(window);
    if (known !== undefined) return known;
    const { builder } = this;
    this.perHead ??= this.shapeOfHeads(past);
    const bias =
      window === undefined
        ? contractNames.newBias
        : this.within(window, this.unsqueezed(this.positionsOfNew(), 1), contractNames.newBias);
    const widened = builder.op('Expand', [bias, this.perHead]);
    this.amongNew.set(window, widened);
    return widened;
  }

  private shapeOfHeads(past: string): string {
    const { builder } = this;
    const heads = builder.op('Gather', [builder.op('Shape', [past]), builder.int64('heads_axis', [1], [1])]);
    const one = builder.int64('one_head', [1], [1]);
    return builder.op('Concat', [one, heads, one, one], { attributes: { axis: 0 } });
  }

  private unsqueezed(name: string, axis: number): string {
    return this.builder.op('Unsqueeze', [name, this.builder.int64('window_axis', [1], [axis])]);
  }

  /** `bias` where a key at one of `positions` [B, H, T] lies within the window of a new token, else -inf: [B, H, S, T]. */
  private within(window: number, positions: string, bias: string): string {
    const { builder } = this;
    const ofNew = builder.op('Unsqueeze', [this.positionsOfNew(), builder.int64('query_axes', [2], [1, 3])]);
    const distance = builder.op('Sub', [ofNew, this.unsqueezed(positions, 2)]);
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
