import { ElasticCacheError, shown } from '../errors.js';
import { refuseUnknown } from '../options.js';
import {
  contractNames,
  type DecoderSignature,
  type PastFormat,
  TARGETS,
  type Target,
  TOKEN_INPUTS,
  tokenInputOf,
  USE_ANOTHER_EXPORT,
  unsupported,
} from './decoder.js';
import { GraphBuilder, shapeOf } from './onnx/builder.js';
import { cloneModel, DataType, type Graph, graphOf, MICROSOFT, type Model, type Node } from './onnx/onnx.js';
import { GraphIndex, namesIn, removeDead, topologicalOrder, usedNames } from './onnx/queries.js';
import type { AttentionDescription, AttentionLayer } from './patterns/attention-layer.js';
import { cacheNamed, findCaches } from './patterns/parts/caches.js';
import { takeApart } from './patterns/take-apart.js';
import { addAttention } from './rewriting/attention/add-attention.js';
import { declareInPlace, inPlaceTakes, packedTakes } from './rewriting/attention/in-place.js';
import { Masks } from './rewriting/attention/masks.js';
import { type Trial, trialsOf } from './rewriting/attention/trial.js';
import { replaceCacheShapes } from './rewriting/cache-lengths.js';
import { inlineCacheBranch } from './rewriting/merged-if.js';
import { oneTokenOnly } from './rewriting/one-token-only.js';
import { chooseByTextLength } from './rewriting/text-length.js';

export type { DecoderLayer, DecoderSignature } from './decoder.js';
export type { Trial } from './rewriting/attention/trial.js';

export interface RewriteReport {
  /** How each layer attended in the original. */
  layers: AttentionDescription[];
  nodesBefore: number;
  nodesAfter: number;
  /** Inputs of the original that nothing needs any more. */
  removedInputs: string[];
}

/** The oldest operator set whose Split and ReduceSum take sizes and axes as inputs. */
const OLDEST_OPSET = 13;

/** The layers of a decoder, taken apart. Throws as `rewriteDecoder`. */
export function decoderLayers(model: Model): AttentionLayer[] {
  const index = new GraphIndex(graphOf(model));
  return findCaches(index).map((cache) => takeApart(index, cache));
}

/**
 * Turns a decoder with a cache in and a longer cache out (`past_key_values.*`, `present.*`) into one that reads the past
 * as input and gives only new rows, with the names and shapes of `contractNames`. Weights stay where they are; the
 * model passed in is left as it was.
 * @throws ElasticCacheError 'unsupported-graph' with the node's name and the reason; never a half-rewritten model.
 */
export function rewriteDecoder(original: Model, options: RewriteOptions = {}): RewrittenDecoder {
  refuseUnknown('rewriteDecoder', options, ['past', 'target']);
  const { past, target = 'host' } = options;
  if (!TARGETS.includes(target)) {
    throw new ElasticCacheError(
      'invalid-option',
      `target is ${shown(target)}; choose one of ${TARGETS.join(', ')}, or leave it out for ${TARGETS[0]}.`,
    );
  }
  const model = cloneModel(original);
  refuseOldOpset(model);
  const inputs = graphOf(model).input.map(({ name }) => name);
  const merged = inlineCacheBranch(model);
  try {
    return rewriteGraph(model, inputs, merged !== undefined, target, past);
  } catch (cause) {
    if (!merged || !(cause instanceof ElasticCacheError)) throw cause;
    throw new ElasticCacheError(
      cause.code,
      `Node "${merged.name}" (If) merges two decoders, and the one with a past cannot stand for both. ${cause.message}`,
      { cause },
    );
  }
}

export interface RewriteOptions {
  /** How past keys and values are fed; as the original takes them unless told. */
  readonly past?: PastFormat | undefined;
  /** What the graph is to run on; the host unless told. */
  readonly target?: Target | undefined;
}

export interface RewrittenDecoder {
  model: Model;
  decoder: DecoderSignature;
  report: RewriteReport;
  /** Of each kind of its layers that write in place, one by itself. */
  trials: Trial[];
}

