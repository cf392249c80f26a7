import { ElasticCacheError, reasonOf } from '../errors.js';
import type { Allowance, CachePolicy, Entries, PromptEdit, PromptView, SequencePolicy } from './policy.js';

const ATTENTION: readonly unknown[] = ['prefill', 'always', 'never'] satisfies CachePolicy['attention'][];

/** Returns a policy that came from anywhere, or throws ElasticCacheError 'invalid-policy' with what is missing or wrong in it. */
export function checkPolicy(policy: CachePolicy): CachePolicy {
  const { name, attention, minimum, window, begin } = Object(policy) as Partial<CachePolicy>;
  if (typeof name !== 'string' || name === '') {
    throw new ElasticCacheError(
      'invalid-policy',
      `${said(policy)} is no policy: it has no name; give an object with name, attention, minimum and begin().`,
    );
  }
  if (!ATTENTION.includes(attention)) {
    throw invalidPolicy(name, `attention is ${said(attention)}; it must be 'prefill', 'always' or 'never'`);
  }
  if (!Number.isSafeInteger(minimum) || minimum! < 0) {
    throw invalidPolicy(name, `minimum is ${said(minimum)}; it must be a whole number of entries from 0`);
  }
  if (window !== undefined && !(Number.isSafeInteger(window) && window > 0 && attention === 'prefill')) {
    throw invalidPolicy(
      name,
      `window is ${said(window)} with attention '${attention}'; it must be a whole number of tokens from 1, with attention 'prefill'`,
    );
  }
  if (typeof begin !== 'function') {
    throw invalidPolicy(name, 'it has no begin(layers), which makes the state of one sequence');
  }
  return policy;
}

/**
 * A new sequence of a policy, ours or a user's own, whose edits are checked before anything is done with them.
 *
 * Its methods throw ElasticCacheError 'invalid-policy' with the name of the policy and what it did: an edit that makes no sense, a slot that holds
 * nothing, evictions without end, or whatever the policy itself threw.
 */
export function checkedSequence(policy: CachePolicy, layers: number): SequencePolicy {
  const { name } = policy;
  const sequence = told(name, 'begin()', () => policy.begin(layers));
  for (const method of ['prefill', 'evict'] as const) {
    if (typeof sequence?.[method] === 'function') continue;
    throw invalidPolicy(
      name,
      `begin() returns no ${method}(); return one state for all layers of a sequence`,
    );
  }
  return {
    prefill(prompts) {
      const edits = told(name, 'prefill()', () => sequence.prefill(prompts));
      checkEdits(name, prompts, edits);
      return edits;
    },
    evict(entries, allowed, layer) {
      const slot = told(name, 'evict()', () => sequence.evict(entries, allowed, layer));
      checkSlot(name, slot, entries, allowed, layer);
      return slot;
    },
    added: (keys) => told(name, 'added()', () => sequence.added?.(keys)),
    observe: (entries, received) => told(name, 'observe()', () => sequence.observe?.(entries, received)),
  };
}

/** What a call to a policy returns; what it throws gets its name. */
function told<T>(name: string, method: string, call: () => T): T {
  try {
    return call();
  } catch (cause) {
    if (cause instanceof ElasticCacheError) throw cause;
    throw invalidPolicy(name, `${method} failed: ${reasonOf(cause)}`, cause);
  }
}

/** @param prompts [layers] what the policy was shown */
function checkEdits(name: string, prompts: readonly PromptView[], edits: readonly PromptEdit[]): void {
  if (!Array.isArray(edits) || edits.length !== prompts.length) {
    const returned = Array.isArray(edits) ? `${edits.length} edits` : said(edits);
    throw invalidPolicy(
      name,
      `prefill() returns ${returned} for ${prompts.length} layers; return one for each`,
    );
  }
  prompts.forEach(({ tokens }, layer) => {
    const fault = faultOf(edits[layer]!, tokens);
    if (fault) throw invalidPolicy(name, `prefill() of layer ${layer} ${fault}`);
  });
}

