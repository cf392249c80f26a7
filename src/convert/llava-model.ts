import { ElasticCacheError } from '../errors.js';
import type { Architecture } from './architecture.js';
import type { CheckpointFiles } from './checkpoint/checkpoint-files.js';
import { checkFiles, llavaFiles } from './checkpoint/llava-files.js';
import { llavaSpec } from './checkpoint/llava-spec.js';
import { spellings, visionEncoderTensors, visionPrefix } from './checkpoint/llava-tensors.js';
import { modernLlava, originalSpellings } from './checkpoint/original-llava.js';
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
          // An image token that the checkpoint has no row for gets an empty one: the image takes its place.
          add: (file, read) =>
            buildEmbedTokens(file, text, read, Math.max(text.vocabulary, spec.imageToken + 1)),
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

/**
 * A LLaVA model as its authors published it: projector beside the decoder, the vision tower only named.
 * @param tower directory of the CLIP model that the tower is from, unless the checkpoint holds it.
 * @throws ElasticCacheError as `llavaModel`; 'missing-file' when the tower is nowhere.
 */
export async function originalLlavaModel(
  files: CheckpointFiles,
  tower: string | undefined,
): Promise<Architecture> {
  const model = llavaModel(await modernLlava(files, tower));
  return {
    ...model,
    spellings: originalSpellings,
    supplement: tower === undefined ? undefined : { directory: tower, names: /^vision_tower\./ },
    graphs(has) {
      if (has(`${visionPrefix}.embeddings.class_embedding`)) return model.graphs(has);
      throw new ElasticCacheError(
        'missing-file',
        `${tower ?? files.directory} holds no vision tower: download ${files.config.mm_vision_tower} and give its directory as visionTower (--vision-tower).`,
      );
    },
  };
}
