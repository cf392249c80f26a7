import { BertModel, type PretrainedConfig, type PretrainedModelOptions } from '@huggingface/transformers';
import { ElasticCacheError, reasonOf } from '../errors.js';
import type { ModelSource } from '../platform/model-source.js';

/** What transformers.js needs besides the source to open an ONNX file. */
export type OpenOptions = Pick<PretrainedModelOptions, 'dtype' | 'device' | 'session_options'>;

/** What a session of ONNX Runtime is here: transformers.js runs it. */
export interface Releasable {
  /** Frees its memory. */
  release(): Promise<void>;
}

/**
 * Opens one of a model's ONNX files (`embed_tokens`, `vision_encoder`) as transformers.js does: same files, same cache,
 * same choice of dtype, same external data. Throws `invalid-model` when it cannot be fetched or opened.
 */
export async function openSession(
  source: ModelSource,
  config: PretrainedConfig,
  name: string,
  options: OpenOptions,
): Promise<Releasable> {
  try {
    return await fromPretrained(source, config, name, options);
  } catch (cause) {
    throw unopened(source, name, cause);
  }
}

/** `from_pretrained` of a class that has one session opens whatever file it is told to; any such class would do that is no decoder's, for which a cache would be looked for on a GPU. */
async function fromPretrained(
  source: ModelSource,
  config: PretrainedConfig,
  name: string,
  options: OpenOptions,
): Promise<Releasable> {
  const { sessions } = await BertModel.from_pretrained(source.id, {
    ...fetchOptions(source),
    ...options,
    // With its architectures in the config, transformers.js would look for the sessions of that class.
    config: Object.assign(Object.create(Object.getPrototypeOf(config)), config, { architectures: [] }),
    model_file_name: name,
  });
  return sessions.model;
}

function unopened(source: ModelSource, name: string, cause: unknown): ElasticCacheError {
  return new ElasticCacheError(
    'invalid-model',
    `${name} of ${source.id} cannot be opened; fetch or convert it again (${reasonOf(cause)})`,
    { cause },
  );
}

function fetchOptions(source: ModelSource): PretrainedModelOptions {
  const { id: _id, local: _local, progress_callback, ...options } = source;
  // Weights of the Hub have been fetched and reported by now.
  if (!progress_callback || !source.local) return options;
  return {
    ...options,
    // Totals are per call, and one model is several calls.
    progress_callback: (event) => {
      if (event.status !== 'progress_total') progress_callback(event);
    },
  };
}
