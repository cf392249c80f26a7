import { afterAll, beforeAll, expect, it } from 'vitest';
import { convertCheckpoint } from '../../src/convert/index.js';
import { ElasticCache } from '../../src/elastic-cache.js';
import { loadElastic } from '../../src/models/load.js';
import { largestDifference } from '../graph/exported-runs.js';
import { DTYPES, readExpected, scratch, tiny } from './checkpoints.js';
import { type LoadedLlava, loadConverted, promptInputs } from './transformers-js.js';

let place: Awaited<ReturnType<typeof scratch>>;
beforeAll(async () => {
  place = await scratch();
  await convertCheckpoint({
    from: tiny,
    to: place.path('model'),
    dtype: DTYPES,
  });
});
afterAll(() => place.remove());

it('q4 with zero points: budget 1 gives the tokens of unmodified transformers.js', async () => {
  await convertCheckpoint({
    from: tiny,
    to: place.path('zeros'),
    dtype: 'q4',
    blockSize: 32,
    asymmetric: true,
  });
  const { scalar: _, ...inputs } = await promptInputs();
  const options = { ...inputs, max_new_tokens: 24, do_sample: false };
  const stock = await loadConverted(place.path('zeros'), 'q4');
  const { logits } = await stock(await promptInputs());
  expect(largestDifference(logits.data, (await readExpected('logits')).data)).toBeLessThan(3);
  const expected = [...(await stock.generate(options)).data];
  await stock.dispose();
  const loaded = await loadElastic(place.path('zeros'), { dtype: 'q4' });
  const model = loaded.model as unknown as LoadedLlava;
  const cache = new ElasticCache({ budget: 1 });
  const tokens = [...(await model.generate({ ...options, past_key_values: cache })).data];
  await model.dispose();
  expect(tokens).toEqual(expected);
});

it.each(DTYPES)('%s: budget 1 gives the tokens of unmodified transformers.js', async (dtype) => {
  const { scalar: _, ...inputs } = await promptInputs();
  const options = { ...inputs, max_new_tokens: 24, do_sample: false };
  const stock = await loadConverted(place.path('model'), dtype);
  const expected = [...(await stock.generate(options)).data];
  await stock.dispose();
  const loaded = await loadElastic(place.path('model'), { dtype });
  const model = loaded.model as unknown as LoadedLlava;
  const cache = new ElasticCache({ budget: 1 });
  const tokens = [...(await model.generate({ ...options, past_key_values: cache })).data];
  await model.dispose();
  expect(tokens).toEqual(expected);
});
