import { describe, expect, it } from 'vitest';
import { play } from '../../test/cache/play.js';
import { checkPolicy } from './checked-policy.js';
import { KVCache } from './kv-cache.js';
import { type CachePolicy, type Entries, keepAll, type PromptEdit, type SequencePolicy } from './policy.js';

const shape = { layers: 2, kvHeads: 2, headDim: 2, batch: 1 };

/** A policy of a user's own, wrong in one place. */
function mine(parts: Partial<SequencePolicy>): CachePolicy {
  return {
    name: 'mine',
    attention: 'never',
    minimum: 1,
    begin: () => ({
      prefill: (prompts) => prompts.map(({ tokens }) => keepAll(tokens)),
      evict: () => -1,
      ...parts,
    }),
  };
}

/** The same edit in every layer of a prompt of 10 tokens. */
const editing = (edit: unknown) => mine({ prefill: (prompts) => prompts.map(() => edit as PromptEdit) });
const evicting = (evict: (entries: Entries) => unknown) =>
  mine({ evict: (entries) => (entries.length > 5 ? (evict(entries) as number) : -1) });
const ints = (...numbers: number[]) => Int32Array.from(numbers);

function run(policy: CachePolicy): KVCache {
  const cache = new KVCache({ policy, budget: 0.5, ...shape });
  play(cache, { seed: 1, shape, turns: [[10], [1], [1]] });
  return cache;
}

const faults: [string, CachePolicy, string][] = [
  ['a layer without an edit', mine({ prefill: () => [] }), 'prefill() returns 0 edits for 2 layers'],
  ['no edits', mine({ prefill: () => undefined as never }), 'prefill() returns undefined for 2 layers'],
  ['no edit', editing(undefined), 'prefill() of layer 0 returns undefined for keep; return an Int32Array'],
  ['a list', editing({ keep: [1, 2] }), 'returns a value of class Array for keep'],
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
  ['keep below 0', editing({ keep: ints(-1, 3) }), 'names token -1 of a prompt of 10, counted from 0'],
  ['keep beyond the end', editing({ keep: ints(0, 10) }), 'names token 10 of a prompt of 10, counted from 0'],
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
    'names token 12 of a prompt of 10',
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
  ['a slot that is not there', evicting(() => 9999), 'evict() returns 9999 for layer 0'],
  ['a slot given up twice', evicting(() => 4), 'evict() returns 4 for layer 0, where no entry is'],
  [
    'evictions without end',
    mine({ evict: (entries) => entries.first }),
    'evict() lets go of every entry of layer 0, which may hold 5; return -1',
  ],
  [
    'an error of its own',
    mine({ prefill: () => (undefined as never as { x: never }).x }),
    "prefill() failed: Cannot read properties of undefined (reading 'x')",
  ],
  [
    'state without evict',
    { ...mine({}), begin: () => ({ prefill: () => [] }) as never },
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

  it('the cache is then empty, and serves again', () => {
    let wrong = true;
    const policy = mine({ evict: ({ length, first }) => (length <= 5 ? -1 : wrong ? 9999 : first) });
    const cache = new KVCache({ policy, budget: 0.5, ...shape });
    const setting = { seed: 1, shape, turns: [[10], [1]] };
    expect(() => play(cache, setting)).toThrow('evict() returns 9999');
    expect([cache.seen, cache.held(0)]).toEqual([0, 0]);
    wrong = false;
    play(cache, setting);
    expect([cache.seen, cache.held(0)]).toEqual([11, 5]);
  });

  it.each([
    [undefined, 'undefined is no policy'],
    ['h2o', 'h2o is no policy'],
    [
      { ...mine({}), attention: 'sometimes' },
      `policy "mine": attention is sometimes; it must be 'prefill', 'always' or 'never'`,
    ],
    [
      { ...mine({}), minimum: 0.5 },
      'policy "mine": minimum is 0.5; it must be a whole number of entries from 0',
    ],
    [{ ...mine({}), window: 8 }, `policy "mine": window is 8 with attention 'never'`],
    [{ ...mine({}), begin: undefined }, 'policy "mine": it has no begin(layers)'],
  ])('%j', (policy, message) => {
    expect(() => checkPolicy(policy as never)).toThrow(message);
  });
});
