import {
  LlamaForCausalLM,
  type PretrainedConfig,
  type PretrainedModelOptions,
} from '@huggingface/transformers';
import type { ModelSource } from './model-source.js';

/** What transformers.js needs besides the source to open an ONNX file. */
export type OpenOptions = Pick<PretrainedModelOptions, 'dtype' | 'device' | 'session_options'>;

/** An opened file, and the model's `generation_config.json` that came with it. */
export interface OpenedSession {
  session: unknown;
  configs: Record<string, object>;
}

/**
 * Opens one of a model's ONNX files (`embed_tokens`, `vision_encoder`) as transformers.js does: same files, same cache,
 * same choice of dtype, same external data.
 *
 * `from_pretrained` of a class that has one session opens whatever file it is told to. Any of these classes would do.
 */
export async function openSession(
  source: ModelSource,
  config: PretrainedConfig,
  name: string,
  options: OpenOptions,
): Promise<OpenedSession> {
  const { sessions, configs } = await LlamaForCausalLM.from_pretrained(source.id, {
    ...fetchOptions(source),
    ...options,
    // With its architectures in the config, transformers.js would look for the sessions of that class.
    config: Object.assign(Object.create(Object.getPrototypeOf(config)), config, { architectures: [] }),
    model_file_name: name,
  });
  return { session: sessions.model, configs };
}

/**
 * Brings an ONNX file and its external data to disk without opening it.
 *
 * transformers.js has no public download, so it is asked for a session on an execution provider that does not
 * exist: it fetches the files and ONNX Runtime then declines before it reads them.
 */
export async function download(
  source: ModelSource,
  config: PretrainedConfig,
  name: string,
  options: OpenOptions,
): Promise<void> {
  const declined = 'download-only';
  try {
    await openSession(source, config, name, {
      ...options,
      session_options: { executionProviders: [declined] },
    });
  } catch (error) {
    if (!(error instanceof Error && error.message.includes(declined))) throw error;
  }
}

function fetchOptions(source: ModelSource): PretrainedModelOptions {
  const { id: _id, local: _local, progress_callback, ...options } = source;
  if (!progress_callback) return options;
  return {
    ...options,
    // Totals are per call, and one model is several calls.
    progress_callback: (event) => {
      if (event.status !== 'progress_total') progress_callback(event);
    },
  };
}
