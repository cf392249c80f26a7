import Table from 'cli-table3';
import { embeddedModel } from '../../models/embedded.js';
import { agreement } from '../agreement.js';
import { ask, type Outcome } from '../ask.js';
import { readImages } from '../images.js';
import { loadWithProgress, type ModelOptions } from '../load.js';
import type { NamedBudget } from '../option-values.js';
import { megabytes, milliseconds, percent } from '../terminal/format.js';
import { Progress } from '../terminal/progress.js';

export interface CompareOptions extends ModelOptions {
  image: string[];
  prompt: string;
  policies: string[];
  budgets: NamedBudget[];
  endSize?: number;
  maxNewTokens: number;
  json?: true;
}

type Run = { policy: string; budget: NamedBudget };

/** The full cache, which the others are measured against. */
const REFERENCE: Run = { policy: 'full', budget: { name: '1', budget: 1 } };

/** Asks the same with every policy and budget: one table on stdout, the answers below it. */
export async function compare(options: CompareOptions): Promise<void> {
  const { image, prompt, endSize, maxNewTokens, json } = options;
  const images = await readImages(image);
  const progress = new Progress();
  const model = options.model ?? embeddedModel();
  const loaded = await loadWithProgress(model, options, progress);
  const outcomes: Outcome[] = [];
  for (const run of [REFERENCE, ...runsOf(options)]) {
    const label = `policy ${run.policy}, budget ${run.budget.name}`;
    outcomes.push(await ask(loaded, { images, prompt }, { ...run, endSize, maxNewTokens }, progress));
    process.stderr.write(`${label}: ${milliseconds(outcomes.at(-1)!.msPerToken)} per token\n`);
  }
  const rows = outcomes.map((outcome) => ({
    outcome,
    agreement: agreement(outcome.text, outcomes[0]!.text),
  }));
  process.stdout.write(
    json ? `${JSON.stringify(rows.map(record))}\n` : `${table(rows)}\n${answers(outcomes)}`,
  );
}

/** Full ignores the budget, so it runs once, as the reference. */
function runsOf({ policies, budgets }: CompareOptions): Run[] {
  return policies
    .filter((policy) => policy !== REFERENCE.policy)
    .flatMap((policy) => budgets.map((budget) => ({ policy, budget })));
}

type Row = { outcome: Outcome; agreement: number };

function record({ outcome, agreement }: Row): object {
  const { policy, budget, text, promptTokens, tokens, stats, prefillMs, msPerToken } = outcome;
  const timings = { prefillMs, msPerToken };
  return { policy, budget, text, agreement, promptTokens, newTokens: tokens.length, stats, timings };
}

function table(rows: readonly Row[]): string {
  const result = new Table({
    head: ['policy', 'budget', 'tokens held', 'cache', 'per token', 'as the full cache'],
    colAligns: ['left', 'right', 'right', 'right', 'right', 'right'],
    style: { head: [], border: [] },
  });
  for (const { outcome, agreement } of rows) {
    const { policy, budget, stats, msPerToken } = outcome;
    result.push([
      policy,
      budget,
      `${stats.tokensHeld} of ${stats.tokensSeen}`,
      megabytes(stats.bytesHeld),
      milliseconds(msPerToken),
      percent(agreement),
    ]);
  }
  return result.toString();
}

function answers(outcomes: readonly Outcome[]): string {
  return outcomes.map(({ policy, budget, text }) => `\n${policy}, ${budget}:\n${text}\n`).join('');
}
