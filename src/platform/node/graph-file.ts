import { basename, dirname, join } from 'node:path';
import { weightSamples } from '../../graph/onnx/external-files.js';
import type { Model } from '../../graph/onnx/onnx.js';
import type { GraphFile, Settled } from '../graph-file.js';
import { settleExternalWeights } from './external-weights.js';
import { FileSource } from './files/file-source.js';

/** Opens a graph by its path; the files of its weights lie beside it. Throws `missing-file`. */
export async function openGraphFile(path: string): Promise<GraphFile> {
  const source = await FileSource.open(path);
  return {
    name: basename(path),
    source,
    settle: (model) => settle(model, dirname(path)),
    close: () => source.close(),
  };
}

/** The weights are mapped from their files by ONNX Runtime. */
async function settle(model: Model, directory: string): Promise<Settled> {
  const folder = await settleExternalWeights(model, directory);
  const files = new Map<string, FileSource>();
  try {
    const samples = await weightSamples(model, async (location, offset, length) => {
      const file = files.get(location) ?? (await FileSource.open(join(folder, location)));
      files.set(location, file);
      return file.read(offset, length);
    });
    // A model from bytes has no place of its own; this tells ONNX Runtime where its external data lies.
    const session = { model_external_initializers_file_folder_path: folder };
    return { samples, options: { extra: { session } } };
  } finally {
    await Promise.all(Array.from(files.values(), (file) => file.close()));
  }
}
