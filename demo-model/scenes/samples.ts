/**
 * Writes the ten bundled scenes, held-out ones: `NN.png` and `NN.json` (seed, items, true description, questions).
 * Run: npx tsx demo-model/scenes/samples.ts
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { renderPng } from '../../src/scenes/render.js';
import { makeScene } from '../../src/scenes/scene.js';
import { sceneRecord } from './export.js';

/** Chosen by eye among the first hundred for variety: few and many items, light and dark, with and without text. */
const SEEDS = [17, 8, 58, 42, 24, 71, 3, 36, 11, 90];

const out = new URL('../samples/', import.meta.url);
await mkdir(out, { recursive: true });
for (const [i, seed] of SEEDS.entries()) {
  const name = String(i + 1).padStart(2, '0');
  const scene = makeScene(seed);
  await writeFile(new URL(`${name}.png`, out), await renderPng(scene));
  await writeFile(new URL(`${name}.json`, out), `${JSON.stringify(sceneRecord(scene), null, 2)}\n`);
}
