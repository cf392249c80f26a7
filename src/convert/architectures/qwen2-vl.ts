import type { CheckpointFiles } from '../checkpoint/checkpoint-files.js';
import { checkQwen2VlFiles, qwen2VlFiles } from '../checkpoint/qwen2-vl/files.js';
import { gridVisionTensors, qwen2VlSpec, qwen2VlSpellings } from '../checkpoint/qwen2-vl/spec.js';
import { buildGridVisionEncoder } from '../graphs/grid-vision-graph.js';
import type { Architecture } from './architecture.js';
import { visionLanguageGraphs } from './vision-language-graphs.js';

/**
 * Qwen2-VL and Qwen2.5-VL.
 * @throws ElasticCacheError 'unsupported-model', 'missing-file' or 'invalid-checkpoint' when its files say something else.
 */
export function qwen2VlModel(files: CheckpointFiles): Architecture {
  const spec = qwen2VlSpec(files.config);
  checkQwen2VlFiles(files, spec);
  return {
    spellings: qwen2VlSpellings,
    graphs: (has) =>
      visionLanguageGraphs(
        {
          tensors: gridVisionTensors(spec),
          add: (file, read, format) => buildGridVisionEncoder(file, spec, read, format),
        },
        spec.text,
        has,
      ),
    files: (options) => qwen2VlFiles(files, spec, options),
  };
}
