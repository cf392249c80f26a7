import { describe, expect, it } from 'vitest';
import { ElasticCache } from '../elastic-cache.js';
import { createPolicy, describePolicy, policyNames } from './registry.js';

describe('registry', () => {
  it.each(policyNames)('makes %s by its name and describes it in one line', (name) => {
    expect(createPolicy(name).name).toBe(name);
    expect(describePolicy(name)).toMatch(/^[^\n]{10,90}[^.\n]$/);
  });

  it.each(['Elastic', '', 'toString', 'elastic '])(
    'refuses the unknown policy "%s" and names the known ones',
    (name) => {
      expect(() => createPolicy(name)).toThrow(
        `policy "${name}" is unknown; choose one of ${policyNames.join(', ')}.`,
      );
      expect(() => createPolicy(name)).toThrow(expect.objectContaining({ code: 'unknown-policy' }));
    },
  );

  it('makes a cache of a policy that is an object, whose options are its own', () => {
    const policy = createPolicy('h2o', { startSize: 4 });
    expect(new ElasticCache({ policy, budget: 0.5 }).policy).toBe(policy);
    expect(() => new ElasticCache({ policy, startSize: 2 })).toThrow(
      'startSize is for policies by name, and policy is an object; give it to what makes that object, such as createPolicy().',
    );
    expect(() => new ElasticCache({ policy: {} as never })).toThrow(
      expect.objectContaining({ code: 'invalid-policy' }),
    );
  });

  it.each([
    { startSize: -1 },
    { startSize: 1.5 },
    { endSize: 0 },
    { startSize: Number.NaN },
    { distance: 0 },
    { distance: -2.5 },
    { distance: Number.NaN },
    { window: 0 },
    { importance: 'most' as never },
    { merging: 'Mean' as never },
    { protectText: 'yes' as never },
  ])('refuses %j in every policy', (options) => {
    for (const name of policyNames) {
      expect(() => createPolicy(name, options)).toThrow(
        /^(startSize|endSize|distance|window|importance|merging|protectText) is [^\n]+\.$/,
      );
      expect(() => createPolicy(name, options)).toThrow(expect.objectContaining({ code: 'invalid-option' }));
    }
  });
});

describe('a policy named with its options', () => {
  it('is that policy with those options, under the name that was typed', () => {
    const policy = createPolicy('elastic:importance=window:window=9:startSize=3:logCountBias=true', {
      window: 4,
      endSize: 2,
    });
    expect(policy).toMatchObject({ minimum: 5, window: 9, logCountBias: 1 });
    expect(policy.name).toBe('elastic:importance=window:window=9:startSize=3:logCountBias=true');
  });

  it('changes a preset', () => {
    expect(createPolicy('elastic-novelty')).toMatchObject({ needsKeys: true });
    expect(createPolicy('elastic-novelty:protectText=true')).toMatchObject({
      needsImage: true,
      needsKeys: true,
    });
    expect(createPolicy('elastic-novelty', { novelty: undefined })).toMatchObject({ needsKeys: true });
  });

  it.each([
    ['elastic:colour=red', /sets "colour", which is no option; choose among startSize, /],
    ['elastic:window', /gives window no value/],
    ['elastic:window=', /gives window no value/],
    ['elastic:window=1=2', /gives window no value/],
    ['elastic:window=many', /window is "many"; it must be a whole number/],
    ['elastic:startSize= ', /startSize is " "; it must be a whole number/],
    ['elastic:window=0x10', /window is "0x10"; it must be a whole number/],
    ['elastic:window=9:window=10', /sets window twice/],
    ['local:importance=mean', /sets importance, which makes no difference to it; it takes startSize\./],
    ['full:startSize=9', /sets startSize, which makes no difference to it; it takes no options\./],
    [
      'elastic:window=8',
      /sets window, which makes no difference to it; it takes startSize, endSize, distance, novelty/,
    ],
    ['elastic-plus:distance=-3', /sets distance, which/],
    ['elastic-novelty:distance=-3', /sets distance, which/],
    ['elastic-novelty:layerBudgets=adaptive', /sets layerBudgets, which/],
    ['elastic:kernel=5', /sets kernel, which/],
    ['elastic:merging=similar:mergedKeys=turned', /sets mergedKeys, which/],
    ['elastic-plus:selection=shared', /sets selection, which/],
    ['elastic-plus:layerBudgets=adaptive', /does not do; choose one of pool, uniform/],
    ['elastic-plus:merging=mean', /does not do; choose one of similar, none/],
    ['elastic-plus:kernel=4', /kernel is 4; it must be an odd number/],
    ['elastic-evict:logCountBias=true', /sets logCountBias, which/],
    ['elastic:merging=none:mergedKeys=turned', /sets mergedKeys, which/],
    ['elastic:protectText=1', /protectText is "1"; it must be true or false/],
    ['elastic:merging=all', /merging is "all"; choose one of mean, weighted, none/],
  ])('refuses %s in one sentence', (spec, message) => {
    expect(() => createPolicy(spec)).toThrow(message);
    expect(() => createPolicy(spec)).toThrow(expect.objectContaining({ code: 'invalid-option' }));
  });
});

describe('ElasticCache', () => {
  it('is elastic-plus with a fifth of the tokens, but 128 at least, unless told', () => {
    const cache = new ElasticCache();
    expect([cache.policy.name, cache.budget]).toEqual(['elastic-plus', { share: 0.2, tokens: 128 }]);
  });

  it('refuses options that its policy has no use for', () => {
    expect(() => new ElasticCache({ policy: 'snapkv', merging: 'none' })).toThrow(
      'policy "snapkv" sets merging, which makes no difference to it; it takes startSize, distance, window.',
    );
    expect(new ElasticCache({ policy: 'elastic', merging: 'none' }).policy.name).toBe('elastic');
  });

  it.each([0, 1.5, Number.NaN])('refuses a budget of %d', (budget) => {
    expect(() => new ElasticCache({ budget })).toThrow(expect.objectContaining({ code: 'invalid-budget' }));
  });
});
