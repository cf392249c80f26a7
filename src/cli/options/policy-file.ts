import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { checkPolicy } from '../../cache/checked-policy.js';
import type { CachePolicy } from '../../cache/policy.js';
import { ElasticCacheError, reasonOf } from '../../errors.js';
import { createPolicy } from '../../policies/registry.js';

/** A path as policies are typed, with options of its own or without: `./mine.js`, `../mine.mjs:window=8`. */
const FILE = /^(.+\.[cm]?[jt]s)((?::[^:]*)*)$/;

export function isPolicyFile(spec: string): boolean {
  return FILE.test(spec);
}

/**
 * A policy as it was typed: one of ours by its name, or one from a file. A file's default export is a policy, or a function that makes one of options.
 * @param endSize as for `createPolicy()`; of no use to a file
 * @throws ElasticCacheError 'unknown-policy', 'invalid-option', 'missing-file' or 'invalid-policy'
 */
export async function policyOf(spec: string, endSize?: number): Promise<CachePolicy> {
  const [, path, settings] = FILE.exec(spec) ?? [];
  if (path === undefined) return createPolicy(spec, { endSize });
  const text = await readFile(path).catch((cause: unknown) => {
    throw new ElasticCacheError('missing-file', `policy ${path} cannot be opened; check the path.`, {
      cause,
    });
  });
  const options = optionsIn(spec, settings ?? '');
  const policy = checkPolicy(await exported(path, options));
  // A name by which results are found again, and no other state of the file is taken for this one.
  const state = createHash('sha256').update(text).digest('hex').slice(0, 8);
  return {
    ...policy,
    begin: (layers) => policy.begin(layers),
    name: `${basename(path)}@${state}${settings}`,
  };
}

async function exported(path: string, options: Record<string, unknown> | undefined): Promise<CachePolicy> {
  const module = await import(pathToFileURL(resolve(path)).href).catch((cause: unknown) => {
    throw new ElasticCacheError('invalid-policy', `policy ${path} cannot be loaded (${firstLine(cause)}).`, {
      cause,
    });
  });
  const made: unknown = module.default;
  if (made === undefined) {
    throw new ElasticCacheError(
      'invalid-policy',
      `policy ${path} has no default export; export a policy, or a function that makes one: export default { name, ... }.`,
    );
  }
  if (typeof made !== 'function') {
    if (options === undefined) return made as CachePolicy;
    throw new ElasticCacheError(
      'invalid-option',
      `policy ${path} takes no options: it exports a policy and no function that makes one.`,
    );
  }
  try {
    return made(options ?? {}) as CachePolicy;
  } catch (cause) {
    if (cause instanceof ElasticCacheError) throw cause;
    throw new ElasticCacheError('invalid-policy', `policy ${path} cannot be made (${firstLine(cause)}).`, {
      cause,
    });
  }
}

/** `:window=8:deep=true` as an object; undefined where there is nothing. */
function optionsIn(spec: string, settings: string): Record<string, unknown> | undefined {
  if (settings === '') return undefined;
  const pairs = settings
    .slice(1)
    .split(':')
    .map((setting) => {
      const [name, value, ...rest] = setting.split('=');
      if (name && value && rest.length === 0) return [name, optionValue(value)];
      throw new ElasticCacheError(
        'invalid-option',
        `policy "${spec}" has "${setting}" where an option is; write for example ./mine.js:window=8.`,
      );
    });
  return Object.fromEntries(pairs);
}

function optionValue(typed: string): number | boolean | string {
  if (typed === 'true' || typed === 'false') return typed === 'true';
  const number = Number(typed);
  return Number.isFinite(number) ? number : typed;
}

function firstLine(cause: unknown): string {
  return reasonOf(cause).split('\n', 1)[0]!;
}
