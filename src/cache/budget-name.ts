import { ElasticCacheError } from '../errors.js';
import type { Budget } from './budget.js';

const FORMS =
  'give a share of the tokens above 0 and at most 1 such as 0.2, with the fewest that are held such as 0.2:128tokens, tokens such as 256tokens, or memory such as 64mb';
const UNITS = { kb: 1e3, mb: 1e6, gb: 1e9 };

/** A budget as tables name it and as the cache takes it. */
export interface NamedBudget {
  name: string;
  budget: Budget;
}

/**
 * `0.2`, `0.2:128tokens`, `256tokens` or `64mb`.
 * @throws ElasticCacheError 'invalid-budget'
 */
export function parseBudget(value: string): NamedBudget {
  const [first = '', second, ...more] = value.split(':');
  if (second === undefined) return parseOne(value);
  const [share, least] = [parseOne(first).budget, parseOne(second).budget];
  if (more.length > 0 || typeof share !== 'number' || typeof least === 'number' || !('tokens' in least)) {
    throw none(value);
  }
  return { name: `${share}:${least.tokens}tokens`, budget: { share, tokens: least.tokens } };
}

function parseOne(value: string): NamedBudget {
  const match = /^(\d*\.?\d+(?:e-?\d+)?)(tokens|kb|mb|gb)?$/i.exec(value.trim());
  const amount = match ? Number(match[1]) : Number.NaN;
  const unit = match?.[2]?.toLowerCase();
  // However it was typed: results are found again by it.
  const name = `${amount}${unit ?? ''}`;
  if (unit === undefined) {
    if (amount > 0 && amount <= 1) return { name, budget: amount };
  } else if (unit === 'tokens') {
    if (Number.isSafeInteger(amount) && amount > 0) return { name, budget: { tokens: amount } };
  } else if (amount > 0) {
    return { name, budget: { bytes: amount * UNITS[unit as keyof typeof UNITS] } };
  }
  throw none(value);
}

function none(value: string): ElasticCacheError {
  return new ElasticCacheError('invalid-budget', `budget "${value}" is none: ${FORMS}.`);
}
