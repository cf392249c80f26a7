import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { ElasticCacheError } from '../../errors.js';

const demo = new URL('../../../demo-model/', import.meta.url);

/** The ten scenes that come with the package: `<name>.png` and what is on it in `<name>.json`. */
export const samplesDirectory = fileURLToPath(new URL('samples', demo));

/** The model asked for, or the small one that comes with the package. */
export function modelOrEmbedded(model: string | undefined): string {
  if (model !== undefined) return model;
  const directory = fileURLToPath(new URL('llava-scenes', demo));
  if (existsSync(directory)) return directory;
  throw new ElasticCacheError(
    'missing-file',
    `the model that comes with the package is not at ${directory}; install the package again or give --model.`,
  );
}
