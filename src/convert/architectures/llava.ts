import { ElasticCacheError } from '../../errors.js';
import type { CheckpointFiles } from '../checkpoint/checkpoint-files.js';
import { checkFiles, llavaFiles } from '../checkpoint/llava/files.js';
import { modernLlava, originalSpellings } from '../checkpoint/llava/original.js';
import { llavaSpec } from '../checkpoint/llava/spec.js';
import { spellings, visionEncoderTensors, visionPrefix } from '../checkpoint/llava/tensors.js';
import { buildVisionEncoder } from '../graphs/vision-graph.js';
import type { Architecture } from './architecture.js';
import { visionLanguageGraphs } from './vision-language-graphs.js';

/**
 * A LLaVA model as transformers lays it out.
 * @throws ElasticCacheError 'unsupported-model', 'missing-file' or 'invalid-checkpoint' when its files say something else.
 */
export function llavaModel(files: CheckpointFiles): Architecture {
  const spec = llavaSpec(files.config);
  const { text } = spec;
  checkFiles(files, spec);
  return {
    spellings,
    graphs: (has) =>
      visionLanguageGraphs(
        {
          tensors: visionEncoderTensors(spec),
          add: (file, read, format) => buildVisionEncoder(file, spec, read, format),
        },
        text,
        has,
        // The image takes the place of what the token says.
        Math.max(text.vocabulary, spec.imageToken + 1),
      ),
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
