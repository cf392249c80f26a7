import { fileURLToPath } from 'node:url';
import { BaseStreamer, LlavaForConditionalGeneration, type PreTrainedModel } from '@huggingface/transformers';
import { median } from '../../src/eval/intervals.js';
import { ElasticCache, loadElastic, prepareInputs, readImage } from '../../src/index.js';
import { DESCRIPTION_PROMPTS } from '../../src/scenes/describe.js';

const sample = fileURLToPath(new URL('../../demo-model/samples/01.png', import.meta.url));

/** Milliseconds from each new token to the next. */
class Gaps extends BaseStreamer {
  readonly gaps: number[] = [];
  private calls = 0;
  private last = 0;

  override put(): void {
    const now = performance.now();
    // The first call brings the prompt, the second the token that the prompt gave.
    if (++this.calls > 2) this.gaps.push(now - this.last);
    this.last = now;
  }

  override end(): void {}
}

/**
 * Median ms per token of whole generate() calls on one model: transformers.js's own class with its own sessions, and ours
 * at budgets 1 and 0.2. The calls take turns.
 */
export async function embedded(
  model: string,
  rounds: number,
): Promise<{ promptTokens: number; ms: Record<string, number> }> {
  const stock = await LlavaForConditionalGeneration.from_pretrained(model, { local_files_only: true });
  const elastic = await loadElastic(model);
  const prompt = DESCRIPTION_PROMPTS.reduce((a, b) => (b.length > a.length ? b : a));
  const inputs = await prepareInputs(elastic, { images: [await readImage(sample)], prompt });
  const contenders: Record<string, () => Promise<number[]>> = {
    'transformers.js': () => gaps(stock, inputs),
    'elastic-cache, full': () => gaps(elastic.model, inputs, new ElasticCache({ policy: 'full', budget: 1 })),
    'elastic-cache, budget 0.2': () => gaps(elastic.model, inputs, new ElasticCache({ budget: 0.2 })),
  };
  const times = new Map(Object.keys(contenders).map((name) => [name, [] as number[]]));
  for (let round = -1; round < rounds; round++) {
    for (const [name, run] of Object.entries(contenders)) {
      const measured = await run();
      if (round >= 0) times.get(name)!.push(...measured);
    }
  }
  await Promise.all([stock.dispose(), elastic.model.dispose()]);
  return {
    promptTokens: inputs.input_ids.dims[1]!,
    ms: Object.fromEntries([...times].map(([name, values]) => [name, median(values)])),
  };
}

async function gaps(model: PreTrainedModel, inputs: object, cache?: ElasticCache): Promise<number[]> {
  const streamer = new Gaps();
  const options = {
    ...inputs,
    // All to the same length: what a thinned-out cache makes of the answer must not change what is timed.
    min_new_tokens: 128,
    max_new_tokens: 128,
    do_sample: false,
    streamer,
    past_key_values: cache ?? null,
  };
  await model.generate(options as unknown as Parameters<PreTrainedModel['generate']>[0]);
  return streamer.gaps;
}
