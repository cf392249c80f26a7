import { embeddedModel } from '../../models/embedded.js';
import { ask, costLines } from '../ask.js';
import { readImages } from '../images.js';
import { loadWithProgress, type ModelOptions } from '../load.js';
import type { NamedBudget } from '../option-values.js';
import { Progress } from '../terminal/progress.js';

export interface GenerateOptions extends ModelOptions {
  image: string[];
  prompt: string;
  budget: NamedBudget;
  policy: string;
  endSize?: number;
  maxNewTokens: number;
  temperature: number;
  json?: true;
}

/** Streams an answer to stdout and tells what it cost on stderr; with `json`, both as one object on stdout. */
export async function generate(options: GenerateOptions): Promise<void> {
  const { image, prompt, json, policy, budget, endSize, maxNewTokens, temperature } = options;
  const images = await readImages(image);
  const model = options.model ?? embeddedModel();
  const progress = new Progress();
  const loaded = await loadWithProgress(model, options, progress);
  const settings = { policy, budget, endSize, maxNewTokens, temperature };
  if (json) {
    const { stats, text, tokens, prefillMs, msPerToken, promptTokens } = await ask(
      loaded,
      { images, prompt },
      settings,
      progress,
    );
    const timings = { prefillMs, msPerToken };
    const result = {
      model,
      policy,
      budget: budget.budget,
      text,
      promptTokens,
      newTokens: tokens.length,
      stats,
      timings,
    };
    process.stdout.write(`${JSON.stringify(result)}\n`);
    return;
  }
  const onText = (text: string) => process.stdout.write(text);
  const outcome = await ask(loaded, { images, prompt }, { ...settings, onText }, progress);
  process.stdout.write('\n');
  process.stderr.write(`\n${costLines(outcome).join('\n')}\n`);
}
