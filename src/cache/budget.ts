import { ElasticCacheError, shown } from '../errors.js';
import type { Allowance } from './policy.js';

/**
 * A fraction of the tokens seen (0 to 1], such a share but at least so many entries per layer, a number of entries per layer, or bytes of keys and values over all layers and rows.
 */
export type Budget =
  | number
  | { readonly share: number; readonly tokens: number }
  | { readonly tokens: number }
  | { readonly bytes: number };

/** What is held unless told. A fifth of a short question and its answer is too few tokens to say anything by: what is short is held whole. */
export const DEFAULT_BUDGET = { share: 0.2, tokens: 128 } as const satisfies Budget;

/** @throws ElasticCacheError 'invalid-budget' */
export function checkBudget(budget: Budget): Budget {
  if (typeof budget === 'number') {
    if (budget > 0 && budget <= 1) return budget;
    throw invalid(
      `budget ${budget} is not a fraction above 0 and at most 1; give for example 0.2, { tokens: 256 } or { bytes: 64e6 }.`,
    );
  }
  if (typeof budget !== 'object' || budget === null) {
    throw invalid(
      `budget ${shown(budget)} is not a number; give for example 0.2, { tokens: 256 } or { bytes: 64e6 }.`,
    );
  }
  const { share, tokens, bytes } = budget as { share?: number; tokens?: number; bytes?: number };
  if (share !== undefined && !(share > 0 && share <= 1 && bytes === undefined && tokens !== undefined)) {
    throw invalid(
      `budget with share ${shown(share)} must be a fraction above 0 and at most 1 and the tokens that are held at least, for example { share: 0.2, tokens: 128 }.`,
    );
  }
  if ((tokens === undefined) === (bytes === undefined)) {
    throw invalid('budget must name either tokens or bytes, for example { tokens: 256 } or { bytes: 64e6 }.');
  }
  if (tokens !== undefined && !(Number.isSafeInteger(tokens) && tokens > 0)) {
    throw invalid(`budget { tokens: ${shown(tokens)} } must be a whole number above 0.`);
  }
  if (bytes !== undefined && !(Number.isFinite(bytes) && bytes > 0)) {
    throw invalid(`budget { bytes: ${shown(bytes)} } must be a number above 0.`);
  }
  return budget;
}

/**
 * How many entries a layer may hold after `seen` tokens.
 * @param bytesPerEntry what one entry costs over all layers and rows
 * @param ahead tokens that will be seen in the same turn: what may be held after all of them may be held now
 */
export function allowance(
  budget: Budget,
  seen: number,
  bytesPerEntry: number,
  minimum: number,
  ahead = 0,
): Allowance {
  const all = seen + ahead;
  const share = shareOf(budget, all) ?? Math.min(all, largestHeld(budget, bytesPerEntry));
  return { share, entries: Math.min(seen, Math.max(minimum, Math.floor(share))) };
}

/** The entries of a budget that is a share of the tokens. */
function shareOf(budget: Budget, tokens: number): number | undefined {
  if (typeof budget === 'number') return budget * tokens;
  return 'share' in budget ? Math.max(budget.share * tokens, Math.min(tokens, budget.tokens)) : undefined;
}

/** The number of entries a fixed budget never exceeds; Infinity for a share. */
export function largestHeld(budget: Budget, bytesPerEntry: number): number {
  if (typeof budget === 'number' || 'share' in budget) return Number.POSITIVE_INFINITY;
  return 'tokens' in budget ? budget.tokens : Math.floor(budget.bytes / bytesPerEntry);
}

/** @throws ElasticCacheError 'invalid-budget' when a budget in bytes is less than one entry */
export function checkBudgetHoldsAnEntry(budget: Budget, bytesPerEntry: number): void {
  if (largestHeld(budget, bytesPerEntry) >= 1) return;
  throw invalid(
    `budget { bytes: ${(budget as { bytes: number }).bytes} } holds no token: this model needs ${bytesPerEntry} bytes for each, over all layers.`,
  );
}

function invalid(message: string): ElasticCacheError {
  return new ElasticCacheError('invalid-budget', message);
}
