import type { PretrainedConfig } from '@huggingface/transformers';
import * as transformers from '@huggingface/transformers';
import { locationOf, modelSource } from '#platform/model-source.js';
import { DEFAULT_DEVICE } from '#platform/ort.js';
import { fetchWeights } from '#platform/weights.js';
import { ElasticCacheError, reasonOf, shown } from '../errors.js';
import type { TokenInput } from '../graph/decoder.js';
import { refuseUnknown } from '../options.js';
import { lookAt } from '../platform/hub-file.js';
import { isOffline, type ModelSource, type SourceOptions } from '../platform/model-source.js';
import { ElasticSession } from '../runtime/elastic-session.js';
import type { DecoderSettings } from '../runtime/open-decoder.js';
import { ropeStages } from '../runtime/passes/rope-stages.js';
import { sessionOptions } from '../runtime/session-options.js';
import { refuseHostileConfig } from './config-limits.js';
import { withElasticCache } from './elastic-model.js';
import { generationConfig } from './files/generation-config.js';
import { type Dtype, modelFiles } from './files/model-files.js';
import type { LoadedModel } from './loaded-model.js';
import { modelClass } from './model-class.js';
import { openSession, type Releasable } from './sessions.js';

export interface LoadOptions extends SourceOptions, DecoderSettings {
  /** Number format of the weights, as in transformers.js. Default: what the model's config names, else `fp32`. */
  dtype?: Dtype;
}

const LOAD_OPTIONS = [
  ...['dtype', 'device', 'chunk', 'peak', 'accuracyLevel', 'kvFormat', 'threads', 'session_options'],
  ...['revision', 'cache_dir', 'local_files_only', 'progress_callback'],
];

/**
 * Loads a vision-language model, or one of text alone, whose `generate()` takes an `ElasticCache` as `past_key_values`.
 * Its config decides which it is; a text model comes with a tokenizer and no processor.
 *
 * Everything but the decoder is transformers.js's own. The decoder's weights are mapped from the file they lie in;
 * its stock session is never opened.
 *
 * @param idOrDirectory a model on the Hub (`owner/name`) or a directory, in transformers.js layout
 * @throws ElasticCacheError `missing-file`, `invalid-model`, `invalid-option`, `unsupported-model` (no such class in transformers.js),
 *   `unsupported-graph` (its decoder cannot be rewritten: with the node and the reason), `out-of-memory` (before anything is opened),
 *   `out-of-space`, `download-failed` (a download that broke off goes on when the model is loaded again)
 */
export async function loadElastic(idOrDirectory: string, options: LoadOptions = {}): Promise<LoadedModel> {
  refuseUnknown('loadElastic', options, LOAD_OPTIONS);
  const {
    dtype: asked,
    device = DEFAULT_DEVICE,
    chunk,
    peak,
    accuracyLevel,
    kvFormat,
    threads,
    session_options,
  } = options;
  const settings: DecoderSettings = { device };
  if (chunk !== undefined) settings.chunk = chunk;
  if (peak !== undefined) settings.peak = peak;
  if (accuracyLevel !== undefined) settings.accuracyLevel = accuracyLevel;
  if (kvFormat !== undefined) settings.kvFormat = kvFormat;
  if (threads !== undefined) settings.threads = threads;
  if (session_options !== undefined) settings.session_options = session_options;
  const open = { device: device as 'cpu', session_options: sessionOptions(settings) };
  if (typeof idOrDirectory !== 'string') {
    throw new ElasticCacheError(
      'invalid-option',
      `the model is ${shown(idOrDirectory)}; give its directory, or its id on the Hub (owner/name).`,
    );
  }
  if (options.revision !== undefined && typeof options.revision !== 'string') {
    throw new ElasticCacheError(
      'invalid-option',
      `revision is ${shown(options.revision)}; give a branch, a tag or a commit.`,
    );
  }
  if (options.progress_callback !== undefined && typeof options.progress_callback !== 'function') {
    throw new ElasticCacheError('invalid-option', 'progress_callback is no function; leave it out.');
  }
  const source = modelSource(idOrDirectory, options);

  const config = withDeviceConfig(await loadConfig(source), device);
  refuseHostileConfig(source.id, config);
  const { Model, textOnly } = modelClass(source.id, config);
  // transformers.js asks it for a method of its own.
  const own = typeof asked === 'object' && asked ? { ...asked } : asked;
  const dtype = own ?? (config['transformers.js_config']?.dtype as Dtype | undefined);
  const files = await modelFiles(source, config, textOnly, dtype, device);
  const openOptions = dtype === undefined ? open : { ...open, dtype };

  const { processor, tokenizer } = textOnly
    ? { processor: undefined, tokenizer: await loadTokenizer(source) }
    : await loadProcessor(source);
  if (!source.local) await fetchWeights(source, files.weights);
  const generation_config = await generationConfig(source);
  // What rewrites graphs is half of this library, and a page need not fetch it before it has a model.
  const { openDecoder } = await import('../runtime/open-decoder.js');
  const decoder = await openDecoder(await locationOf(source, files.decoder.file), settings);
  const session = new ElasticSession(decoder, ropeStages(config));
  const sessions: Record<string, Releasable> = { [files.decoder.session]: session };
  try {
    refuseOtherTokens(source, config, textOnly, files.decoder.file, decoder.signature.tokenInput);
    for (const name of files.others) sessions[name] = await openSession(source, config, name, openOptions);
    const model = withElasticCache(new Model(config, sessions, { generation_config }), session, tokenizer);
    return { model, processor, tokenizer, notes: decoder.notes };
  } catch (cause) {
    // Nobody else knows them, and each holds a model's memory.
    await Promise.allSettled(Object.values(sessions).map((each) => each.release()));
    throw cause;
  }
}

