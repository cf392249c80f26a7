import { ElasticCacheError, reasonOf, shown } from '../errors.js';
import {
  type Allowance,
  type CachePolicy,
  type Entries,
  headsMayDiffer,
  type PolicyState,
  type SequencePolicy,
  type TurnEdit,
  type TurnView,
} from './policy.js';

const ATTENTION: readonly unknown[] = ['turn', 'always', 'never'] satisfies CachePolicy['attention'][];

/** Returns a policy that came from anywhere, or throws ElasticCacheError 'invalid-policy' with what is missing or wrong in it. */
export function checkPolicy(policy: CachePolicy): CachePolicy {
  const { name, attention, minimum, window, reread, peak, heads, layers, begin } = Object(
    policy,
  ) as Partial<CachePolicy>;
  const { turnMergedKeys, compactPositions } = Object(policy) as Partial<CachePolicy>;
  if (typeof name !== 'string' || name === '') {
    throw new ElasticCacheError(
      'invalid-policy',
      `${shown(policy)} is no policy: it has no name; give an object with name, attention, minimum and begin().`,
    );
  }
  if (!ATTENTION.includes(attention)) {
    throw invalidPolicy(name, `attention is ${shown(attention)}; it must be 'turn', 'always' or 'never'`);
  }
  if (!Number.isSafeInteger(minimum) || minimum! < 0) {
    throw invalidPolicy(name, `minimum is ${shown(minimum)}; it must be a whole number of entries from 0`);
  }
  if (window !== undefined && !(Number.isSafeInteger(window) && window > 0 && attention === 'turn')) {
    throw invalidPolicy(
      name,
      `window is ${shown(window)} with attention '${attention}'; it must be a whole number of tokens from 1, with attention 'turn'`,
    );
  }
  if (reread && (window !== undefined || attention !== 'turn')) {
    throw invalidPolicy(
      name,
      `reread is set with window ${shown(window)} and attention ${shown(attention)}; what a turn attends to when it is read again takes the place of both: attention 'turn' and no window`,
    );
  }
  if (peak && window === undefined && !reread) {
    throw invalidPolicy(name, 'peak is set without a window; give the number of last tokens to look at');
  }
  if (turnMergedKeys && compactPositions) {
    // What is held of an earlier turn no longer stands where the text says, and nobody knows how far it would have to be turned.
    throw invalidPolicy(
      name,
      'merged keys are turned by where tokens stand in the text, and compact positions rotate them by what was held; choose one of the two',
    );
  }
  if (heads !== undefined && heads !== 'shared' && heads !== 'each' && heads !== 'unequal') {
    throw invalidPolicy(name, `heads is ${shown(heads)}; it must be 'shared', 'each' or 'unequal'`);
  }
  if (layers !== undefined && layers !== 'equal' && layers !== 'unequal') {
    throw invalidPolicy(name, `layers is ${shown(layers)}; it must be 'equal' or 'unequal'`);
  }
  if (typeof begin !== 'function') {
    throw invalidPolicy(name, 'it has no begin(layers), which makes the state of one sequence');
  }
  return policy;
}

/**
 * A new sequence of a policy, ours or a user's own, whose edits are checked before anything is done with them.
 *
 * Its methods throw ElasticCacheError 'invalid-policy' with the name of the policy and what it did: an edit that makes no sense, a row that holds
 * nothing, evictions without end, or whatever the policy itself threw.
 */
