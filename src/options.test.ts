import { describe, expect, it } from 'vitest';
import { ElasticCache } from './elastic-cache.js';
import { loadElastic } from './models/load.js';
import { closest, refuseUnknown } from './options.js';
import { createPolicy } from './policies/registry.js';

describe('options that do not exist', () => {
  it.each<[() => unknown, RegExp]>([
    [
      () => new ElasticCache({ budjet: 0.1 } as object),
      /ElasticCache has no option "budjet"; .* Did you mean "budget"\?$/,
    ],
    [() => new ElasticCache('0.2' as unknown as object), /takes its options as an object/],
    [() => new ElasticCache(null as unknown as object), /takes its options as an object/],
    [() => createPolicy('elastc'), /policy "elastc" is unknown; .* Did you mean "elastic"\?$/],
    [() => createPolicy('elastic:distnace=-4'), /sets "distnace", .* Did you mean "distance"\?$/],
    [() => refuseUnknown('f', { xyz: 1 }, ['name']), /f has no option "xyz"; it takes name\.$/],
  ])('%s are refused', (make, message) => {
    expect(make).toThrow(message);
  });

  it('are refused before a model is looked for', async () => {
    await expect(loadElastic('nowhere', { dtypes: 'q4' } as object)).rejects.toThrow(
      /Did you mean "dtype"\?$/,
    );
  });
});

it('a name is meant where a slip of the hand parts them', () => {
  const known = ['budget', 'policy', 'max_new_tokens', 'h2o'];
  expect(['bugdet', 'Policy', 'maxNewTokens', 'budgets', 'h20'].map((name) => closest(name, known))).toEqual([
    'budget',
    'policy',
    'max_new_tokens',
    'budget',
    'h2o',
  ]);
  expect(['', 'x', 'layers', 'polite words'].map((name) => closest(name, known))).toEqual(
    Array(4).fill(undefined),
  );
});
