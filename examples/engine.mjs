// Many requests at once: an engine reads and answers them together, each as it would be answered alone, in a process of its own.
// node examples/engine.mjs [model]
import { createEngine, embeddedImage, embeddedModel } from 'elastic-cache';

const [model = embeddedModel()] = process.argv.slice(2);
const engine = await createEngine(model, { lanes: 4, budget: 0.3 });

/** Asks, and prints what comes of it, with the number of the request. */
async function ask(number, messages) {
  for await (const event of engine.add({ messages, maxNewTokens: 200 })) {
    if (event.type === 'started') console.log(`${number}: ${event.promptTokens} tokens to read`);
    if (event.type === 'finish') console.log(`${number}: ${event.text}`);
    if (event.type !== 'usage') continue;
    const { newTokens, stats } = event.usage;
    console.log(`${number}: ${newTokens} tokens said, ${stats.tokensHeld} of ${stats.tokensSeen} held`);
  }
}

const questions = [
  'Describe the image in detail.',
  'How many objects are there?',
  'Is there any printed text?',
];
await Promise.all(
  questions.map((content, index) =>
    ask(index + 1, [{ role: 'user', content, images: [embeddedImage(index + 1)] }]),
  ),
);
await engine.close();
