import type { TextSpec } from '../checkpoint/text/spec.js';
import { decoderTensors, embeddingTensor, headOf } from '../checkpoint/text/tensors.js';
import { buildDecoder, buildEmbedTokens } from '../graphs/decoder-graph.js';
import type { WeightFormat } from '../graphs/layers.js';
import type { Graph } from './architecture.js';

/**
 * The three graphs of a model that sees: vision encoder, token embedding and decoder.
 * @param has whether the checkpoint holds a tensor, by its canonical name.
 * @param rows of the embedding: more than the checkpoint's where a token that stands for images has none there.
 */
export function visionLanguageGraphs(
  vision: Pick<Graph, 'tensors' | 'add'>,
  text: TextSpec,
  has: (name: string) => boolean,
  rows = text.vocabulary,
): readonly Graph[] {
  const decoder = decoderTensors(text, has(`${headOf(text)}.weight`));
  return [
    {
      name: 'vision_encoder',
      tensors: vision.tensors,
      add: (file, read, format) =>
        vision.add(file, read, format.kind === 'int4' ? towerFormat(format.half) : format),
    },
    {
      name: 'embed_tokens',
      tensors: [embeddingTensor(text)],
      add: (file, read, format) => buildEmbedTokens(file, text, read, format, rows),
    },
    {
      name: 'decoder_model_merged',
      tensors: decoder.all,
      add: (file, read, format) => buildDecoder(file, text, 'inputs_embeds', decoder.output, read, format),
    },
  ];
}

/** What a tower is in where the decoder is in int4: it runs once an image, on hundreds of tokens, where int8 is faster and more exact. */
function towerFormat(half = false): WeightFormat {
  return half ? { kind: 'float', half } : { kind: 'int8' };
}
