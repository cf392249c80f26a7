import { type DataType, ModelRegistry, type PretrainedConfig } from '@huggingface/transformers';
import { memoryLeft } from '#platform/machine.js';
import { dropDamaged, findWeights } from '#platform/weights.js';
import { ElasticCacheError, shown } from '../../errors.js';
import type { ModelSource, WeightFile } from '../../platform/model-source.js';
import { sizeName } from '../../size-name.js';
import { familyOf } from '../families/registry.js';

/** Number format of the weights: one for all sessions, or one for each by the name of its file. */
export type Dtype = DataType | Record<string, DataType>;

/** Formats transformers.js has file names for. `auto` is not among them: it would leave open what runs. */
const DTYPES = ['fp32', 'fp16', 'q8', 'int8', 'uint8', 'q4', 'q4f16', 'bnb4', 'q2', 'q2f16', 'q1', 'q1f16'];

/** The ONNX files of a model. */
export interface ModelFiles {
  /** The session whose place our decoder takes, and its file relative to the model: `onnx/decoder_model_merged_q4.onnx`. */
  decoder: { session: string; file: string };
  /** Names of the other sessions. */
  others: string[];
  /** Everything under onnx/ that these sessions take. */
  weights: WeightFile[];
}

/**
 * The files that transformers.js would load for this model and `dtype`.
 * Throws `invalid-option` for a dtype or a session that does not exist, `unsupported-model` when the model has no decoder of the
 * kind we replace, `missing-file` with what there is instead, and `out-of-memory` when it is larger than what memory is left.
 */
export async function modelFiles(
  source: ModelSource,
  config: PretrainedConfig,
  textOnly: boolean,
  dtype: Dtype | undefined,
  device: string,
): Promise<ModelFiles> {
  checkDtypes(dtype);
  const files = await filesOf(source, config, textOnly, dtype, device);
  const graphs = files.filter((file) => file.endsWith('.onnx'));
  const suffixes = /(_(fp16|quantized|int8|uint8|q4f16|q4|bnb4|q2f16|q2|q1f16|q1))?\.onnx$/;
  const sessions = textOnly
    ? [TEXT_SESSION]
    : graphs.map((file) => file.slice('onnx/'.length).replace(suffixes, ''));
  const session = textOnly ? TEXT_SESSION : (familyOf(config.model_type).decoder ?? 'decoder_model_merged');
  const file = graphs[sessions.indexOf(session)];
  if (file === undefined) {
    throw new ElasticCacheError(
      'unsupported-model',
      `${source.id} (${config.model_type}) has no ${session} session; give a language or vision-language model in transformers.js layout.`,
    );
  }
  checkNames(dtype, sessions);
  const names = files.filter((name) => name.startsWith('onnx/'));
  await dropDamaged(source, graphs, names);
  const weights: WeightFile[] = [];
  for (const file of names) {
    const found = await findWeights(source, file);
    if (!found) throw await missing(source, config, file);
    weights.push(found);
  }
  await refuseTooLarge(source, config, weights);
  return { decoder: { session, file }, others: sessions.filter((other) => other !== session), weights };
}

/** The only session of a text model. */
const TEXT_SESSION = 'model';
/** What its file is called in models that were merged by Optimum, for transformers.js before version 3. */
const MERGED = 'decoder_model_merged';

/** The names of a model's files, relative to it, those it may lack among them. */
async function filesOf(
  source: ModelSource,
  config: PretrainedConfig,
  textOnly: boolean,
  dtype: Dtype | undefined,
  device: string,
): Promise<string[]> {
  const options = { config, ...(dtype === undefined ? {} : { dtype }), device: device as 'cpu' };
  const files = await ModelRegistry.get_model_files(source.id, options);
  if (!textOnly || (await hasGraphs(source, files))) return files;
  const merged = await ModelRegistry.get_model_files(source.id, { ...options, model_file_name: MERGED });
  return (await hasGraphs(source, merged)) ? merged : files;
}

async function hasGraphs(source: ModelSource, files: readonly string[]): Promise<boolean> {
  const graphs = files.filter((file) => file.endsWith('.onnx'));
  const found = await Promise.all(graphs.map((file) => findWeights(source, file)));
  return found.every((each) => each !== undefined);
}

async function refuseTooLarge(
  source: ModelSource,
  config: PretrainedConfig,
  weights: readonly WeightFile[],
): Promise<void> {
  const needed = weights.reduce((sum, { size }) => sum + (size ?? 0), 0);
  const left = memoryLeft();
  if (needed <= left) return;
  const dtypes = await availableDtypes(source, config);
  throw new ElasticCacheError(
    'out-of-memory',
    `${source.id} has ${sizeName(needed)} of weights and ${sizeName(left)} of memory are left; close other programs, or set dtype to a smaller one${dtypes.length > 0 ? ` (it has: ${dtypes.join(', ')})` : ''}.`,
  );
}

function checkDtypes(dtype: Dtype | undefined): void {
  const values = typeof dtype === 'object' ? Object.values(dtype) : dtype === undefined ? [] : [dtype];
  for (const value of values) {
    if (!DTYPES.includes(value)) {
      throw new ElasticCacheError(
        'invalid-option',
        `dtype ${shown(value)} does not exist; use one of: ${DTYPES.join(', ')}.`,
      );
    }
  }
}

function checkNames(dtype: Dtype | undefined, sessions: string[]): void {
  if (typeof dtype !== 'object') return;
  const unknown = Object.keys(dtype).find((name) => !sessions.includes(name));
  if (unknown === undefined) return;
  throw new ElasticCacheError(
    'invalid-option',
    `dtype names "${unknown}", which this model does not have; its sessions are: ${sessions.join(', ')}.`,
  );
}

async function missing(
  source: ModelSource,
  config: PretrainedConfig,
  file: string,
): Promise<ElasticCacheError> {
  const complete = await availableDtypes(source, config);
  const way =
    complete.length > 0 && file.endsWith('.onnx')
      ? `set dtype to one it has: ${complete.join(', ')}`
      : 'fetch or convert it again';
  return new ElasticCacheError('missing-file', `${source.id} has no ${file}; ${way}.`);
}

/** The dtypes of which a model has every file. */
function availableDtypes(source: ModelSource, config: PretrainedConfig): Promise<string[]> {
  const { revision, cache_dir, local_files_only } = source;
  return ModelRegistry.get_available_dtypes(source.id, {
    config,
    ...(revision === undefined ? {} : { revision }),
    ...(cache_dir === undefined ? {} : { cache_dir }),
    ...(local_files_only === undefined ? {} : { local_files_only }),
  });
}
