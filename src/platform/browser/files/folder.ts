import { ElasticCacheError } from '../../../errors.js';
import type { Folder } from '../../folder.js';

/** @throws ElasticCacheError 'invalid-option': a page has no folder of its own */
export async function openFolder(_path: string): Promise<Folder> {
  throw new ElasticCacheError(
    'invalid-option',
    'parkDir is for Node; in a browser, conversations are kept in memory alone.',
  );
}
