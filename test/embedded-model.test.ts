import { readdirSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import {
  LlavaForConditionalGeneration,
  LogitsProcessor,
  LogitsProcessorList,
  type PreTrainedModel,
  type Tensor,
} from '@huggingface/transformers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ElasticCache, type LoadedModel, loadElastic, prepareInputs, readImage } from '../src/index.js';

const path = (name: string) => fileURLToPath(new URL(`../demo-model/${name}`, import.meta.url));
const directory = path('llava-scenes');
const samples = readdirSync(path('samples')).filter((name) => name.endsWith('.png'));

let stock: PreTrainedModel;
let elastic: LoadedModel;

beforeAll(async () => {
  stock = await LlavaForConditionalGeneration.from_pretrained(directory, { local_files_only: true });
  elastic = await loadElastic(directory);
});

afterAll(async () => {
  await stock.dispose();
  await elastic.model.dispose();
});

async function ask(sample: string, prompt = 'Describe the image in detail.') {
  return await prepareInputs(elastic, { images: [await readImage(path(`samples/${sample}`))], prompt });
}

/** The tokens of a generation and the logits [vocab] behind each. */
async function generate(model: PreTrainedModel, inputs: object, options = {}) {
  const logits: Float32Array[] = [];
  class Watch extends LogitsProcessor {
    override _call(_ids: bigint[][], scores: Tensor) {
      logits.push(Float32Array.from(scores.data as Float32Array));
      return scores;
    }
  }
  const logits_processor = new LogitsProcessorList();
  logits_processor.push(new Watch());
  const output = (await model.generate({
    ...inputs,
    max_new_tokens: 260,
    logits_processor,
    ...options,
  })) as Tensor;
  return { tokens: output.tolist()[0].map(Number) as number[], logits };
}

describe('the embedded model', () => {
  it('comes with ten scenes, everything that is published of it together under 20 MB', () => {
    expect(samples).toHaveLength(10);
    const files = ['llava-scenes', 'samples'].flatMap((folder) =>
      readdirSync(path(folder), { recursive: true, encoding: 'utf8' }).map((file) =>
        path(`${folder}/${file}`),
      ),
    );
    const bytes = files.reduce((sum, file) => sum + statSync(file).size, 0);
    expect(bytes).toBeLessThan(20e6);
  });

  it.each(samples)('gives at budget 1 what unmodified transformers.js gives: %s', async (sample) => {
    const inputs = await ask(sample);
    const expected = await generate(stock, inputs);
    const cache = new ElasticCache({ budget: 1 });
    const actual = await generate(elastic.model, inputs, { past_key_values: cache });
    expect(actual.tokens).toEqual(expected.tokens);
    const farthest = actual.logits.map((scores, step) =>
      scores.reduce((most, score, i) => Math.max(most, Math.abs(score - expected.logits[step]![i]!)), 0),
    );
    expect(Math.max(...farthest)).toBeLessThan(1e-3);
    expect(cache.stats().tokensHeld).toBe(cache.seen);
  });

  it('holds exactly a fifth at budget 0.2, and ends its description by itself', async () => {
    const inputs = await ask(samples[0]!);
    const cache = new ElasticCache({ budget: 0.2 });
    const { tokens } = await generate(elastic.model, inputs, { past_key_values: cache });
    expect(tokens.length).toBeLessThan(inputs.input_ids.dims[1]! + 260);
    const { tokensSeen, tokensHeld } = cache.stats();
    expect(tokensSeen).toBe(tokens.length - 1);
    expect(tokensHeld).toBe(Math.floor(0.2 * tokensSeen));
    // Layers and heads share it unequally.
    const held = cache.rows().flatMap((rows) => rows.held);
    expect(held.reduce((sum, each) => sum + each)).toBe(held.length * tokensHeld);
  });

  it('looks at the image: another picture gets another description', async () => {
    const [first, second] = await Promise.all(samples.slice(0, 2).map((sample) => ask(sample)));
    const described = await generate(elastic.model, first!);
    expect((await generate(elastic.model, second!)).tokens).not.toEqual(described.tokens);
  });
});
