import type { Budget } from '../cache/budget.js';
import type { CachePolicy } from '../cache/policy.js';
import { full } from '../policies/full.js';

/** A cache that is compared, by the names of its policy and of its budget as it was asked for. */
export interface Cell {
  readonly policy: string;
  readonly budget: { readonly name: string; readonly budget: Budget };
}

/** One that runs. */
export interface CacheCell extends Cell {
  readonly cachePolicy: CachePolicy;
}

/** The full cache: the others are measured against it, so it always runs, and first. */
export const REFERENCE: CacheCell = { policy: 'full', cachePolicy: full(), budget: { name: '1', budget: 1 } };

/** Every policy with every budget, after the reference; `full` has no use for a budget, so it runs once. */
export function cellsOf(policies: readonly CachePolicy[], budgets: readonly Cell['budget'][]): CacheCell[] {
  const others = policies.filter(({ name }) => name !== REFERENCE.policy);
  const cells = others.flatMap((cachePolicy) =>
    budgets.map((budget) => ({ policy: cachePolicy.name, cachePolicy, budget })),
  );
  return [REFERENCE, ...cells];
}
