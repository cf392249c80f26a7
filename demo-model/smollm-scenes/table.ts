import { type Cell, REFERENCE } from '../../src/eval/cells.js';
import { bootstrap, type Estimate } from '../../src/eval/intervals.js';
import type { Tally } from '../scenes/score.js';

/** What one cache made of one scene. */
export interface Line {
  readonly seed: number;
  readonly policy: string;
  readonly budget: string;
  described: Tally;
  readonly short: Tally;
  /** Kinds of the questions that were answered wrongly. */
  readonly wrong: string[];
}

type Measure = 'described' | 'short';

const share = (lines: readonly Line[], measure: Measure) => {
  const sum = (count: keyof Tally) => lines.reduce((all, line) => all + line[measure][count], 0);
  return (100 * sum('right')) / sum('total');
};
const told = ({ value, low, high }: Estimate, sign = '') => {
  const number = (given: number) => `${sign && given > 0 ? sign : ''}${given.toFixed(1)}`;
  return low === null || high === null ? number(value) : `${number(value)} [${number(low)}, ${number(high)}]`;
};

/** A Markdown table: percent right by cache, and points to the full cache on the same scenes, each with its 95% interval by bootstrap over scenes. */
export function tableOf(cells: readonly Cell[], lines: readonly Line[]): string {
  const of = ({ policy, budget }: Cell) =>
    lines.filter((line) => line.policy === policy && line.budget === budget.name);
  const full = new Map(of(REFERENCE).map((line) => [line.seed, line]));
  const rows = cells.map((cell) => {
    const own = of(cell);
    const pairs = own.map((line) => [line, full.get(line.seed)!] as const);
    const columns = (['described', 'short'] as const).flatMap((measure) => {
      const right = bootstrap(own, (some) => share(some, measure));
      const points = bootstrap(
        pairs,
        (some) =>
          share(
            some.map(([line]) => line),
            measure,
          ) -
          share(
            some.map(([, reference]) => reference),
            measure,
          ),
      );
      return [told(right), cell.policy === REFERENCE.policy ? '' : told(points, '+')];
    });
    return `| ${[cell.policy, cell.budget.name, ...columns].join(' | ')} |`;
  });
  const scenes = full.size;
  return [
    `| policy (${scenes} scenes) | budget | attributes described, % | points to full | short answers right, % | points to full |`,
    '| --- | --- | --- | --- | --- | --- |',
    ...rows,
  ].join('\n');
}
