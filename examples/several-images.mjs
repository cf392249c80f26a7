// The same question about several pictures. A model of the Hub that was trained on several at a time sees them together, and can
// compare them; the embedded one was trained on one at a time, so it is asked about each by itself.
// node examples/several-images.mjs [owner/name image image ...]
import { answer, ElasticCache, embeddedImage, embeddedModel, loadElastic } from 'elastic-cache';

const [model, ...given] = process.argv.slice(2);
const loaded = await loadElastic(model ?? embeddedModel());
const pictures = given.length > 0 ? given : [1, 2, 3].map(embeddedImage);
const questions = model === undefined ? pictures.map((picture) => [picture]) : [pictures];

for (const images of questions) {
  const cache = new ElasticCache({ budget: 0.2 });
  const { text, promptTokens } = await answer(
    loaded,
    { images, prompt: 'Describe the image in detail.' },
    { cache, maxNewTokens: 60, stop: '.' },
  );
  console.log(
    `${images.length} of ${pictures.length} pictures, ${promptTokens} tokens of prompt: ${text.trim()}.`,
  );
}
await loaded.model.dispose();
