/**
 * Writes scenes and what is said of them in free English, for training: `images.u8` [count, 336, 336, 3] RGB and
 * `scenes.jsonl`, one scene a line: truth, two descriptions as pieces with the cell each is about, and questions with answers.
 * Run: npx tsx demo-model/smollm-scenes/export.ts --from <seed> --count <n> --out <dir> [--questions 16]
 */
import { mkdir, open, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import sharp from 'sharp';
import { Random } from '../../src/random.js';
import { questions } from '../../src/scenes/questions.js';
import { renderScene } from '../../src/scenes/render.js';
import { makeScene, type Scene } from '../../src/scenes/scene.js';
import { answerFreely, describeFreely } from './language.js';

const { values: options } = parseArgs({
  options: {
    from: { type: 'string', default: '1000000' },
    count: { type: 'string', default: '1000' },
    questions: { type: 'string', default: '16' },
    out: { type: 'string', default: 'data' },
  },
});
/** Scenes drawn at a time. */
const batch = 32;

function record(scene: Scene): object {
  const random = new Random(scene.seed, 2);
  const { color, style } = scene.background;
  return {
    seed: scene.seed,
    background: { color, style },
    items: scene.items.map(({ draw, ...truth }) => truth),
    descriptions: [describeFreely(scene, random), describeFreely(scene, random)],
    questions: questions(scene, new Random(scene.seed, 1), Number(options.questions)).map((asked) => ({
      kind: asked.kind,
      question: asked.question,
      answer: answerFreely(asked, scene, random),
      cells: asked.cells,
    })),
  };
}

sharp.concurrency(1);
sharp.cache(false);
const [from, count] = [Number(options.from), Number(options.count)];
await mkdir(options.out, { recursive: true });
const names = [join(options.out, 'images.u8'), join(options.out, 'scenes.jsonl')] as const;
const images = await open(`${names[0]}.part`, 'w');
const records = await open(`${names[1]}.part`, 'w');
for (let done = 0; done < count; done += batch) {
  const scenes = Array.from({ length: Math.min(batch, count - done) }, (_, i) => makeScene(from + done + i));
  await images.writev(await Promise.all(scenes.map(renderScene)));
  await records.write(scenes.map((scene) => `${JSON.stringify(record(scene))}\n`).join(''));
  process.stderr.write(`\r${done + scenes.length}/${count} scenes`);
}
await images.close();
await records.close();
for (const name of names) await rename(`${name}.part`, name);
process.stderr.write('\n');
