import { optionsIn } from '../../test/cache/play.js';
import { policyCases } from '../../test/policies/conformance.js';
import { isPreset } from './presets.js';
import { createPolicy, policyNames } from './registry.js';

const asReleased = 'holds what the released code holds';

const sharedBudget = { 'equal layers': 'shares one budget between the layers' };

const without: Record<string, Parameters<typeof policyCases>[2]> = {
  full: { 'exact budget': 'ignores the budget' },
  'elastic-reference': {
    'exact budget': asReleased,
    prefix: 'removes the first entry when the prompt was not compressed, as released',
    newest: 'a fixed point beyond the end takes the newest entry',
  },
  'h2o-reference': {
    'exact budget': asReleased,
    prefix: 'protects nothing at the prompt, as released',
    newest: 'a prefix longer than the entries held leaves nothing else to remove',
  },
  'local-reference': {
    'exact budget': asReleased,
    prefix: 'rounds to fewer entries than the prefix, as released',
    newest: 'a budget smaller than the prefix removes everything behind it',
  },
  pyramidkv: sharedBudget,
  prefixkv: sharedBudget,
  'elastic-plus': sharedBudget,
};

// The ablations are elastic with one option changed: elastic-options.test.ts plays all combinations.
for (const name of policyNames.filter((name) => !isPreset(name) || name === 'elastic-novelty')) {
  policyCases(name, (options) => createPolicy(name, optionsIn(options)), without[name]);
}