/** @param traced whether the graph may have been traced with a past and one new token only */
function rewriteGraph(
  model: Model,
  inputs: readonly string[],
  traced: boolean,
  target: Target,
  wanted: PastFormat | undefined,
): RewrittenDecoder {
  const graph = graphOf(model);
  graph.node = topologicalOrder(graph);
  const layers = decoderLayers(model);
  refuseUnequalLayers(layers);
  refuseTakenNames(graph, layers);
  const nodesBefore = graph.node.length;
  const stockPast = stockPastOf(graph);
  const past = wanted ?? stockPast;

  const replaced = new Set(layers.flatMap((layer) => layer.replaces));
  graph.node = graph.node.filter((node) => !replaced.has(node));
  graph.input = graph.input.filter(({ name }) => !cacheNamed(name));
  graph.output = graph.output.filter(({ name }) => !cacheNamed(name));

  const kept = new Set(graph.node);

  const builder = new GraphBuilder(model);
  builder.importOpset(MICROSOFT, 1);
  replaceCacheShapes(builder, layers);
  const masks = new Masks(builder);
  const inPlace = new Set(layers.filter((layer) => inPlaceTakes(layer, target, past)));
  const asked = inPlace.size > 0 ? declareInPlace(builder, inPlace) : undefined;
  for (const layer of layers) addAttention(builder, layer, masks, target, past, asked);
  removeDead(graph);
  chooseByTextLength(builder, kept);
  removeDead(graph);
  graph.node = topologicalOrder(graph);
  refuseLeftovers(graph);
  if (traced) refuseOneToken(graph, layers, kept);

  return {
    model,
    decoder: { ...signature(graph, layers, inPlace, inputs), target, past, stockPast },
    trials: trialsOf(inPlace, model, past),
    report: {
      layers: layers.map((layer) => layer.description),
      nodesBefore,
      nodesAfter: graph.node.length,
      removedInputs: inputs.filter((name) => !graph.input.some((input) => input.name === name)),
    },
  };
}

function refuseOldOpset(model: Model): void {
  const opset = model.opsetImport.find((entry) => entry.domain === '' || entry.domain === 'ai.onnx');
  const version = Number(opset?.version ?? 1);
  if (version < OLDEST_OPSET) {
    throw unsupported(
      `The decoder uses ONNX operator set ${version}, ${OLDEST_OPSET} or newer is needed: export the model again.`,
    );
  }
}

/** A cache is one block of memory per layer, all of one shape. */
function refuseUnequalLayers(layers: readonly AttentionLayer[]): void {
  const shape = ({ kvHeads, headDim }: AttentionLayer) => `${kvHeads} key heads of ${headDim}`;
  const first = layers[0]!;
  const other = layers.find((layer) => shape(layer) !== shape(first));
  if (other) {
    throw unsupported(
      `Node "${other.description.node}" attends with ${shape(other)}, node "${first.description.node}" with ${shape(first)}: caches of different shapes are not supported; choose a model whose layers are alike.`,
    );
  }
}

function stockPastOf(graph: Graph): 'float32' | 'float16' {
  const half = graph.input.some(
    ({ name, type }) => /^past_key_values\./.test(name) && type?.tensorType?.elemType === DataType.FLOAT16,
  );
  return half ? 'float16' : 'float32';
}

function contractTensors(layers: readonly AttentionLayer[]): string[] {
  const { pastKey, pastValue, pastKeyScale, pastValueScale, pastBias, pastPosition } = contractNames;
  const { newKey, newValue, attention, peak, held, total, presentKey, presentValue } = contractNames;
  const inPlace = [held, total, presentKey, presentValue];
  const ofPast = [pastKey, pastValue, pastKeyScale, pastValueScale, pastBias, pastPosition];
  const perLayer = [...ofPast, ...inPlace, newKey, newValue, attention, peak];
  return [
    contractNames.newBias,
    contractNames.attentionQueries,
    contractNames.peakQueries,
    contractNames.newPosition,
    contractNames.textLength,
    contractNames.inPlace,
    contractNames.packed,
    contractNames.biased,
    ...layers.flatMap(({ index }) => perLayer.map((name) => name(index))),
  ];
}

