import type { KVCache } from '../../memory/kv-cache.js';
import { answerInputs } from '../../models/conversation/answer.js';
import type { LoadedModel } from '../../models/loaded-model.js';
import type { PromptTurns } from '../../models/measuring/prompt-turns.js';
import { answerSurprise } from '../../models/measuring/teacher-forcing.js';
import type { CacheCell } from '../cells.js';
import type { Task } from '../data/dataset.js';
import { isRight } from '../metrics/accuracy.js';
import type { Metric } from '../metrics/names.js';
import { totalSurprise } from '../metrics/perplexity.js';
import { rougeL, rougeLUnion, rougeN } from '../metrics/rouge.js';
import type { ResultLine } from '../results.js';
import type { Prepared } from './prepare-sample.js';

export interface QualityOptions {
  loaded: LoadedModel;
  task: Task;
  tasks: Prepared['tasks'];
  /** Reads the prompts of this sample. */
  turns: PromptTurns;
  cell: CacheCell;
  metrics: ReadonlySet<Metric>;
  maxNewTokens: number;
  /** The answer with the full cache; undefined when this is the full cache. */
  fullText: string | undefined;
}

const ROUGE = ['rouge', 'rouge-l-union', 'rouge-true'] as const;

/**
 * How good one answer is, and how sure the model is of the true one, with one cache: every token of it comes through the cache as it was compressed, the
 * first as well.
 */
export async function measureQuality(options: QualityOptions): Promise<Partial<ResultLine>> {
  const { loaded, task, tasks, turns, cell, metrics, maxNewTokens, fullText } = options;
  const prompt = tasks.get(task.name)!;
  const { inputs, reference } = prompt;
  const caches = turns.read(prompt, { policy: cell.cachePolicy, budget: cell.budget.budget });
  const line: Partial<ResultLine> = {};
  if (metrics.has('ppl') && reference) {
    const cache = await caches.next();
    line.perplexity = totalSurprise(await answerSurprise(loaded, inputs, reference, cache));
    Object.assign(line, heldBy(cache));
  }
  const compared = task.reference !== undefined && ROUGE.some((metric) => metrics.has(metric));
  const judged = metrics.has('accuracy') && task.accepted !== undefined;
  if (compared || judged) {
    const cache = await caches.next();
    const longest = Math.min(maxNewTokens, task.maxNewTokens ?? maxNewTokens);
    const { text } = await answerInputs(loaded, inputs, { cache, maxNewTokens: longest });
    Object.assign(line, heldBy(cache), { text });
    if (compared && metrics.has('rouge')) line.rouge = rougeOf(text, fullText ?? text);
    if (compared && metrics.has('rouge-l-union')) line.rougeLUnion = rougeLUnion(text, fullText ?? text).f1;
    if (compared && metrics.has('rouge-true')) line.rougeTrue = rougeOf(text, task.reference!);
    if (judged) line.right = isRight(text, task.accepted!, task.among);
  }
  return line;
}

function heldBy(cache: KVCache): Pick<ResultLine, 'tokensHeld' | 'tokensSeen'> {
  const { tokensHeld, tokensSeen } = cache.stats();
  return { tokensHeld, tokensSeen };
}

function rougeOf(answer: string, reference: string): NonNullable<ResultLine['rouge']> {
  return {
    rouge1: rougeN(answer, reference, 1).f1,
    rouge2: rougeN(answer, reference, 2).f1,
    rougeL: rougeL(answer, reference).f1,
  };
}
