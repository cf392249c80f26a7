import { unknown } from '../options.js';
import { FLAGS, invalid, NUMBERS, OPTIONS, type PolicyOptions } from './options.js';

const WHOLE = /^-?\d+$/;

/**
 * Takes a policy apart as it is typed: its name, or its name and options, `elastic:importance=mean:distance=-40`. Values are checked
 * when the policy is made.
 * @throws ElasticCacheError 'invalid-option' for an option that no policy has, without a value, or given twice
 */
export function parsePolicySpec(spec: string): { name: string; options: PolicyOptions } {
  const [name = '', ...settings] = spec.split(':');
  const options = settings.map((setting) => parseSetting(setting, spec));
  const names = options.map(([option]) => option);
  const twice = names.find((option, index) => names.indexOf(option) < index);
  if (twice !== undefined) throw invalid(`policy "${spec}" sets ${twice} twice; give it once.`);
  return { name, options: Object.fromEntries(options) };
}

function parseSetting(setting: string, spec: string): [string, number | boolean | string] {
  const [name = '', value = '', ...rest] = setting.split('=');
  if (!isOne(OPTIONS, name)) {
    throw unknown(
      'invalid-option',
      `policy "${spec}" sets "${name}", which is no option`,
      name,
      OPTIONS,
      'choose among',
    );
  }
  if (value === '' || rest.length > 0) {
    throw invalid(`policy "${spec}" gives ${name} no value; write for example elastic:distance=-25.`);
  }
  if (isOne(NUMBERS, name) && WHOLE.test(value)) return [name, Number(value)];
  if (isOne(FLAGS, name) && ['true', 'false'].includes(value)) return [name, value === 'true'];
  return [name, value];
}

function isOne(names: readonly string[], name: string): boolean {
  return names.includes(name);
}
