import { expect, it } from 'vitest';
import { cellsOf } from '../../src/eval/cells.js';
import { createPolicy } from '../../src/policies/registry.js';
import { tableOf } from './table.js';

it('compares each cache with the full one on the scenes that it has seen', () => {
  const line = (seed: number, policy: string, budget: string, right: number) => ({
    seed,
    policy,
    budget,
    described: { right, total: 40 },
    short: { right: 8, total: 8 },
    wrong: [],
  });
  const cells = cellsOf([createPolicy('h2o')], [{ name: '0.2', budget: 0.2 }]);
  const table = tableOf(cells, [
    line(1, 'full', '1', 40),
    line(2, 'full', '1', 38),
    line(1, 'h2o', '0.2', 36),
    line(2, 'h2o', '0.2', 36),
  ]);
  expect(table.split('\n').slice(2)).toEqual([
    '| full | 1 | 97.5 [95.0, 100.0] |  | 100.0 [100.0, 100.0] |  |',
    '| h2o | 0.2 | 90.0 [90.0, 90.0] | -7.5 [-10.0, -5.0] | 100.0 [100.0, 100.0] | 0.0 [0.0, 0.0] |',
  ]);
});
