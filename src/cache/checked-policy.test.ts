import { describe, expect, it } from 'vitest';
import { driven } from '../../test/cache/driven.js';
import { ofOne, play } from '../../test/cache/play.js';
import { KVCache } from '../memory/kv-cache.js';
import { checkPolicy } from './checked-policy.js';
import { type CachePolicy, type Entries, keepAll, type SequencePolicy, type TurnEdit } from './policy.js';

const shape = { layers: 2, kvHeads: 2, headDim: 2, batch: 1 };

/** A policy of a user's own, wrong in one place. */
function mine(parts: Partial<SequencePolicy>): CachePolicy {
  return {
    name: 'mine',
    attention: 'never',
    minimum: 1,
    begin: () => ({
      compress: (layers) => layers.map((views) => views.map(({ tokens }) => keepAll(tokens))),
      evict: () => -1,
      ...parts,
    }),
  };
}

/** The same edit in every layer of a turn of 10 tokens. */
const editing = (edit: unknown) => mine({ compress: (layers) => layers.map(() => [edit as TurnEdit]) });
/** The heads choose for themselves. */
const byHead = (policy: CachePolicy): CachePolicy => ({ ...policy, heads: 'each' });
const evicting = (evict: (entries: Entries) => unknown) =>
  mine({ evict: (entries) => (entries.length > 5 ? (evict(entries) as number) : -1) });
const ints = (...numbers: number[]) => Int32Array.from(numbers);

function run(policy: CachePolicy): KVCache {
  const cache = new KVCache({ policy, budget: 0.5, ...shape });
  play(driven(cache, shape), { seed: 1, shape, turns: ofOne([10], 'step', 'step') });
  return cache;
}

const faults: [string, CachePolicy, string][] = [
  ['a layer without an edit', mine({ compress: () => [] }), 'compress() returns 0 edits for 2 layers'],
  ['no edits', mine({ compress: () => undefined as never }), 'compress() returns undefined for 2 layers'],
  ['no edit', editing(undefined), 'compress() of layer 0 returns undefined for keep; return an Int32Array'],
  ['a list', editing({ keep: [1, 2] }), 'returns a list of 2 for keep'],
  ['keep that is empty', editing({ keep: ints() }), 'keeps no token; keep one at least'],
  [
    'keep that is unsorted',
    editing({ keep: ints(0, 7, 3) }),
    'keeps token 3 behind token 7; keep is ascending',
  ],
  [
    'keep that is doubled',
    editing({ keep: ints(0, 3, 3) }),
    'keeps token 3 behind token 3; keep is ascending',
  ],
  ['keep below 0', editing({ keep: ints(-1, 3) }), 'names token -1 of a turn of 10, counted from 0'],
  ['keep beyond the end', editing({ keep: ints(0, 10) }), 'names token 10 of a turn of 10, counted from 0'],
  [
    'merges without anchors',
    editing({ keep: ints(0), from: ints(1) }),
    'merges without an anchor for each token',
  ],
  [
    'a token merged twice',
    editing({ keep: ints(0), from: ints(1, 1), into: ints(0, 0) }),
    'merges token 1 twice',
  ],
  [
    'a merge into a token not kept',
    editing({ keep: ints(0), from: ints(1), into: ints(2) }),
    'merges token 1 into token 2, which it does not keep',
  ],
  [
    'merges of a token that is not there',
    editing({ keep: ints(0), from: ints(12), into: ints(0) }),
    'names token 12 of a turn of 10',
  ],
  [
    'anchors that are a list',
    editing({ keep: ints(0), similar: { anchors: [0] } }),
    'returns a list of 1 for similar.anchors',
  ],
  [
    'anchors that are not kept',
    editing({ keep: ints(0, 3), similar: { anchors: ints(0, 2) } }),
    'merges into token 2, which it does not keep',
  ],
  [
    'one edit for two heads that choose for themselves',
    byHead(editing(keepAll(10))),
    'compress() returns 1 edits for 2 choices of layer 0',
  ],
  [
    'heads that keep different numbers',
    byHead(mine({ compress: (layers) => layers.map(() => [{ keep: ints(0, 1) }, { keep: ints(0) }]) })),
    'compress() of layer 0 keeps 1 tokens in head 1 and 2 in head 0; every head of a layer keeps as many',
  ],
  [
    'heads that let different numbers go',
    byHead(mine({ evict: ({ length, first }, _allowed, _layer, head) => (length > 5 + head ? first : -1) })),
    'evict() leaves 6 entries in head 1 of layer 0 and 5 in head 0; every head of a layer keeps as many',
  ],
  [
    'weights of another length',
    editing({ keep: ints(0), weights: new Float64Array(3) }),
    'returns a Float64Array of 3 for weights',
  ],
  [
    'a weight that is no number',
    editing({ keep: ints(0), weights: new Float64Array(10).fill(Number.NaN) }),
    'gives token 0 the weight NaN',
  ],
  ['an eviction of NaN', evicting(() => Number.NaN), 'evict() returns NaN for layer 0, where no entry is'],
  [
    'an eviction of nothing',
    evicting(() => undefined),
    'evict() returns undefined for layer 0, where no entry is',
  ],
  ['an eviction of a part', evicting(() => 1.5), 'evict() returns 1.5 for layer 0'],
  ['an eviction below -1', evicting(() => -2), 'evict() returns -2 for layer 0'],
  ['a row that is not there', evicting(() => 9999), 'evict() returns 9999 for layer 0'],
  ['a row behind those in use', evicting(({ length }) => length), 'for layer 0, where no entry is'],
  [
    'evictions without end',
    mine({ evict: (entries) => entries.first }),
    'evict() lets go of every entry of layer 0, which may hold 5; return -1',
  ],
  [
    'an error of its own',
    mine({ compress: () => (undefined as never as { x: never }).x }),
    "compress() failed: Cannot read properties of undefined (reading 'x')",
  ],
  [
    'state without evict',
    { ...mine({}), begin: () => ({ compress: () => [] }) as never },
    'begin() returns no evict()',
  ],
];

