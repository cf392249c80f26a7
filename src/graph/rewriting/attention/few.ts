import type { GraphBuilder } from '../../onnx/builder.js';
import type { AttentionLayer } from '../../patterns/attention-layer.js';
import { type Attended, attendApart, type Rows } from './attending.js';
import { receivedFrom, whereAsked } from './received.js';

/** Past and new rows apart; what is asked for of the attention comes from the weights that are there. */
export function attendFew(builder: GraphBuilder, layer: AttentionLayer, rows: Rows): Attended {
  const { newTokens, attentionQueries, peakQueries } = rows.masks;
  const { weights, context } = attendApart(builder, layer, rows);
  const received = (queries: string, as: 'sum' | 'peak') => (inner: GraphBuilder) =>
    whereAsked(inner, layer, queries, (within) =>
      receivedFrom(within, layer, rows, weights, newTokens, { queries, as }),
    )[0]!;
  // One If for both, since most steps ask for neither.
  const [attention = '', peak = ''] = whereAsked(
    builder,
    layer,
    rows.masks.askedQueries,
    received(attentionQueries, 'sum'),
    received(peakQueries, 'peak'),
  );
  return { context, attention, peak };
}
