import { openGraphFile } from '#platform/graph-file.js';
import { DEFAULT_DEVICE, InferenceSession, type SessionOptions } from '#platform/ort.js';
import { ElasticCacheError, reasonOf, shown } from '../errors.js';
import type { DecoderSignature, Target } from '../graph/decoder.js';
import { DataType, graphOf, serializeModel } from '../graph/onnx/onnx.js';
import { hasType } from '../graph/onnx/queries.js';
import { readSkeleton } from '../graph/onnx/skeleton.js';
import { type RewrittenDecoder, rewriteDecoder, type Trial } from '../graph/rewrite.js';
import { setAccuracyLevel } from '../graph/rewriting/accuracy-level.js';
import { withLogitsToKeep } from '../graph/rewriting/logits-to-keep.js';
import { KV_FORMATS, type KVFormat } from '../memory/rows/formats.js';
import type { GraphFile } from '../platform/graph-file.js';
import { isOnWebGpu } from '../platform/webgpu.js';
import { Decoder } from './decoder.js';
import { SimilarKeyFinder } from './keys/similar.js';
import { PEAKS, type PeakMemory } from './passes/reader.js';
import { type SessionSettings, sessionOptions } from './session-options.js';
import { wrongInPlace } from './try-in-place.js';

export interface DecoderSettings extends SessionSettings {
  /** New tokens of one pass at most, default 512: bounds the memory of a long prompt's attention scores. */
  chunk?: number;
  /**
   * 'prompt': a prompt is read whole, then compressed. 'bounded': it is compressed after each chunk, down to what is kept at its end, so that no more than that and one chunk is
   * ever held; what is dropped early was judged by what the chunk looks at, not the question. Default 'prompt'.
   */
  peak?: PeakMemory;
  /**
   * What inputs are rounded to where int4 weights are multiplied, if the file leaves it open: 1 float32, 2 float16, 3 bfloat16, 4 int8, which is the fastest on most CPUs. Default: the
   * file's own. A file without int4 weights, or one that says what it wants, is run as it is.
   */
  accuracyLevel?: 1 | 2 | 3 | 4;
  /** How keys and values are held: 'float32', 'float16' or 'int8'. Default: as the unmodified decoder holds them. */
  kvFormat?: KVFormat;
}

/**
 * Opens a decoder exported for transformers.js (`decoder_model_merged*.onnx`) with the cache outside the graph.
 *
 * The graph is rewritten in memory, a few kilobytes of it; the weights are taken from the original file, and nothing
 * is written anywhere.
 *
 * @param path the `.onnx` file, in a browser its address; external data lies beside it
 * @throws ElasticCacheError `missing-file`, `invalid-model` (damaged or incomplete), `unsupported-graph` (with the node and
 *   the reason), `invalid-option`
 */
export async function openDecoder(path: string, settings: DecoderSettings = {}): Promise<Decoder> {
  const { chunk = 512, accuracyLevel, kvFormat, peak = 'prompt', ...session } = settings;
  if (!(Number.isInteger(chunk) && chunk >= 1)) {
    throw new ElasticCacheError(
      'invalid-option',
      `chunk must be a whole number of tokens from 1, but is ${shown(chunk)}; leave it out for 512.`,
    );
  }
  if (kvFormat !== undefined && !KV_FORMATS.includes(kvFormat)) {
    throw new ElasticCacheError(
      'invalid-option',
      `kvFormat is ${shown(kvFormat)}; choose one of ${KV_FORMATS.join(', ')}, or leave it out for the model's own.`,
    );
  }
  if (!PEAKS.includes(peak)) {
    throw new ElasticCacheError(
      'invalid-option',
      `peak is ${shown(peak)}; choose one of ${PEAKS.join(', ')}, or leave it out for ${PEAKS[0]}.`,
    );
  }
  if (accuracyLevel !== undefined && ![1, 2, 3, 4].includes(accuracyLevel)) {
    throw new ElasticCacheError(
      'invalid-option',
      `accuracyLevel is ${String(accuracyLevel)}; it must be 1 (float32), 2 (float16), 3 (bfloat16) or 4 (int8), or left out for the file's own.`,
    );
  }
  const options = sessionOptions(session);
  const target = isOnWebGpu(options) ? 'gpu' : 'host';
  if (target === 'gpu' && kvFormat === 'int8') {
    throw new ElasticCacheError(
      'invalid-option',
      'kvFormat "int8" is for the host: WebGPU reads no numbers of 8 bits; choose "float16" or "float32", or leave it out for the model\'s own.',
    );
  }
  const file = await openGraphFile(path);
  let opened: InferenceSession;
  let decoder: DecoderSignature;
  let identity: string;
  let inHalf: boolean;
  let trials: readonly Trial[];
  try {
    const rewritten = await rewrittenFrom(path, file, target, kvFormat);
    ({ decoder, trials } = rewritten);
    inHalf = hasType(graphOf(rewritten.model), DataType.FLOAT16);
    if (accuracyLevel !== undefined) setAccuracyLevel(rewritten.model, accuracyLevel);
    const { samples, options: own } = await file.settle(rewritten.model);
    identity = await identityOf(rewritten.graph, samples);
    opened = await createSession(path, serializeModel(rewritten.model), withOwn(options, own));
  } finally {
    await file.close();
  }
  if (inHalf) await refuseHalf(path, opened);
  const { intraOpNumThreads } = options;
  const finder = new SimilarKeyFinder({
    logSeverityLevel: 4,
    ...(intraOpNumThreads !== undefined && { intraOpNumThreads }),
  });
  const wrong = opened.gpu && (await wrongInPlace(trials, options));
  const inPlace = opened.gpu !== undefined && trials.length > 0 && wrong === undefined;
  const notes = wrong === undefined ? [] : [notInPlace(wrong)];
  return new Decoder(opened, decoder, chunk, identity, finder, peak, inPlace, notes);
}

