// A model of text alone: the same cache, no image.
// node examples/text-model.mjs [model] [prompt]     a model of the Hub or a directory, in transformers.js layout
import { answer, ElasticCache, loadElastic } from 'elastic-cache';

const [model = 'HuggingFaceTB/SmolLM2-135M-Instruct', prompt = 'What is the capital of France?'] =
  process.argv.slice(2);
const loaded = await loadElastic(model);
const cache = new ElasticCache({ budget: { tokens: 128 } }); // never more than 128 entries in a layer, however long the text
const { text } = await answer(loaded, { images: [], prompt }, { cache, maxNewTokens: 64 });
console.log(text);
console.log(cache.stats());
await loaded.model.dispose();