/** What is wrong with the edit of one layer of a prompt of `tokens`; undefined when nothing is. */
function faultOf(edit: PromptEdit, tokens: number): string | undefined {
  const { keep, from, into, weights } = Object(edit) as Partial<PromptEdit>;
  if (!(keep instanceof Int32Array)) return `returns ${said(keep)} for keep; return an Int32Array of tokens`;
  if (keep.length === 0) return 'keeps no token; keep one at least';
  const inside = (token: number) => token >= 0 && token < tokens;
  const strange = [keep, from, into]
    .find((named) => named?.every?.(inside) === false)
    ?.find((token) => !inside(token));
  if (strange !== undefined) return `names token ${strange} of a prompt of ${tokens}, counted from 0`;
  const at = keep.findIndex((token, index) => index > 0 && token <= keep[index - 1]!);
  if (at > 0)
    return `keeps token ${keep[at]} behind token ${keep[at - 1]}; keep is ascending, with each token once`;
  return mergeFaultOf({ keep, from, into }, tokens) ?? weightFaultOf(weights, tokens);
}

function mergeFaultOf({ keep, from, into }: Pick<PromptEdit, 'keep' | 'from' | 'into'>, tokens: number) {
  if (from === undefined && into === undefined) return undefined;
  if (!(from instanceof Int32Array && into instanceof Int32Array && from.length === into.length)) {
    return 'merges without an anchor for each token; return from and into as Int32Arrays of one length';
  }
  const kept = new Uint8Array(tokens);
  for (const token of keep) kept[token] = 1;
  const merged = new Uint8Array(tokens);
  for (const [index, token] of from.entries()) {
    if (merged[token]) return `merges token ${token} twice`;
    if (!kept[into[index]!]) return `merges token ${token} into token ${into[index]}, which it does not keep`;
    merged[token] = 1;
  }
  return undefined;
}

function weightFaultOf(weights: PromptEdit['weights'], tokens: number): string | undefined {
  if (weights === undefined) return undefined;
  if (!(weights instanceof Float64Array && weights.length === tokens)) {
    return `returns ${said(weights)} for weights; return a Float64Array with one for each of ${tokens} tokens`;
  }
  const at = weights.findIndex((weight) => !(weight >= 0 && weight < Number.POSITIVE_INFINITY));
  return at < 0 ? undefined : `gives token ${at} the weight ${weights[at]}; weights are numbers from 0`;
}

function checkSlot(name: string, slot: number, entries: Entries, allowed: Allowance, layer: number): void {
  if (slot === -1) return;
  if (!holds(entries, slot)) {
    const what = `evict() returns ${said(slot)} for layer ${layer}, where no entry is`;
    throw invalidPolicy(name, `${what}; return the slot of an entry, or -1 when nothing more has to go`);
  }
  // Ends evictions without end as well: each takes one entry.
  if (entries.length === 1) {
    const what = `evict() lets go of every entry of layer ${layer}, which may hold ${allowed.entries}`;
    throw invalidPolicy(name, `${what}; return -1 when nothing more has to go`);
  }
}

function holds(entries: Entries, slot: number): boolean {
  if (!Number.isInteger(slot) || slot < 0) return false;
  const before = entries.previous(slot);
  return before === -1 ? slot === entries.first : entries.next(before) === slot;
}

/** A value as a sentence names it. */
function said(value: unknown): string {
  if (ArrayBuffer.isView(value)) return `a ${value.constructor.name} of ${(value as Int32Array).length}`;
  if (typeof value === 'object' && value !== null)
    return `a value of class ${value.constructor?.name ?? 'null'}`;
  return String(value);
}

export function invalidPolicy(name: string, what: string, cause?: unknown): ElasticCacheError {
  return new ElasticCacheError('invalid-policy', `policy "${name}": ${what}.`, { cause });
}
