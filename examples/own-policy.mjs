// A policy of your own, from a file, beside one of ours.
// node examples/own-policy.mjs [policy.mjs]
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { answer, ElasticCache, embeddedImage, embeddedModel, loadElastic, readImage } from 'elastic-cache';

const file = process.argv[2]
  ? pathToFileURL(resolve(process.argv[2]))
  : new URL('every-other.mjs', import.meta.url);
const { default: own } = await import(file.href);
const loaded = await loadElastic(embeddedModel());
const question = { images: [await readImage(embeddedImage(1))], prompt: 'Describe the image in detail.' };
for (const policy of [own, 'elastic-plus']) {
  const cache = new ElasticCache({ policy, budget: 0.5 });
  const { text } = await answer(loaded, question, { cache, maxNewTokens: 40 });
  console.log(`${cache.policy.name}, ${cache.stats().tokensHeld} tokens held:\n${text}\n`);
}
await loaded.model.dispose();
