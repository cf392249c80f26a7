import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { ElasticCacheError, shown } from '../errors.js';

const demo = new URL('../../demo-model/', import.meta.url);

/**
 * The directory of the small vision-language model that comes with the package: it knows drawn scenes and nothing else.
 * @throws ElasticCacheError 'missing-file' when it was not installed
 */
export function embeddedModel(): string {
  return inPackage('llava-scenes');
}

/**
 * The path of one of the ten pictures that come with the package; what is on it stands beside it, in `.json`.
 * @param scene from 1 to 10
 * @throws ElasticCacheError 'invalid-option', 'missing-file'
 */
export function embeddedImage(scene: number): string {
  if (!(Number.isInteger(scene) && scene >= 1 && scene <= 10)) {
    throw new ElasticCacheError(
      'invalid-option',
      `there is no scene ${shown(scene)}; choose one from 1 to 10.`,
    );
  }
  return inPackage(`samples/${String(scene).padStart(2, '0')}.png`);
}

function inPackage(name: string): string {
  const path = fileURLToPath(new URL(name, demo));
  if (existsSync(path)) return path;
  throw new ElasticCacheError('missing-file', `${path} should have come with the package; install it again.`);
}
