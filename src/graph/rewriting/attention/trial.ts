import { contractNames, type DecoderSignature, type PastFormat } from '../../decoder.js';
import { GraphBuilder } from '../../onnx/builder.js';
import { DataType, MICROSOFT, type Model } from '../../onnx/onnx.js';
import { removeDead } from '../../onnx/queries.js';
import type { AttentionLayer } from '../../patterns/attention-layer.js';
import { addAttention } from './add-attention.js';
import { declareInPlace, packedTakes } from './in-place.js';
import { Masks } from './masks.js';

/** A decoder that is nothing but the attention of one layer, to see whether a device gets it right: its embeddings are queries, keys and values of all heads, its logits what they attend to. */
export interface Trial {
  readonly model: Model;
  readonly decoder: DecoderSignature;
  /** Factor of the scores. */
  readonly scale: number;
  /** [queryHeads] scores that take part in the softmax and give nothing; undefined for none. */
  readonly sinks: Float32Array | undefined;
}

/** Trials of layers that write in place: one of each kind. @param opsets of the decoder that they are of */
export function trialsOf(
  layers: Iterable<AttentionLayer>,
  { opsetImport, irVersion }: Pick<Model, 'opsetImport' | 'irVersion'>,
  past: PastFormat,
): Trial[] {
  const kinds = new Map(Array.from(layers, (layer) => [kindOf(layer), layer]));
  const opsets = Object.fromEntries(opsetImport.map(({ domain, version }) => [domain, Number(version)]));
  return Array.from(kinds.values(), (layer) => trialOf(layer, opsets, Number(irVersion), past));
}

function kindOf({ queryHeads, kvHeads, headDim, scale, window, sink }: AttentionLayer): string {
  return JSON.stringify([queryHeads, kvHeads, headDim, scale, window, sink !== undefined]);
}

function trialOf(
  original: AttentionLayer,
  opsets: Readonly<Record<string, number>>,
  irVersion: number,
  past: PastFormat,
): Trial {
  const { queryHeads, kvHeads, headDim, window } = original;
  const builder = GraphBuilder.create('trial', { ...opsets, [MICROSOFT]: 1 }, irVersion);
  const heads = [queryHeads, kvHeads, kvHeads];
  const hidden = heads.reduce((sum, each) => sum + each * headDim, 0);
  builder.input('inputs_embeds', DataType.FLOAT, ['batch_size', 'sequence_length', hidden]);
  const sizes = heads.map((each) => each * headDim);
  const parts = builder.ops('Split', ['inputs_embeds', builder.int64('sizes', [3], sizes)], {
    attributes: { axis: -1 },
    outputs: 3,
  });
  const byHead = (part: number) =>
    builder.op(
      'Transpose',
      [builder.op('Reshape', [parts[part]!, builder.int64('heads', [4], [0, 0, heads[part]!, headDim])])],
      { attributes: { perm: [0, 2, 1, 3] } },
    );
  const layer: AttentionLayer = {
    ...original,
    index: 0,
    elemType: DataType.FLOAT,
    output: contractNames.logits,
    outputLayout: 'rows',
    rows: () => ({ query: byHead(0), key: byHead(1), value: byHead(2) }),
  };
  // Those of the layer itself are weights that lie elsewhere.
  const sinks = original.sink && Float32Array.from({ length: queryHeads }, (_, head) => head / queryHeads);
  if (sinks) layer.sink = () => builder.float32('sinks', [1, queryHeads, 1, 1], sinks);
  addAttention(builder, layer, new Masks(builder), 'gpu', past, declareInPlace(builder, [layer]));
  builder.output(contractNames.logits, DataType.FLOAT, ['batch_size', 'sequence_length', sizes[0]!]);
  removeDead(builder.graph);
  return {
    model: builder.model,
    scale: original.scale,
    sinks,
    decoder: {
      layers: [
        {
          index: 0,
          queryHeads,
          kvHeads,
          headDim,
          ...(window === undefined ? {} : { window }),
          inPlace: true,
          ...(packedTakes(layer) ? { packs: true } : {}),
        },
      ],
      tokenInput: 'inputs_embeds',
      target: 'gpu',
      past,
      stockPast: past === 'float16' ? 'float16' : 'float32',
      positionIds: 'absent',
      otherInputs: [],
      otherOutputs: [],
    },
  };
}
