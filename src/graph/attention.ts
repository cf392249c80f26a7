import type { GraphBuilder } from './builder.js';
import { contractNames } from './decoder.js';
import { DataType, MICROSOFT } from './onnx.js';
import type { AttentionLayer } from './patterns/attention-layer.js';

/**
 * Adds a layer's attention over past and new rows, in operators that read the past where it lies and give only new rows.
 * Query heads that share a key head are rows of one matrix, so keys and values are never repeated. The importance it
 * returns is the paper's (Liu et al., ECCV 2024, section 3.2): attention received, summed over queries, averaged over heads.
 * @param newTokens the value that holds S, int64 [1]
 */
export function addAttention(builder: GraphBuilder, layer: AttentionLayer, newTokens: string): void {
  const { index, queryHeads, kvHeads, headDim } = layer;
  const past = declarePast(builder, layer);
  const made = layer.rows(builder);
  const query = toFloat32(builder, layer, made.query);
  const key = toFloat32(builder, layer, made.key, contractNames.newKey(index));
  const value = toFloat32(builder, layer, made.value, contractNames.newValue(index));
  for (const name of [key, value]) {
    builder.output(name, DataType.FLOAT, ['batch_size', kvHeads, 'sequence_length', headDim]);
  }
  // [B, kvHeads, queries, headDim] with queries = (queryHeads / kvHeads) * S.
  const grouped =
    queryHeads === kvHeads
      ? query
      : reshape(builder, query, `group_shape.${index}`, [0, kvHeads, -1, headDim]);

  const rows: Rows = { query: grouped, key, value, past, newTokens };
  const branch = (name: string, attend: typeof attendApart) => {
    const inner = builder.branch(`${name}.${index}`);
    const { weights, context } = attend(inner, layer, rows);
    const shape = ['batch_size', kvHeads, `queries.${index}`];
    inner.output(weights, DataType.FLOAT, [...shape, `slots.${index} + sequence_length`]);
    inner.output(context, DataType.FLOAT, [...shape, headDim]);
    return { graph: inner.graph };
  };
  // Joining copies headDim numbers of each row and key head, twice; apart, the scores are copied: S for each query head.
  const few = builder.int64(`few_tokens.${index}`, [1], [Math.ceil((headDim * kvHeads) / queryHeads)]);
  const [weights = '', context = ''] = builder.ops('If', [builder.op('Greater', [newTokens, few])], {
    attributes: {
      then_branch: branch('joined', attendJoined),
      else_branch: branch('apart', attendApart),
    },
    outputs: 2,
  });
  addImportance(builder, layer, weights);
  const perHead =
    queryHeads === kvHeads
      ? context
      : reshape(builder, context, `context_shape.${index}`, [0, queryHeads, -1, headDim]);
  finish(builder, layer, perHead);
}

/** What a layer attends with. */
interface Rows {
  query: string;
  key: string;
  value: string;
  past: { key: string; value: string; bias: string };
  newTokens: string;
}

/** Attention received, [B, kvHeads, queries, P + S], and what it gives, [B, kvHeads, queries, headDim]. */
interface Attended {
  weights: string;
  context: string;
}

/** For a few new tokens: two score matrices, one softmax over both, two products; the past is not copied. */
function attendApart(builder: GraphBuilder, layer: AttentionLayer, rows: Rows): Attended {
  const { query, key, value, past, newTokens } = rows;
  const pastScores = builder.op('Add', [scores(builder, layer, query, past.key), past.bias]);
  const newScores = masked(builder, layer, scores(builder, layer, query, key), contractNames.newBias);
  const weights = softmax(builder, concat(builder, [pastScores, newScores], -1));
  const slots = builder.op('Gather', [
    builder.op('Shape', [past.key]),
    builder.int64('slots_axis', [1], [2]),
  ]);
  const [pastWeights = '', newWeights = ''] = builder.ops(
    'Split',
    [weights, concat(builder, [slots, newTokens], 0)],
    { attributes: { axis: -1 }, outputs: 2 },
  );
  const context = builder.op('Add', [
    builder.op('MatMul', [pastWeights, past.value]),
    builder.op('MatMul', [newWeights, value]),
  ]);
  return { weights, context };
}

