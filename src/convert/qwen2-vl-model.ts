import type { Architecture } from './architecture.js';
import type { CheckpointFiles } from './checkpoint/checkpoint-files.js';
import { checkQwen2VlFiles, qwen2VlFiles } from './checkpoint/qwen2-vl-files.js';
import { gridVisionTensors, qwen2VlSpec, qwen2VlSpellings } from './checkpoint/qwen2-vl-spec.js';
import { decoderTensors, embeddingTensor, headOf } from './checkpoint/text-tensors.js';
import { buildDecoder, buildEmbedTokens } from './graphs/decoder-graph.js';
import { buildGridVisionEncoder } from './graphs/grid-vision-graph.js';

/**
 * Qwen2-VL: vision encoder, token embedding and decoder.
 * @throws ElasticCacheError 'unsupported-model', 'missing-file' or 'invalid-checkpoint' when its files say something else.
 */
export function qwen2VlModel(files: CheckpointFiles): Architecture {
  const spec = qwen2VlSpec(files.config);
  const { text } = spec;
  checkQwen2VlFiles(files, spec);
  return {
    spellings: qwen2VlSpellings,
    graphs(has) {
      const decoder = decoderTensors(text, has(`${headOf(text)}.weight`));
      return [
        {
          name: 'vision_encoder',
          tensors: gridVisionTensors(spec),
          // As LLaVA's: once an image, on hundreds of tokens.
          add: (file, read, format) =>
            buildGridVisionEncoder(file, spec, read, format.kind === 'int4' ? { kind: 'int8' } : format),
        },
        {
          name: 'embed_tokens',
          tensors: [embeddingTensor(text)],
          add: (file, read) => buildEmbedTokens(file, text, read),
        },
        {
          name: 'decoder_model_merged',
          tensors: decoder.all,
          add: (file, read, format) =>
            buildDecoder(file, text, 'inputs_embeds', decoder.output, read, format),
        },
      ];
    },
    files: (options) => qwen2VlFiles(files, spec, options),
  };
}
