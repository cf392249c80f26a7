import { open, realpath, stat } from 'node:fs/promises';
import { dirname, isAbsolute, join, relative, sep } from 'node:path';
import { ElasticCacheError } from '../errors.js';
import { subgraphsOf } from '../graph/onnx/attributes.js';
import { type Graph, graphOf, type Model, type Tensor } from '../graph/onnx/onnx.js';
import { externalDataOf } from '../graph/onnx/tensors.js';

/**
 * Makes the external weights of a model loadable from where they lie, and returns the directory that their
 * locations are now relative to.
 *
 * ONNX Runtime refuses a location that leaves that directory once links are followed, and a download cache
 * may be nothing but links into a store of blobs. So links are followed here, and the directory is the deepest one that
 * holds every file. The bytes themselves are neither read nor copied: ONNX Runtime maps the files.
 *
 * @param model changed in place: locations are rewritten
 * @param directory what the locations are relative to now
 * @throws ElasticCacheError `missing-file` when a file is not there, `invalid-model` when one ends before its last tensor or
 *   is named outside the model's directory
 */
export async function settleExternalWeights(model: Model, directory: string): Promise<string> {
  const tensors = [...externalTensors(graphOf(model))];
  const paths = new Map<string, string>();
  for (const [location, end] of bytesNeeded(model)) {
    paths.set(location, await existingFile(join(directory, location), end));
  }
  const root = commonDirectory([...paths.values()], await realpath(directory));
  for (const tensor of tensors) {
    const entry = tensor.externalData.find(({ key }) => key === 'location')!;
    entry.value = relative(root, paths.get(entry.value)!).split(sep).join('/');
  }
  return root;
}

/** Samples taken from each file of weights, and the bytes of one. */
const SAMPLES = 64;
const SAMPLE_BYTES = 256;

/**
 * Bytes here and there in the files of a model's external weights, enough to tell a model from another of the same graph.
 * @param folder what their locations are relative to
 */
export async function weightSamples(model: Model, folder: string): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for (const [location, end] of bytesNeeded(model)) {
    const file = await open(join(folder, location));
    try {
      for (let index = 0; index < SAMPLES; index++) {
        const bytes = new Uint8Array(SAMPLE_BYTES);
        await file.read(bytes, 0, SAMPLE_BYTES, Math.floor((index * end) / SAMPLES));
        parts.push(bytes);
      }
    } finally {
      await file.close();
    }
  }
  return Buffer.concat(parts);
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

/** A model may come from anywhere, and must not name any file of this machine as its weights. */
function refuseOutside({ name }: Tensor, location: string): void {
  if (location === '' || isAbsolute(location) || location.split(/[\\/]/).includes('..')) {
    throw new ElasticCacheError(
      'invalid-model',
      `Tensor "${name}" has its data in "${location}", which is no file in the model's directory: the model is damaged or not to be trusted.`,
    );
  }
}

async function existingFile(path: string, end: number): Promise<string> {
  const target = await realpath(path).catch((cause: unknown) => {
    throw new ElasticCacheError(
      'missing-file',
      `${path}, which holds weights of the model, is missing; fetch it into the same directory.`,
      { cause },
    );
  });
  const { size } = await stat(target);
  if (!(end <= size)) {
    throw new ElasticCacheError(
      'invalid-model',
      `${path} has ${size} bytes, but the model's weights reach to byte ${end}: the file is incomplete; fetch it again.`,
    );
  }
  return target;
}

function* externalTensors(graph: Graph): Generator<Tensor> {
  for (const tensor of graph.initializer) if (externalDataOf(tensor)) yield tensor;
  for (const node of graph.node) {
    for (const attribute of node.attribute) {
      if (attribute.t && externalDataOf(attribute.t)) yield attribute.t;
    }
    for (const inner of subgraphsOf(node)) yield* externalTensors(inner);
  }
}

function commonDirectory(files: readonly string[], fallback: string): string {
  const [first, ...others] = files.map((file) => dirname(file).split(sep));
  if (!first) return fallback;
  let shared = first.length;
  for (const parts of others) {
    let same = 0;
    while (same < shared && parts[same] === first[same]) same++;
    shared = same;
  }
  return first.slice(0, shared).join(sep) || sep;
}
