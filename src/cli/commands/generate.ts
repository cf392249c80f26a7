import { embeddedModel } from '../../models/embedded.js';
import { readImages } from '../images.js';
import { loadWithProgress, type ModelOptions } from '../load.js';
import type { SamplingOptions } from '../options/command-options.js';
import type { NamedBudget } from '../options/option-values.js';
import { policyOf } from '../options/policy-file.js';
import { ask, costLines } from '../results/ask.js';
import { askedFor, resultOf } from '../results/result.js';
import { Progress } from '../terminal/progress.js';

export interface GenerateOptions extends ModelOptions, SamplingOptions {
  image: string[];
  prompt: string;
  system?: string;
  budget: NamedBudget;
  policy: string;
  endSize?: number;
  json?: true;
}

/** Streams an answer to stdout and tells what it cost on stderr; with `json`, both as one object on stdout. */
export async function generate(options: GenerateOptions): Promise<void> {
  const { image, prompt, system, json, budget, endSize } = options;
  const { maxNewTokens, temperature, topP, topK, seed, stop } = options;
  const policy = await policyOf(options.policy, endSize);
  const images = await readImages(image);
  const model = options.model ?? embeddedModel();
  const progress = new Progress();
  const loaded = await loadWithProgress(model, options, progress);
  const settings = { policy, budget, maxNewTokens, temperature, topP, topK, seed, stop };
  const question = { images, prompt, system };
  if (json) {
    const outcome = await ask(loaded, question, settings, progress);
    process.stdout.write(`${JSON.stringify(resultOf(askedFor(model, options), outcome))}\n`);
    return;
  }
  const onText = (text: string) => process.stdout.write(text);
  const outcome = await ask(loaded, question, { ...settings, onText }, progress);
  process.stdout.write('\n');
  process.stderr.write(`\n${costLines(outcome).join('\n')}\n`);
}
