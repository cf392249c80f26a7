// A conversation about a picture in the terminal: the cache keeps what was said, so each turn reads only what is new.
// node examples/chat.mjs [image] [model]      an empty line ends it
import { stdin, stdout } from 'node:process';
import { createInterface } from 'node:readline';
import { chat, ElasticCache, embeddedImage, embeddedModel, loadElastic, readImage } from 'elastic-cache';

const [image = embeddedImage(1), model = embeddedModel()] = process.argv.slice(2);
const loaded = await loadElastic(model);
const { ask, cache } = chat(loaded, { cache: new ElasticCache({ budget: 0.2 }) });
let images = [await readImage(image)];

stdout.write('> ');
for await (const prompt of createInterface({ input: stdin })) {
  if (prompt === '') break;
  for await (const event of ask({ images, prompt, maxNewTokens: 100 })) {
    if (event.type === 'text') stdout.write(event.text);
  }
  const { tokensHeld, tokensSeen } = cache.stats();
  stdout.write(`\n(${tokensHeld} of ${tokensSeen} tokens held)\n> `);
  images = []; // it has seen the picture
}
stdout.write('\n');
await loaded.model.dispose();
