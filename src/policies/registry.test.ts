import { describe, expect, it } from 'vitest';
import { ElasticCache } from '../elastic-cache.js';
import { createPolicy, describePolicy, policyNames } from './registry.js';

describe('registry', () => {
  it.each(policyNames)('makes %s by its name and describes it in one line', (name) => {
    expect(createPolicy(name).name).toBe(name);
    expect(describePolicy(name)).toMatch(/^[^\n]{10,90}[^.\n]$/);
  });

  it.each(['Elastic', '', 'toString', 'snapkv'])(
    'refuses the unknown policy "%s" and names the known ones',
    (name) => {
      expect(() => createPolicy(name)).toThrow(
        `policy "${name}" is unknown; choose one of ${policyNames.join(', ')}.`,
      );
      expect(() => createPolicy(name)).toThrow(expect.objectContaining({ code: 'unknown-policy' }));
    },
  );

  it.each([
    { startSize: -1 },
    { startSize: 1.5 },
    { endSize: 0 },
    { startSize: Number.NaN },
    { distance: 0 },
    { distance: -2.5 },
    { distance: Number.NaN },
  ])('refuses %j in every policy', (options) => {
    for (const name of policyNames) {
      expect(() => createPolicy(name, options)).toThrow(/^(startSize|endSize|distance) is [^\n]+\.$/);
      expect(() => createPolicy(name, options)).toThrow(expect.objectContaining({ code: 'invalid-option' }));
    }
  });
});

describe('ElasticCache', () => {
  it('is elastic with a fifth of the tokens unless told', () => {
    const cache = new ElasticCache();
    expect([cache.policy.name, cache.budget]).toEqual(['elastic', 0.2]);
  });

  it.each([0, 1.5, Number.NaN])('refuses a budget of %d', (budget) => {
    expect(() => new ElasticCache({ budget })).toThrow(expect.objectContaining({ code: 'invalid-budget' }));
  });
});
