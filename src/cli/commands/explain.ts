import { basename } from 'node:path';
import { ElasticCacheError } from '../../errors.js';
import { embedPhoto } from '../../explain/drawing/photo.js';
import { drawPicture } from '../../explain/picture.js';
import { type Explanation, explainPrompt } from '../../explain/prompt/explain-prompt.js';
import { checkPicturePath, writePicture } from '../../explain/write-picture.js';
import { embeddedModel } from '../../models/embedded.js';
import { readImages } from '../images.js';
import { loadWithProgress, type ModelOptions } from '../load.js';
import type { NamedBudget } from '../options/option-values.js';
import { policyOf } from '../options/policy-file.js';
import { askedFor } from '../results/result.js';
import { Progress } from '../terminal/progress.js';

export interface ExplainOptions extends ModelOptions {
  image: string[];
  prompt: string;
  budget: NamedBudget;
  policy: string;
  endSize?: number;
  layer?: number;
  out?: string;
  json?: true;
}

/** Reads a prompt, and draws what the policy made of it; with `json`, tells it as one object on stdout. */
export async function explain(options: ExplainOptions): Promise<void> {
  const { image: paths, prompt, budget, policy, endSize, layer, out, json } = options;
  if (out === undefined && !json) {
    throw new ElasticCacheError(
      'invalid-option',
      'explain has nowhere to put what it finds; give --out picture.svg (or .png), --json, or both.',
    );
  }
  const made = await policyOf(policy, endSize);
  if (out !== undefined) await checkPicturePath(out, paths);
  const images = await readImages(paths);
  const model = options.model ?? embeddedModel();
  const progress = new Progress();
  const loaded = await loadWithProgress(model, options, progress);
  const explanation = await progress.stage('reading the prompt', () =>
    explainPrompt(loaded, { images, prompt }, { policy: made, budget: budget.budget, layer }),
  );
  if (json) {
    const asked = { ...askedFor(model, options), policy: made.name, budget: budget.name };
    process.stdout.write(`${JSON.stringify({ ...asked, ...numbersOf(explanation, layer) })}\n`);
  }
  if (out === undefined) return;
  const { noGrid } = explanation;
  if (noGrid !== undefined) {
    throw new ElasticCacheError(
      'unsupported-model',
      `${basename(model)} cannot be drawn: ${noGrid}; --json tells the same in numbers.`,
    );
  }
  const title = `${made.name}, budget ${budget.name}`;
  const photo = images[0] && (await embedPhoto(images[0]));
  await writePicture(out, drawPicture(explanation, { photo, title, prompt, layer }));
  if (!json) process.stdout.write(`${out}\n`);
}

/** The explanation, of one layer or of all, with the attention to six digits: it comes from float32. */
function numbersOf(explanation: Explanation, layer: number | undefined): Explanation {
  const layers = explanation.layers
    .filter((each) => layer === undefined || each.layer === layer)
    .map((each) => ({ ...each, attention: each.attention.map((value) => Number(value.toPrecision(6))) }));
  return { ...explanation, layers };
}
