// Several pictures, one question each, and what their caches hold. A model that was trained on several pictures at once
// takes them in one question: images: [first, second].
// node examples/several-images.mjs [image ...]
import { answer, ElasticCache, embeddedImage, embeddedModel, loadElastic, readImage } from 'elastic-cache';

const paths = process.argv.length > 2 ? process.argv.slice(2) : [embeddedImage(1), embeddedImage(2)];
const loaded = await loadElastic(embeddedModel());
for (const path of paths) {
  const cache = new ElasticCache({ budget: 0.5 });
  const question = { images: [await readImage(path)], prompt: 'How many objects are there?' };
  const { text } = await answer(loaded, question, { cache, maxNewTokens: 16 });
  console.log(`${path}: ${text} (${cache.stats().bytesHeld / 1000} kB of keys and values)`);
}
await loaded.model.dispose();