/** For many: the past is copied once, beside the new rows, and the far larger scores are not. */
function attendJoined(builder: GraphBuilder, layer: AttentionLayer, rows: Rows): Attended {
  const { query, key, value, past, newTokens } = rows;
  const one = builder.int64('one', [1], [1]);
  const perQuery = builder.op('Expand', [past.bias, concat(builder, [one, one, newTokens, one], 0)]);
  const bias = concat(builder, [perQuery, contractNames.newBias], -1);
  const keys = concat(builder, [past.key, key], 2);
  const weights = softmax(builder, masked(builder, layer, scores(builder, layer, query, keys), bias));
  return { weights, context: builder.op('MatMul', [weights, concat(builder, [past.value, value], 2)]) };
}

function scores(builder: GraphBuilder, layer: AttentionLayer, query: string, keys: string): string {
  const products = builder.op('FusedMatMul', [query, keys], {
    domain: MICROSOFT,
    attributes: { transB: 1, alpha: { float: layer.scale } },
  });
  return softcapped(builder, layer, products);
}

function softmax(builder: GraphBuilder, scores: string): string {
  return builder.op('Softmax', [scores], { attributes: { axis: -1 } });
}

function concat(builder: GraphBuilder, names: readonly string[], axis: number): string {
  return builder.op('Concat', names, { attributes: { axis } });
}

function declarePast(builder: GraphBuilder, { index, kvHeads, headDim }: AttentionLayer) {
  // Layers hold different numbers of slots, so each has a name of its own for that size.
  const slots = `slots.${index}`;
  const shape = ['batch_size', kvHeads, slots, headDim];
  return {
    key: builder.input(contractNames.pastKey(index), DataType.FLOAT, shape),
    value: builder.input(contractNames.pastValue(index), DataType.FLOAT, shape),
    bias: builder.input(contractNames.pastBias(index), DataType.FLOAT, ['batch_size', 1, 1, slots]),
  };
}

function toFloat32(builder: GraphBuilder, { elemType }: AttentionLayer, name: string, as?: string): string {
  const outputs = as === undefined ? 1 : [as];
  if (elemType !== DataType.FLOAT)
    return builder.op('Cast', [name], { attributes: { to: DataType.FLOAT }, outputs });
  return as === undefined ? name : builder.op('Identity', [name], { outputs });
}

function softcapped(builder: GraphBuilder, { index, softcap }: AttentionLayer, scores: string): string {
  if (softcap === 0) return scores;
  const cap = builder.float32(`softcap.${index}`, [], [softcap]);
  return builder.op('Mul', [builder.op('Tanh', [builder.op('Div', [scores, cap])]), cap]);
}

/** Adds a bias [B, 1, S, T] to scores [B, kvHeads, queries, T], whose queries are first split into heads. */
function masked(
  builder: GraphBuilder,
  { index, queryHeads, kvHeads }: AttentionLayer,
  scores: string,
  bias: string,
): string {
  if (queryHeads === kvHeads) return builder.op('Add', [scores, bias]);
  const perHead = reshape(builder, scores, `score_shape.${index}`, [0, queryHeads, -1, 0]);
  const sums = builder.op('Add', [perHead, bias]);
  return reshape(builder, sums, `group_score_shape.${index}`, [0, kvHeads, -1, 0]);
}

function addImportance(builder: GraphBuilder, { index, queryHeads }: AttentionLayer, weights: string): void {
  // One axis at a time: ONNX Runtime sums over two at once thirty times slower (427 ms against 13 for [1, 16, 512, 1417]).
  const sum = (name: string, axis: number) =>
    builder.op('ReduceSum', [name, builder.int64(`axis_${axis}.${index}`, [1], [axis])], {
      attributes: { keepdims: 0 },
    });
  const received = sum(sum(weights, 2), 1);
  builder.op('Mul', [received, builder.float32(`per_head.${index}`, [], [1 / queryHeads])], {
    outputs: [contractNames.attention(index)],
  });
  builder.output(contractNames.attention(index), DataType.FLOAT, [
    'batch_size',
    `slots.${index} + sequence_length`,
  ]);
}

function finish(builder: GraphBuilder, layer: AttentionLayer, context: string): void {
  const { index, queryHeads, headDim, elemType, output, outputLayout } = layer;
  let value = context;
  if (outputLayout === 'rows') {
    const turned = builder.op('Transpose', [context], { attributes: { perm: [0, 2, 1, 3] } });
    value = reshape(builder, turned, `rows_shape.${index}`, [0, 0, queryHeads * headDim]);
  }
  builder.op('Cast', [value], { attributes: { to: elemType }, outputs: [output] });
}

function reshape(builder: GraphBuilder, name: string, hint: string, shape: readonly number[]): string {
  return builder.op('Reshape', [name, builder.int64(hint, [shape.length], shape)]);
}
