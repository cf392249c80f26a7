import { type CheckpointFiles, textConfig, textFiles } from '../checkpoint/checkpoint-files.js';
import type { Json } from '../checkpoint/json.js';
import {
  gemmaSchema,
  gemmaSpec,
  llamaSchema,
  mistralSchema,
  qwen2Schema,
  qwen3Schema,
  type TextSpec,
  textSpec,
} from '../checkpoint/text/spec.js';
import { decoderTensors, embeddingTensor, headOf } from '../checkpoint/text/tensors.js';
import { unsupported } from '../checkpoint/unsupported.js';
import { buildDecoder } from '../graphs/decoder-graph.js';
import type { Architecture } from './architecture.js';

/** transformers.js's class by model_type. */
const classes = {
  llama: 'LlamaForCausalLM',
  mistral: 'MistralForCausalLM',
  qwen2: 'Qwen2ForCausalLM',
  qwen3: 'Qwen3ForCausalLM',
  gemma3_text: 'Gemma3ForCausalLM',
} as const;

/**
 * A model of text alone: one graph from tokens to logits, `onnx/model.onnx`.
 * @throws ElasticCacheError 'unsupported-model' or 'invalid-checkpoint' when its config.json says something else.
 */
export function textModel(files: CheckpointFiles): Architecture {
  const { config } = files;
  const { type, spec } = textSpecOf(config);
  return {
    spellings: [],
    graphs(has) {
      const { all, output } = decoderTensors(spec, has(`${headOf(spec)}.weight`));
      const embedding = embeddingTensor(spec);
      return [
        {
          name: 'model',
          tensors: [...all, embedding],
          add: (file, read, format) => buildDecoder(file, spec, 'input_ids', output, read, format),
        },
      ];
    },
    files: ({ dtype, dataFiles }) => ({
      'config.json': {
        ...config,
        architectures: [classes[type]],
        ...textConfig(spec),
        'transformers.js_config': { dtype, use_external_data_format: dataFiles },
      },
      ...textFiles(files),
    }),
  };
}

function textSpecOf(config: Json): { type: keyof typeof classes; spec: TextSpec } {
  if (config.model_type === 'gemma3_text') {
    const parsed = gemmaSchema.safeParse(config);
    if (!parsed.success) throw unsupported(config, parsed.error.issues[0]!);
    return { type: 'gemma3_text', spec: gemmaSpec(parsed.data) };
  }
  const schemas = { mistral: mistralSchema, qwen2: qwen2Schema, qwen3: qwen3Schema };
  const schema = schemas[config.model_type as keyof typeof schemas] ?? llamaSchema;
  const parsed = schema.safeParse(config);
  if (!parsed.success) throw unsupported(config, parsed.error.issues[0]!);
  return { type: parsed.data.model_type, spec: textSpec(parsed.data, '', 'config.json') };
}