describe('a policy that makes no sense is refused by its name and by what it did', () => {
  it.each(faults)('%s', (_, policy, message) => {
    const started = () => run(policy);
    expect(started).toThrow(expect.objectContaining({ code: 'invalid-policy' }));
    expect(started).toThrow('policy "mine": ');
    expect(started).toThrow(message);
  });

  it('after a step the cache is then empty, and serves again', () => {
    let wrong = true;
    const policy = mine({ evict: ({ length, first }) => (length <= 5 ? -1 : wrong ? 9999 : first) });
    const cache = new KVCache({ policy, budget: 0.5, ...shape });
    const setting = { seed: 1, shape, turns: ofOne([10], 'step') };
    expect(() => play(driven(cache, shape), setting)).toThrow('evict() returns 9999');
    expect([cache.seen, cache.held(0)]).toEqual([0, 0]);
    wrong = false;
    play(driven(cache, shape), setting);
    expect([cache.seen, cache.held(0)]).toEqual([11, 5]);
  });

  it.each([
    [undefined, 'undefined is no policy'],
    ['h2o', '"h2o" is no policy'],
    [
      { ...mine({}), attention: 'sometimes' },
      `policy "mine": attention is "sometimes"; it must be 'turn', 'always' or 'never'`,
    ],
    [
      { ...mine({}), minimum: 0.5 },
      'policy "mine": minimum is 0.5; it must be a whole number of entries from 0',
    ],
    [{ ...mine({}), window: 8 }, `policy "mine": window is 8 with attention 'never'`],
    [{ ...mine({}), attention: 'turn', peak: true }, 'policy "mine": peak is set without a window'],
    [
      { ...mine({}), turnMergedKeys: true, compactPositions: true },
      'policy "mine": merged keys are turned by where tokens stand in the text, and compact positions rotate them by what was held',
    ],
    [
      { ...mine({}), heads: 'some' },
      `policy "mine": heads is "some"; it must be 'shared', 'each' or 'unequal'`,
    ],
    [{ ...mine({}), begin: undefined }, 'policy "mine": it has no begin(layers)'],
  ])('%j', (policy, message) => {
    expect(() => checkPolicy(policy as never)).toThrow(message);
  });
});
