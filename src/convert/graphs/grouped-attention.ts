import { type GraphBuilder, valueInfo } from '../../graph/onnx/builder.js';
import { MICROSOFT } from '../../graph/onnx/onnx.js';
import type { Layers } from './layers.js';

/** Rows [1, rows, width] that see those of their own group alone. Groups are filled up to one size, so that each is a sequence of a batch. */
export interface Groups {
  /** int64 [rows]: the place of each row among those of all groups. */
  readonly places: string;
  /** int64 [groups x size]: the row in each place, the number of rows for none. */
  readonly rows: string;
  /** int64 [1]: places of a group. */
  readonly size: string;
  /** [groups, 1, size, size]: 0 where a row is, the least number elsewhere. */
  readonly bias: string;
  /** Whether there is one group, which has all rows in order; absent where nobody asks. */
  readonly single?: string;
}

/**
 * Adds groups.
 * @param ids int64 [rows], the same in a group
 * @param inGroup int64 [rows], another for each row of a group, below `size`
 * @param indexes int64 [rows]: 0, 1, 2, ...
 * @param size int64 [1]
 */
export function groups(layers: Layers, ids: string, inGroup: string, indexes: string, size: string): Groups {
  const op = (type: string, ...inputs: string[]) => layers.op(type, inputs);
  const shape = (value: string) => op('Shape', value);
  const [known = '', numbers = ''] = layers.distinct(ids);
  const places = op('Add', op('Mul', numbers, size), inGroup);
  const count = shape(indexes);
  const empty = op('Expand', count, op('Mul', shape(known), size));
  const rows = op('ScatterElements', empty, places, indexes);
  const filled = op(
    'Reshape',
    op('Less', rows, count),
    layers.op('Concat', [layers.int64(-1, 1, 1), size], { attributes: { axis: 0 } }),
  );
  const bias = op(
    'Expand',
    op('Where', filled, layers.scalar(0), layers.scalar(-65504)),
    layers.op('Concat', [layers.int64(1, 1), size, layers.int64(1)], { attributes: { axis: 0 } }),
  );
  return { places, rows, size, bias };
}

/** Adds attention within groups over `q`, `k`, `v` [1, rows, width]. Memory grows with the groups and the square of their size. */
export function groupedAttention(
  builder: GraphBuilder,
  layers: Layers,
  [q, k, v]: readonly [string, string, string],
  { heads, hidden }: { readonly heads: number; readonly hidden: number },
  { places, rows, size, bias, single }: Groups,
): string {
  const options = { domain: MICROSOFT, attributes: { num_heads: heads } };
  // Constants of the outer graph, which both branches see.
  const [zero, all, width, none] = [
    layers.int64(0),
    layers.int64(-1),
    layers.int64(hidden),
    layers.scalar(0),
  ];
  const [flat, one] = [layers.int64(-1, hidden), layers.int64(1, hidden)];
  const apart = (to: GraphBuilder) => {
    const emptyRow = to.op('Expand', [none, one]);
    const sequences = to.op('Concat', [all, size, width], { attributes: { axis: 0 } });
    const spread = (value: string) => {
      const whole = to.op('Concat', [to.op('Reshape', [value, flat]), emptyRow], { attributes: { axis: 0 } });
      return to.op('Reshape', [to.op('Gather', [whole, rows]), sequences]);
    };
    const attended = to.op(
      'MultiHeadAttention',
      [spread(q), spread(k), spread(v), undefined, undefined, bias],
      options,
    );
    const back = to.op('Gather', [to.op('Reshape', [attended, flat]), places]);
    return to.op('Unsqueeze', [back, zero]);
  };
  if (single === undefined) return apart(builder);
  const branch = (name: string, make: (inner: GraphBuilder) => string) => {
    const inner = builder.branch(name);
    inner.graph.output.push(valueInfo(make(inner), layers.real, [1, 'patches', hidden]));
    return { graph: inner.graph };
  };
  const alone = branch('one_group', (inner) => inner.op('MultiHeadAttention', [q, k, v], options));
  return layers.op('If', [single], {
    attributes: { then_branch: alone, else_branch: branch('several_groups', apart) },
  });
}
