/**
 * Writes scenes for training: `images.u8` [count, 336, 336, 3] RGB and `scenes.jsonl`, one scene a line.
 * Run: npx tsx demo-model/scenes/export.ts --from <seed> --count <n> --out <dir> [--questions 12]
 */
import { mkdir, open, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import sharp from 'sharp';
import { ElasticCacheError } from '../../src/errors.js';
import { Random } from '../../src/random.js';
import { describe } from '../../src/scenes/describe.js';
import { questions } from '../../src/scenes/questions.js';
import { renderScene } from '../../src/scenes/render.js';
import { makeScene, type Scene, type SceneItem } from '../../src/scenes/scene.js';

/** Scenes drawn at a time: enough to keep the writer busy, few enough to keep memory flat. */
const BATCH = 32;

function wholeNumber(name: string, value: string | undefined): number {
  const number = Number(value);
  if (value === undefined || !Number.isSafeInteger(number) || number < 0) {
    throw new ElasticCacheError(
      'invalid-option',
      `--${name} must be a whole number from 0 up, for example --${name} 1000.`,
    );
  }
  return number;
}

/** What a line of scenes.jsonl says of an item: all but how it was drawn. */
function truthOf(item: SceneItem): object {
  const { draw, ...truth } = item;
  return truth;
}

export function sceneRecord(scene: Scene, asked?: number): object {
  const { color, style } = scene.background;
  return {
    seed: scene.seed,
    background: { color, style },
    items: scene.items.map(truthOf),
    description: describe(scene),
    questions: questions(scene, new Random(scene.seed, 1), asked),
  };
}

export async function exportScenes(from: number, count: number, asked: number, out: string): Promise<void> {
  await mkdir(out, { recursive: true });
  const [images, records] = [join(out, 'images.u8'), join(out, 'scenes.jsonl')];
  const imageFile = await open(`${images}.part`, 'w');
  const recordFile = await open(`${records}.part`, 'w');
  const started = performance.now();
  try {
    for (let done = 0; done < count; done += BATCH) {
      const scenes = Array.from({ length: Math.min(BATCH, count - done) }, (_, i) =>
        makeScene(from + done + i),
      );
      await imageFile.writev(await Promise.all(scenes.map(renderScene)));
      await recordFile.write(
        scenes.map((scene) => `${JSON.stringify(sceneRecord(scene, asked))}\n`).join(''),
      );
      const rate = ((done + scenes.length) / (performance.now() - started)) * 1000;
      process.stderr.write(`\r${done + scenes.length}/${count} scenes, ${rate.toFixed(0)} a second`);
    }
  } finally {
    await imageFile.close();
    await recordFile.close();
  }
  process.stderr.write('\n');
  await rename(`${images}.part`, images);
  await rename(`${records}.part`, records);
}

async function main(): Promise<void> {
  const options = {
    from: { type: 'string' },
    count: { type: 'string' },
    questions: { type: 'string', default: '12' },
    out: { type: 'string' },
  } as const;
  const { values } = parseArgs({ options });
  if (!values.out) throw new ElasticCacheError('invalid-option', '--out must name the folder to write to.');
  // One thread an image: the batch is what runs in parallel.
  sharp.concurrency(1);
  sharp.cache(false);
  await exportScenes(
    wholeNumber('from', values.from),
    wholeNumber('count', values.count),
    wholeNumber('questions', values.questions),
    values.out,
  );
}

if (import.meta.url === pathToFileURL(process.argv[1]!).href) {
  main().catch((error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  });
}
