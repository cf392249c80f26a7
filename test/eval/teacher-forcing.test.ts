import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { LlavaForConditionalGeneration, Tensor } from '@huggingface/transformers';
import { expect, it } from 'vitest';
import { ElasticCache, loadElastic, prepareInputs, readImage } from '../../src/index.js';
import { promptText } from '../../src/models/conversation/template/prompt-text.js';
import { readCompressed } from '../../src/models/measuring/read-compressed.js';
import { answerSurprise, answerTokens } from '../../src/models/measuring/teacher-forcing.js';

const path = (name: string) => fileURLToPath(new URL(`../../demo-model/${name}`, import.meta.url));
const PROMPT = 'Describe the image in detail.';
const WORDS = 20;

it('the surprise at budget 1 is that of one pass of unmodified transformers.js over prompt and answer', async () => {
  const { description } = JSON.parse(await readFile(path('samples/01.json'), 'utf8'));
  const loaded = await loadElastic(path('llava-scenes'));
  const answer = description.split(' ').slice(0, WORDS).join(' ');
  const tokens = answerTokens(loaded, promptText(loaded, 1, PROMPT), answer);
  expect(loaded.tokenizer.decode(tokens).trim()).toBe(answer);
  const images = [await readImage(path('samples/01.png'))];
  const inputs = await prepareInputs(loaded, { images, prompt: PROMPT });
  const forced = await answerSurprise(loaded, inputs, tokens, new ElasticCache({ budget: 1 }));
  const tight = await answerSurprise(
    loaded,
    inputs,
    tokens,
    new ElasticCache({ policy: 'snapkv', budget: 0.1 }),
  );
  const [whole, strict] = [
    new ElasticCache({ budget: 1 }),
    new ElasticCache({ policy: 'snapkv', budget: 0.1 }),
  ];
  for (const cache of [whole, strict]) await readCompressed(loaded, inputs, cache);
  // The last token of the prompt, which the first of the answer follows from, finds a tenth of it.
  const read = inputs.input_ids.dims[1]! - 1;
  expect(strict.stats()).toMatchObject({ tokensSeen: read, tokensHeld: Math.floor(0.1 * read) });
  const forcedAfter = await answerSurprise(loaded, inputs, tokens, whole);
  await loaded.model.dispose();

  const prompt = Array.from(inputs.input_ids.data as BigInt64Array);
  const all = BigInt64Array.from([...prompt, ...tokens.map(BigInt)]);
  const stock = await LlavaForConditionalGeneration.from_pretrained(path('llava-scenes'), {
    local_files_only: true,
  });
  const { logits } = await stock.forward({
    ...inputs,
    input_ids: new Tensor('int64', all, [1, all.length]),
    attention_mask: new Tensor('int64', new BigInt64Array(all.length).fill(1n), [1, all.length]),
  });
  await stock.dispose();
  expect(logits.dims.slice(0, 2)).toEqual([1, all.length]);
  const direct = tokens.map((token, index) => {
    const scores: Float32Array = logits[0][prompt.length - 1 + index].data;
    const sum = scores.reduce((total, score) => total + Math.exp(score - scores[token]!), 0);
    return Math.log(sum);
  });
  for (const [index, nats] of direct.entries()) expect(forced[index]).toBeCloseTo(nats, 3);
  // The prompt is whole when the first token is judged, and a tenth of it is left for the next.
  expect(tight[0]).toBeCloseTo(direct[0]!, 3);
  for (const [index, nats] of direct.entries()) expect(forcedAfter[index]).toBeCloseTo(nats, 3);
  expect(Math.max(...tight.map((nats, index) => Math.abs(nats - direct[index]!)))).toBeGreaterThan(0.01);
});