function refuseTakenNames(graph: Graph, layers: readonly AttentionLayer[]): void {
  const taken = namesIn(graph);
  const clash = contractTensors(layers).find((name) => taken.has(name));
  if (clash)
    throw unsupported(
      `The decoder has a value named "${clash}" of its own: rename it and export the model again.`,
    );
}

/** What is left must need nothing that went away, and must not attend without a cache that we know. */
function refuseLeftovers(graph: Graph): void {
  const known = new Set([...graph.input, ...graph.initializer].map(({ name }) => name));
  for (const node of graph.node) for (const output of node.output) known.add(output);
  for (const node of graph.node) {
    const missing = [...usedNames(node)].find((name) => !known.has(name));
    if (missing !== undefined) {
      throw unsupported(
        `Node "${node.name}" (${node.opType}) needs "${missing}", which holds the whole cache and is not made any more: ${USE_ANOTHER_EXPORT}.`,
      );
    }
    if (attends(node)) {
      throw unsupported(
        `Node "${node.name}" (${node.opType}) attends without a cache of its own: layers that share a cache are not supported; ${USE_ANOTHER_EXPORT}.`,
      );
    }
  }
}

function refuseOneToken(graph: Graph, layers: readonly AttentionLayer[], nodes: ReadonlySet<Node>): void {
  const reason = oneTokenOnly(graph, layers, nodes);
  if (reason) throw unsupported(`It was traced for one token at a time: ${reason}; ${USE_ANOTHER_EXPORT}.`);
}

function attends({ opType, domain }: Node): boolean {
  const microsoft = [
    'GroupQueryAttention',
    'MultiHeadAttention',
    'Attention',
    'SparseAttention',
    'PagedAttention',
  ];
  return domain === MICROSOFT ? microsoft.includes(opType) : opType === 'Attention';
}

/** @param inputs those of the original */
function signature(
  graph: Graph,
  layers: readonly AttentionLayer[],
  inPlace: ReadonlySet<AttentionLayer>,
  inputs: readonly string[],
): Omit<DecoderSignature, 'target' | 'past' | 'stockPast'> {
  const tokenInput = tokenInputOf(graph) ?? TOKEN_INPUTS[0];
  const contract = new Set<string>([
    tokenInput,
    contractNames.positionIds,
    contractNames.logits,
    ...contractTensors(layers),
  ]);
  const others = (values: readonly { name: string }[]) =>
    values.map(({ name }) => name).filter((name) => !contract.has(name));
  const positions = graph.input.find((input) => input.name === contractNames.positionIds);
  const rank = positions && shapeOf(positions)?.length;
  const longest = Math.min(...layers.map(({ longestText = Number.POSITIVE_INFINITY }) => longestText));
  return {
    layers: layers.map((layer) => ({
      index: layer.index,
      queryHeads: layer.queryHeads,
      kvHeads: layer.kvHeads,
      headDim: layer.headDim,
      ...(layer.window === undefined ? {} : { window: layer.window }),
      ...(inPlace.has(layer) ? { inPlace: true } : {}),
      ...(inPlace.has(layer) && packedTakes(layer) ? { packs: true } : {}),
    })),
    tokenInput,
    positionIds: positions ? (rank === 3 ? 'three-batch-sequence' : 'batch-sequence') : 'absent',
    ...(positions && !inputs.includes(positions.name) ? { countsTokens: true } : {}),
    ...(Number.isFinite(longest) ? { longestText: longest } : {}),
    ...(graph.input.some(({ name }) => name === contractNames.textLength) ? { textLength: true } : {}),
    otherInputs: others(graph.input),
    otherOutputs: others(graph.output),
  };
}
