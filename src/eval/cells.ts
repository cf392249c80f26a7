import type { Budget } from '../cache/budget.js';

/** A cache that is compared: a policy as `createPolicy` takes it, and a budget under the name it was asked for. */
export interface Cell {
  readonly policy: string;
  readonly budget: { readonly name: string; readonly budget: Budget };
}

/** The full cache: the others are measured against it, so it always runs, and first. */
export const REFERENCE: Cell = { policy: 'full', budget: { name: '1', budget: 1 } };

/** Every policy with every budget, after the reference; `full` has no use for a budget, so it runs once. */
export function cellsOf(policies: readonly string[], budgets: readonly Cell['budget'][]): Cell[] {
  const others = policies.filter((policy) => policy !== REFERENCE.policy);
  return [REFERENCE, ...others.flatMap((policy) => budgets.map((budget) => ({ policy, budget })))];
}
