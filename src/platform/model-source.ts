import { env, type ProgressCallback } from '@huggingface/transformers';

/** Where the files of a model come from, as transformers.js names it. */
export interface SourceOptions {
  /** Branch, tag or commit of a model on the Hub. Default `main`. */
  revision?: string;
  /** Where downloads are kept, where there are files. Default: transformers.js's `env.cacheDir`. */
  cache_dir?: string;
  /** Never ask the network. */
  local_files_only?: boolean;
  /** Called with transformers.js's progress events, file by file. */
  progress_callback?: ProgressCallback;
}

/** A model by Hub id or directory, and how its files are reached. */
export interface ModelSource extends SourceOptions {
  /** A Hub id, or the absolute path of a directory. */
  id: string;
  local: boolean;
}

/** One of the files that hold a model's graphs and weights. */
export interface WeightFile {
  /** Relative to the model: `onnx/decoder_model_merged.onnx_data`. */
  file: string;
  /** Bytes, where they are known. */
  size: number | undefined;
  /** Where it is yet to be fetched. */
  remote?: RemoteFile;
}

/** A file on the Hub that is not here yet. */
export interface RemoteFile {
  /** Bytes; unknown where the server does not say. */
  size: number | undefined;
  /** Names this content of the file; a download can go on only where there is one. */
  etag: string | undefined;
}

const HUB_ID = /^[\w.-]+(\/[\w.-]+)?$/;

/** Whether a name may be that of a model on the Hub. */
export function isHubId(name: string): boolean {
  return HUB_ID.test(name) && !name.startsWith('.');
}

/** The options that were given, without those that are undefined. */
export function givenOptions(options: SourceOptions): SourceOptions {
  const { revision, cache_dir, local_files_only, progress_callback } = options;
  return {
    ...(revision === undefined ? {} : { revision }),
    ...(cache_dir === undefined ? {} : { cache_dir }),
    ...(local_files_only === undefined ? {} : { local_files_only }),
    ...(progress_callback === undefined ? {} : { progress_callback }),
  };
}

/** Whether the Hub is left alone. */
export function isOffline({ local, local_files_only }: ModelSource): boolean {
  return local || local_files_only === true || !env.allowRemoteModels;
}
