import { ElasticCacheError } from '../../errors.js';
import { subgraphsOf } from './attributes.js';
import { type Graph, graphOf, type Model, type Tensor } from './onnx.js';
import { externalDataOf } from './tensors.js';

/** The tensors of a graph whose numbers lie in other files, those in its subgraphs too. */
export function* externalTensors(graph: Graph): Generator<Tensor> {
  for (const tensor of graph.initializer) if (externalDataOf(tensor)) yield tensor;
  for (const node of graph.node) {
    for (const attribute of node.attribute) {
      if (attribute.t && externalDataOf(attribute.t)) yield attribute.t;
    }
    for (const inner of subgraphsOf(node)) yield* externalTensors(inner);
  }
}

/**
 * How many bytes each file must have at least that a model's external weights lie in, by its location.
 * @throws ElasticCacheError `invalid-model` when one is named outside the model's directory
 */
export function bytesNeeded(model: Model): Map<string, number> {
  const needed = new Map<string, number>();
  for (const tensor of externalTensors(graphOf(model))) {
    const { location, offset, length } = externalDataOf(tensor)!;
    refuseOutside(tensor, location);
    needed.set(location, Math.max(needed.get(location) ?? 0, offset + Math.max(0, length)));
  }
  return needed;
}

/** A root, a drive or an address in front, whatever system the file was written on. */
const ABSOLUTE = /^([\\/]|[a-z][a-z\d+.-]*:)/i;

/** A model may come from anywhere, and must not name any file of this machine as its weights. */
function refuseOutside({ name }: Tensor, location: string): void {
  if (location === '' || ABSOLUTE.test(location) || location.split(/[\\/]/).includes('..')) {
    throw new ElasticCacheError(
      'invalid-model',
      `Tensor "${name}" has its data in "${location}", which is no file in the model's directory: the model is damaged or not to be trusted.`,
    );
  }
}

/** Samples taken from each file of weights, and the bytes of one. */
const SAMPLES = 64;
const SAMPLE_BYTES = 256;

/**
 * Bytes here and there in the files of a model's external weights, enough to tell a model from another of the same graph.
 * @param read gives bytes [offset, offset + length) of the file of a location
 */
export async function weightSamples(
  model: Model,
  read: (location: string, offset: number, length: number) => Promise<Uint8Array>,
): Promise<Uint8Array> {
  const samples: Uint8Array[] = [];
  for (const [location, end] of bytesNeeded(model)) {
    for (let index = 0; index < SAMPLES; index++) {
      const sample = new Uint8Array(SAMPLE_BYTES);
      sample.set(await read(location, Math.floor((index * end) / SAMPLES), SAMPLE_BYTES));
      samples.push(sample);
    }
  }
  const all = new Uint8Array(samples.length * SAMPLE_BYTES);
  for (const [index, sample] of samples.entries()) all.set(sample, index * SAMPLE_BYTES);
  return all;
}
