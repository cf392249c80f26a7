import Table from 'cli-table3';
import type { CachePolicy } from '../../cache/policy.js';
import { embeddedModel } from '../../models/embedded.js';
import { full } from '../../policies/full.js';
import { agreement } from '../agreement.js';
import { readImages } from '../images.js';
import { loadWithProgress, type ModelOptions } from '../load.js';
import type { NamedBudget } from '../options/option-values.js';
import { policyOf } from '../options/policy-file.js';
import { ask, type Outcome } from '../results/ask.js';
import { askedFor, resultOf } from '../results/result.js';
import type { CompareResult } from '../results/schemas.js';
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

type Run = { policy: CachePolicy; budget: NamedBudget };

/** The full cache, which the others are measured against. */
const REFERENCE: Run = { policy: full(), budget: { name: '1', budget: 1 } };

/** An answer of fewer tokens after the first is too short to be timed. */
const TIMED = 8;

/** Asks the same with every policy and budget: one table on stdout, the answers below it. */
export async function compare(options: CompareOptions): Promise<void> {
  const { image, prompt, endSize, maxNewTokens, json } = options;
  const policies = await Promise.all(options.policies.map((spec) => policyOf(spec, endSize)));
  const images = await readImages(image);
  const progress = new Progress();
  const model = options.model ?? embeddedModel();
  const loaded = await loadWithProgress(model, options, progress);
  const outcomes: Outcome[] = [];
  for (const run of [REFERENCE, ...runsOf(policies, options.budgets)]) {
    const outcome = await ask(loaded, { images, prompt }, { ...run, maxNewTokens }, progress);
    outcomes.push(outcome);
    const label = `policy ${run.policy.name}, budget ${run.budget.name}`;
    process.stderr.write(
      `${label}: ${milliseconds(outcome.prefillMs)} prefill, ${outcome.tokens.length} tokens\n`,
    );
  }
  const rows = outcomes.map((outcome) => ({
    outcome,
    agreement: agreement(outcome.text, outcomes[0]!.text),
  }));
  const asked = askedFor(model, options);
  const results: CompareResult = rows.map((row) => ({
    ...resultOf(asked, row.outcome),
    agreement: row.agreement,
  }));
  process.stdout.write(json ? `${JSON.stringify(results)}\n` : `${table(rows)}\n${answers(outcomes)}`);
}

/** Full ignores the budget, so it runs once, as the reference. */
function runsOf(policies: readonly CachePolicy[], budgets: readonly NamedBudget[]): Run[] {
  return policies
    .filter(({ name }) => name !== REFERENCE.policy.name)
    .flatMap((policy) => budgets.map((budget) => ({ policy, budget })));
}

type Row = { outcome: Outcome; agreement: number };

function table(rows: readonly Row[]): string {
  const result = new Table({
    head: ['policy', 'budget', 'tokens held', 'cache', 'prefill', 'per token', 'as the full cache'],
    colAligns: ['left', 'right', 'right', 'right', 'right', 'right', 'right'],
    style: { head: [], border: [] },
  });
  for (const { outcome, agreement } of rows) {
    const { policy, budget, stats, prefillMs } = outcome;
    result.push([
      policy,
      budget.name,
      `${stats.tokensHeld} of ${stats.tokensSeen}`,
      megabytes(stats.bytesHeld),
      milliseconds(prefillMs),
      timed(outcome),
      percent(agreement),
    ]);
  }
  const short = rows.some(({ outcome }) => outcome.tokens.length <= TIMED);
  const note = short
    ? `\nper token: of answers with more than ${TIMED} tokens; shorter ones are not timed.`
    : '';
  return result.toString() + note;
}

function timed({ tokens, msPerToken }: Outcome): string {
  return tokens.length > TIMED ? `${milliseconds(msPerToken)} of ${tokens.length}` : '-';
}

function answers(outcomes: readonly Outcome[]): string {
  return outcomes.map(({ policy, budget, text }) => `\n${policy}, ${budget.name}:\n${text}\n`).join('');
}
