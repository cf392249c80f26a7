import { CHOICES, invalid, type PolicyOptions } from './options.js';

const NUMBERS = ['startSize', 'endSize', 'distance', 'window'];
const FLAGS = ['protectText', 'logCountBias'];
const NAMES = [...NUMBERS, ...FLAGS, ...Object.keys(CHOICES)];

/**
 * Takes a policy apart as it is typed: its name, or its name and options, `elastic:importance=mean:distance=-40`. Values are checked
 * when the policy is made.
 * @throws ElasticCacheError 'invalid-option' for an option that no policy has, or without a value
 */
export function parsePolicySpec(spec: string): { name: string; options: PolicyOptions } {
  const [name = '', ...settings] = spec.split(':');
  return { name, options: Object.fromEntries(settings.map((setting) => parseSetting(setting, spec))) };
}

function parseSetting(setting: string, spec: string): [string, number | boolean | string] {
  const [name = '', value = '', ...rest] = setting.split('=');
  if (!NAMES.includes(name)) {
    throw invalid(`policy "${spec}" sets "${name}", which is no option; choose among ${NAMES.join(', ')}.`);
  }
  if (value === '' || rest.length > 0) {
    throw invalid(`policy "${spec}" gives ${name} no value; write for example elastic:distance=-25.`);
  }
  if (NUMBERS.includes(name)) return [name, Number(value)];
  if (FLAGS.includes(name) && ['true', 'false'].includes(value)) return [name, value === 'true'];
  return [name, value];
}