async function rewrittenFrom(
  path: string,
  { source, name }: GraphFile,
  target: Target,
  past: KVFormat | undefined,
): Promise<RewrittenDecoder & { graph: Uint8Array }> {
  try {
    const original = await readSkeleton(source, name);
    const graph = serializeModel(original);
    const rewritten = rewriteDecoder(withLogitsToKeep(original), { target, past });
    refuseOtherInputs(rewritten.decoder);
    return { ...rewritten, graph };
  } catch (cause) {
    if (!(cause instanceof ElasticCacheError)) throw cause;
    throw new ElasticCacheError(cause.code, `${path}: ${cause.message}`, { cause });
  }
}

/** Inputs of the original that a decoder is handed beside those of the contract. */
const KNOWN_INPUTS = ['attention_mask', 'num_logits_to_keep'];

function refuseOtherInputs({ otherInputs }: DecoderSignature): void {
  const unknown = otherInputs.find((name) => !KNOWN_INPUTS.includes(name));
  if (unknown === undefined) return;
  throw new ElasticCacheError(
    'unsupported-graph',
    `The decoder takes "${unknown}" beside embeddings, mask and positions, which only some families' classes make; choose a model whose decoder takes these alone.`,
  );
}

/** ONNX Runtime only finds out when it runs. */
async function refuseHalf(path: string, opened: InferenceSession): Promise<void> {
  if (!opened.gpu || opened.gpu.device.features.has('shader-f16')) return;
  await opened.release();
  throw new ElasticCacheError(
    'invalid-option',
    `${path} computes in half precision, which this GPU has not (shader-f16); load dtype "q4" or "fp32", or use device "${DEFAULT_DEVICE}".`,
  );
}

async function createSession(path: string, bytes: Uint8Array, options: SessionOptions) {
  try {
    return await InferenceSession.create(bytes, options);
  } catch (cause) {
    const reason = reasonOf(cause)
      .replaceAll(/\s*\n\s*/g, ' ')
      .trim()
      // Where in its own sources it found out.
      .replace(/^\/onnxruntime_src\/.* was (true|false)\. /, '');
    const device = options.executionProviders?.[0];
    if (cause instanceof ElasticCacheError) throw cause;
    if (typeof device === 'string' && device !== DEFAULT_DEVICE) {
      throw new ElasticCacheError(
        'invalid-option',
        `${path} cannot be opened on device "${device}", whose hardware or libraries this machine may lack (${reason}); use "${DEFAULT_DEVICE}", or install what ONNX Runtime needs for "${device}".`,
        { cause },
      );
    }
    throw new ElasticCacheError('invalid-model', `${path} cannot be opened by ONNX Runtime: ${reason}`, {
      cause,
    });
  }
}

/** @param by how far what a layer gives is off, of the largest number; NaN where it does not run */
function notInPlace(by: number): string {
  const finding = Number.isNaN(by) ? 'does not run' : `is off by ${(100 * by).toPrecision(2)}%`;
  return `ONNX Runtime's own attention ${finding} on this GPU, so steps attend in single operators, which are about twice as many.`;
}

/** Options with those that say where the weights are; of `extra.session` each keeps its own. */
function withOwn(options: SessionOptions, own: SessionOptions): SessionOptions {
  const [given, ours] = [options, own].map(({ extra }) => extra?.session as object | undefined);
  const extra = { ...options.extra, ...own.extra, session: { ...given, ...ours } };
  return { ...options, ...own, extra };
}

/** What tells a model from others, whatever it runs on: its graph as it came, with the places of its weights and the small ones among them, and samples of the large ones. */
async function identityOf(graph: Uint8Array, samples: Uint8Array): Promise<string> {
  const bytes = new Uint8Array(graph.length + samples.length);
  bytes.set(graph);
  bytes.set(samples, graph.length);
  const digest = await crypto.subtle.digest('SHA-256', bytes);
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
