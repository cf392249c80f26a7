import { ElasticCacheError } from '../../errors.js';
import { createPolicy } from '../../policies/registry.js';
import { isPolicyFile } from './policy-file.js';

/** Of a command's options, those that are looked at together. */
interface Options {
  policy?: string;
  policies?: readonly string[];
  endSize?: number;
}

/**
 * Refuses an option that none of the policies asked for has a use for.
 * @throws ElasticCacheError 'invalid-option'
 */
export function refuseIdle({
  policy,
  policies = policy === undefined ? [] : [policy],
  endSize,
}: Options): void {
  if (endSize === undefined || policies.some(takesEndSize)) return;
  throw new ElasticCacheError(
    'invalid-option',
    `--end-size makes no difference to ${policies.join(', ')}; leave it out, or choose a policy that merges, such as elastic.`,
  );
}

function takesEndSize(spec: string): boolean {
  if (isPolicyFile(spec)) return false;
  try {
    createPolicy(spec, { endSize: 1 }, 'refused');
    return true;
  } catch {
    return false;
  }
}
