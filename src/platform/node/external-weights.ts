import { realpath, stat } from 'node:fs/promises';
import { dirname, join, relative, sep } from 'node:path';
import { ElasticCacheError } from '../../errors.js';
import { bytesNeeded, externalTensors } from '../../graph/onnx/external-files.js';
import { graphOf, type Model } from '../../graph/onnx/onnx.js';

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