export function checkedSequence(policy: CachePolicy, layers: number, saved?: PolicyState): SequencePolicy {
  const { name } = policy;
  /** Heads of a layer, as the last turn had them. */
  let heads = 1;
  const sequence = told(name, 'begin()', () => policy.begin(layers, saved));
  for (const method of ['compress', 'evict'] as const) {
    if (typeof sequence?.[method] === 'function') continue;
    throw invalidPolicy(
      name,
      `begin() returns no ${method}(); return one state for all layers of a sequence`,
    );
  }
  /** Entries that head 0 of a layer was left with, when the other heads come. */
  let left = 0;
  return {
    compress(views) {
      const edits = told(name, 'compress()', () => sequence.compress(views));
      heads = views[0]?.length ?? 1;
      checkEdits(name, views, edits, !headsMayDiffer(policy, heads));
      return edits;
    },
    evict(entries, allowed, layer, head) {
      const row = told(name, 'evict()', () => sequence.evict(entries, allowed, layer, head));
      checkRow(name, row, entries, allowed, layer);
      if (row === -1 && head === 0) left = entries.length;
      if (row === -1 && entries.length !== left && !headsMayDiffer(policy, heads)) {
        const what = `evict() leaves ${entries.length} entries in head ${head} of layer ${layer} and ${left} in head 0`;
        throw invalidPolicy(name, `${what}; every head of a layer keeps as many`);
      }
      return row;
    },
    added: (key) => told(name, 'added()', () => sequence.added?.(key)),
    observe: (entries, received) => told(name, 'observe()', () => sequence.observe?.(entries, received)),
    trimmed: (seen) => told(name, 'trimmed()', () => sequence.trimmed?.(seen)),
    ...(sequence.save && { save: () => told(name, 'save()', () => sequence.save!()) }),
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

type Layers<T> = readonly (readonly T[])[];

/** @param views [layers] of [heads] what the policy was shown */
function checkEdits(
  name: string,
  views: Layers<TurnView>,
  edits: Layers<TurnEdit>,
  equalHeads: boolean,
): void {
  checkCount(name, edits, views.length, 'layers');
  views.forEach((heads, layer) => {
    const own = edits[layer]!;
    checkCount(name, own, heads.length, `choices of layer ${layer}`);
    heads.forEach(({ tokens }, head) => {
      const fault = faultOf(own[head]!, tokens);
      if (fault) throw invalidPolicy(name, `compress() of layer ${layer} ${fault}`);
      const [first, count] = [own[0]!.keep.length, own[head]!.keep.length];
      if (count === first || !equalHeads) return;
      const what = `compress() of layer ${layer} keeps ${count} tokens in head ${head} and ${first} in head 0`;
      throw invalidPolicy(name, `${what}; every head of a layer keeps as many`);
    });
  });
}

function checkCount(name: string, edits: readonly unknown[], count: number, of: string): void {
  if (Array.isArray(edits) && edits.length === count) return;
  const returned = Array.isArray(edits) ? `${edits.length} edits` : shown(edits);
  throw invalidPolicy(
    name,
    `compress() returns ${returned} for ${count} ${of}; return an array of one for each`,
  );
}

/** What is wrong with one edit of a turn of `tokens` candidates; undefined when nothing is. */
function faultOf(edit: TurnEdit, tokens: number): string | undefined {
  const { keep, from, into, similar, weights } = Object(edit) as Partial<TurnEdit>;
  if (!(keep instanceof Int32Array)) return `returns ${shown(keep)} for keep; return an Int32Array of tokens`;
  if (keep.length === 0) return 'keeps no token; keep one at least';
  const inside = (token: number) => token >= 0 && token < tokens;
  const strange = [keep, from, into, similar?.anchors]
    .find((named) => named?.every?.(inside) === false)
    ?.find((token) => !inside(token));
  if (strange !== undefined) return `names token ${strange} of a turn of ${tokens}, counted from 0`;
  const at = keep.findIndex((token, index) => index > 0 && token <= keep[index - 1]!);
  if (at > 0)
    return `keeps token ${keep[at]} behind token ${keep[at - 1]}; keep is ascending, with each token once`;
  return (
    mergeFaultOf({ keep, from, into }, tokens) ??
    anchorFaultOf(keep, similar, tokens) ??
    weightFaultOf(weights, tokens)
  );
}

function anchorFaultOf(keep: Int32Array, similar: TurnEdit['similar'], tokens: number): string | undefined {
  if (similar === undefined) return undefined;
  if (!(similar.anchors instanceof Int32Array)) {
    return `returns ${shown(similar.anchors)} for similar.anchors; return an Int32Array of tokens that it keeps`;
  }
  const { start = 0 } = similar;
  if (!Number.isInteger(start) || start < 0 || start > tokens)
    return `returns ${shown(start)} for similar.start; return a token of the turn`;
  const kept = new Uint8Array(tokens);
  for (const token of keep) kept[token] = 1;
  const other = similar.anchors.find((token) => !kept[token]);
  return other === undefined ? undefined : `merges into token ${other}, which it does not keep`;
}

function mergeFaultOf({ keep, from, into }: Pick<TurnEdit, 'keep' | 'from' | 'into'>, tokens: number) {
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

function weightFaultOf(weights: TurnEdit['weights'], tokens: number): string | undefined {
  if (weights === undefined) return undefined;
  if (!(weights instanceof Float64Array && weights.length === tokens)) {
    return `returns ${shown(weights)} for weights; return a Float64Array with one for each of ${tokens} tokens`;
  }
  const at = weights.findIndex((weight) => !(weight >= 0 && weight < Number.POSITIVE_INFINITY));
  return at < 0 ? undefined : `gives token ${at} the weight ${weights[at]}; weights are numbers from 0`;
}

function checkRow(name: string, row: number, entries: Entries, allowed: Allowance, layer: number): void {
  if (row === -1) return;
  if (!holds(entries, row)) {
    const what = `evict() returns ${shown(row)} for layer ${layer}, where no entry is`;
    throw invalidPolicy(name, `${what}; return the row of an entry, or -1 when nothing more has to go`);
  }
  // Ends evictions without end as well: each takes one entry.
  if (entries.length === 1) {
    const what = `evict() lets go of every entry of layer ${layer}, which may hold ${allowed.entries}`;
    throw invalidPolicy(name, `${what}; return -1 when nothing more has to go`);
  }
}

function holds(entries: Entries, row: number): boolean {
  if (!Number.isInteger(row) || row < 0) return false;
  const before = entries.previous(row);
  return before === -1 ? row === entries.first : entries.next(before) === row;
}

/** A value as a sentence names it. */
export function invalidPolicy(name: string, what: string, cause?: unknown): ElasticCacheError {
  return new ElasticCacheError('invalid-policy', `policy "${name}": ${what}.`, { cause });
}
