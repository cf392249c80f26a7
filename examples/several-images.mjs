// One question about several pictures. The embedded model was trained on one at a time and mixes them up;
// models of the Hub that were trained on several compare them.
// node examples/several-images.mjs [image image ...]
import { answer, ElasticCache, embeddedImage, embeddedModel, loadElastic, readImage } from 'elastic-cache';

const paths = process.argv.length > 2 ? process.argv.slice(2) : [embeddedImage(2), embeddedImage(1)];
const loaded = await loadElastic(embeddedModel());
const images = await Promise.all(paths.map((path) => readImage(path)));
const cache = new ElasticCache({ budget: 0.2 });
const { text, promptTokens } = await answer(
  loaded,
  { images, prompt: 'Describe the image in detail.' },
  { cache, maxNewTokens: 60 },
);
console.log(`${images.length} pictures, ${promptTokens} tokens of prompt, ${cache.stats().tokensHeld} held`);
console.log(text);
await loaded.model.dispose();
