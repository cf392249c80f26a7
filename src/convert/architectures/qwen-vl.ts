import type { CheckpointFiles } from '../checkpoint/checkpoint-files.js';
import { checkQwenVlFiles, qwenVlFiles } from '../checkpoint/qwen-vl/files.js';
import {
  pooledVisionTensors,
  qwenVlPacked,
  qwenVlSpec,
  qwenVlSpellings,
} from '../checkpoint/qwen-vl/spec.js';
import { buildPooledVisionEncoder } from '../graphs/pooled-vision-graph.js';
import type { Architecture } from './architecture.js';
import { visionLanguageGraphs } from './vision-language-graphs.js';

/**
 * Qwen-VL and Qwen-VL-Chat, the models of 2023.
 * @throws ElasticCacheError 'unsupported-model', 'missing-file' or 'invalid-checkpoint' when its files say something else.
 */
export function qwenVlModel(files: CheckpointFiles): Architecture {
  const spec = qwenVlSpec(files.config);
  checkQwenVlFiles(files, spec);
  return {
    spellings: qwenVlSpellings,
    packed: qwenVlPacked(spec),
    graphs: (has) =>
      visionLanguageGraphs(
        {
          tensors: pooledVisionTensors(spec),
          add: (file, read, format) => buildPooledVisionEncoder(file, spec, read, format),
        },
        spec.text,
        has,
      ),
    files: (options) => qwenVlFiles(files, spec, options),
  };
}
