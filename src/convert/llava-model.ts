import type { Architecture } from './architecture.js';
import type { CheckpointFiles } from './checkpoint/checkpoint-files.js';
import { checkFiles, llavaFiles } from './checkpoint/llava-files.js';
import { llavaSpec } from './checkpoint/llava-spec.js';
import { spellings, visionEncoderTensors } from './checkpoint/llava-tensors.js';
import { decoderTensors, embeddingTensor, headOf } from './checkpoint/text-tensors.js';
import { buildDecoder, buildEmbedTokens } from './graphs/decoder-graph.js';
import { buildVisionEncoder } from './graphs/vision-graph.js';

/**
 * A LLaVA model: vision encoder, token embedding and decoder.
 * @throws ElasticCacheError 'unsupported-model', 'missing-file' or 'invalid-checkpoint' when its files say something else.
 */
export function llavaModel(files: CheckpointFiles): Architecture {
  const spec = llavaSpec(files.config);
  const { text } = spec;
  checkFiles(files, spec);
  return {
    spellings,
    graphs(has) {
      const decoder = decoderTensors(text, has(`${headOf(text)}.weight`));
      return [
        {
          name: 'vision_encoder',
          tensors: visionEncoderTensors(spec),
          // The tower runs once an image, on hundreds of tokens, where int8 is the faster and the more exact of the two.
          add: (file, read, format) =>
            buildVisionEncoder(file, spec, read, format.kind === 'int4' ? { kind: 'int8' } : format),
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
    files: (options) => llavaFiles(files, spec, options),
  };
}
