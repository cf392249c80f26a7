import type { CheckpointFiles } from '../checkpoint/checkpoint-files.js';
import { checkIdefics3Files, idefics3Files } from '../checkpoint/idefics3/files.js';
import { idefics3Spec, idefics3Spellings, tiledVisionTensors } from '../checkpoint/idefics3/spec.js';
import { buildTiledVisionEncoder } from '../graphs/tiled-vision-graph.js';
import type { Architecture } from './architecture.js';
import { visionLanguageGraphs } from './vision-language-graphs.js';

/**
 * Idefics3 and SmolVLM.
 * @throws ElasticCacheError 'unsupported-model', 'missing-file' or 'invalid-checkpoint' when its files say something else.
 */
export function idefics3Model(files: CheckpointFiles): Architecture {
  const spec = idefics3Spec(files.config);
  checkIdefics3Files(files, spec);
  return {
    spellings: idefics3Spellings,
    graphs: (has) =>
      visionLanguageGraphs(
        {
          tensors: tiledVisionTensors(spec),
          add: (file, read, format) => buildTiledVisionEncoder(file, spec, read, format),
        },
        spec.text,
        has,
      ),
    files: (options) => idefics3Files(files, spec, options),
  };
}