/** A class hands its decoder the one kind of new tokens or the other. */
function refuseOtherTokens(
  { id }: ModelSource,
  { model_type }: PretrainedConfig,
  textOnly: boolean,
  file: string,
  taken: TokenInput,
): void {
  if (textOnly === (taken === 'input_ids')) return;
  throw new ElasticCacheError(
    'unsupported-graph',
    textOnly
      ? `${id} is a model of text alone (${model_type}), and its decoder ${file} takes ${taken}, which no other part of it makes; export it with its embedding layer (without exclude_embeds).`
      : `${id} (${model_type}) reads images, and its decoder ${file} takes ${taken}, which leaves no place for them; export it without its embedding layer.`,
  );
}

async function loadTokenizer(source: ModelSource): Promise<LoadedModel['tokenizer']> {
  try {
    return await transformers.AutoTokenizer.from_pretrained(source.id, source);
  } catch (cause) {
    throw new ElasticCacheError(
      'missing-file',
      `The tokenizer of ${source.id} cannot be loaded; it needs tokenizer.json and tokenizer_config.json, both of them whole (${reasonOf(cause)})`,
      { cause },
    );
  }
}

async function loadProcessor(source: ModelSource): Promise<Pick<LoadedModel, 'processor' | 'tokenizer'>> {
  try {
    const processor = await transformers.AutoProcessor.from_pretrained(source.id, source);
    const tokenizer =
      processor.tokenizer ?? (await transformers.AutoTokenizer.from_pretrained(source.id, source));
    return { processor, tokenizer };
  } catch (cause) {
    throw new ElasticCacheError(
      'missing-file',
      `The processor of ${source.id} cannot be loaded; it needs preprocessor_config.json, tokenizer.json and tokenizer_config.json, each of them whole (${reasonOf(cause)})`,
      { cause },
    );
  }
}

async function loadConfig(source: ModelSource): Promise<PretrainedConfig> {
  try {
    return await transformers.AutoConfig.from_pretrained(source.id, source);
  } catch (cause) {
    // What the server says is clearer than what transformers.js makes of it.
    if (!isOffline(source)) await lookAt(source, 'config.json');
    const where = source.local
      ? 'it is not a valid config.json'
      : `check the id${source.revision === undefined ? '' : ', the revision'} and the connection`;
    throw new ElasticCacheError(
      'missing-file',
      `config.json of ${source.id} cannot be read; ${where} (${reasonOf(cause)})`,
      { cause },
    );
  }
}

/** The config with what it says for one device in force, as transformers.js does when it opens a session. */
function withDeviceConfig(config: PretrainedConfig, device: string): PretrainedConfig {
  const custom = config['transformers.js_config'];
  const own = custom?.device_config?.[device as 'cpu'];
  if (own) config['transformers.js_config'] = { ...custom, ...own };
  return config;
}
