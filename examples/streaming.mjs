// The answer word by word, as it is made: transformers.js's own TextStreamer, on a cache of a fifth of the tokens.
// node examples/streaming.mjs [image] [model]
import { TextStreamer } from '@huggingface/transformers';
import {
  ElasticCache,
  embeddedImage,
  embeddedModel,
  loadElastic,
  prepareInputs,
  readImage,
} from 'elastic-cache';

const [image = embeddedImage(1), model = embeddedModel()] = process.argv.slice(2);
const loaded = await loadElastic(model);
const inputs = await prepareInputs(loaded, {
  images: [await readImage(image)],
  prompt: 'Describe the image in detail.',
});

const cache = new ElasticCache({ budget: 0.2 });
const streamer = new TextStreamer(loaded.tokenizer, { skip_prompt: true, skip_special_tokens: true });
await loaded.model.generate({ ...inputs, past_key_values: cache, max_new_tokens: 200, streamer });

const { tokensHeld, tokensSeen } = cache.stats();
console.log(`\n${tokensHeld} of ${tokensSeen} tokens held`);
await loaded.model.dispose();
