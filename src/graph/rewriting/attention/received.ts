import type { GraphBuilder } from '../../onnx/builder.js';
import { DataType } from '../../onnx/onnx.js';
import type { AttentionLayer } from '../../patterns/attention-layer.js';
import { concat, lastOf, sizeOf } from '../shapes.js';
import type { Rows } from './attending.js';
import type { Masks } from './masks.js';

/** How attention over several queries becomes one number for a row: their sum, or the most of one query, the row's own left out. */
export type ReceivedAs = 'sum' | 'peak';

/** What is asked for: attention of the last `queries` new tokens, int64 [1], one at least. */
export interface Asked {
  readonly queries: string;
  readonly as: ReceivedAs;
}

/**
 * What each of `makes` gives, [B, kvHeads, P + S], where it is asked for, else nothing, [1, kvHeads, 0]. ONNX Runtime computes every value that is not behind an If, fetched or not.
 * @param queries int64 [1], 0 where nothing is asked for
 */
export function whereAsked(
  builder: GraphBuilder,
  { index, kvHeads }: AttentionLayer,
  queries: string,
  ...makes: readonly ((inner: GraphBuilder) => string)[]
): string[] {
  const branch = (name: string, values: readonly ((inner: GraphBuilder) => string)[]) => {
    const inner = builder.branch(`${name}.${index}`);
    for (const value of values)
      inner.output(value(inner), DataType.FLOAT, ['batch_size', kvHeads, `given.${index}`]);
    return { graph: inner.graph };
  };
  const none = builder.int64(`none.${index}`, [1], [0]);
  const nothing = (inner: GraphBuilder) =>
    inner.op('Identity', [inner.float32(`nothing.${index}`, [1, kvHeads, 0], [])]);
  return builder.ops('If', [builder.op('Greater', [queries, none])], {
    attributes: {
      then_branch: branch('asked', makes),
      else_branch: branch(
        'not_asked',
        makes.map(() => nothing),
      ),
    },
    outputs: makes.length,
  });
}

/**
 * What each row received, averaged over the query heads of a key head.
 * @param weights [B, kvHeads, queries, P + S] of the last `count` new tokens, int64 [1]
 */
export function receivedFrom(
  builder: GraphBuilder,
  { index, queryHeads, kvHeads }: AttentionLayer,
  { past, masks }: Pick<Rows, 'past' | 'masks'>,
  weights: string,
  count: string,
  { queries, as }: Asked,
): string {
  const group = queryHeads / kvHeads;
  const sum = (name: string, ...axes: number[]) =>
    builder.op('ReduceSum', [name, builder.int64(`summed_axes.${index}`, [axes.length], axes)], {
      attributes: { keepdims: 0 },
    });
  const perHead = (name: string) =>
    group === 1 ? name : builder.op('Mul', [name, builder.float32(`per_head.${index}`, [], [1 / group])]);
  if (as === 'sum' && count === queries) return perHead(sum(weights, 2));
  const split =
    group === 1 ? weights : builder.op('Reshape', [weights, masks.splitShape(kvHeads, group, count)]);
  const axis = group === 1 ? 2 : 3;
  const last = count === queries ? split : lastOf(builder, split, queries, axis);
  if (as === 'sum') return perHead(group === 1 ? sum(last, 2) : sum(last, 2, 3));
  const others = builder.op('Mul', [last, notOwn(builder, queries, sizeOf(builder, past.key, 2), masks)]);
  const peak = builder.reduceMax(others, axis);
  return perHead(group === 1 ? peak : sum(peak, 2));
}

/** 0 where a key is the query's own, else 1: [queries, P + S]. @param slots P, int64 [1] */
function notOwn(builder: GraphBuilder, queries: string, slots: string, { newTokens }: Masks): string {
  const scalar = (name: string) => builder.op('Squeeze', [name]);
  const [zero, one] = [0, 1].map((value) => builder.int64('range_end', [], [value])) as [string, string];
  const end = scalar(newTokens);
  const keys = builder.op('Range', [zero, end, one]);
  const last = builder.op('Range', [builder.op('Sub', [end, scalar(queries)]), end, one]);
  const own = builder.op('Equal', [
    keys,
    builder.op('Unsqueeze', [last, builder.int64('query_axis', [1], [1])]),
  ]);
  const [none, all] = [0, 1].map((value) => builder.float32('share', [], [value])) as [string, string];
  const past = builder.op('Expand', [all, concat(builder, [queries, slots], 0)]);
  return concat(builder, [past, builder.op('Where', [own, none, all])], 1);
}
