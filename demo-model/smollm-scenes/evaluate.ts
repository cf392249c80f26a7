/**
 * How well SmolLM2 sees drawn scenes, on held-out ones: described attributes right, short answers right, by kind.
 * Run: npx tsx demo-model/smollm-scenes/evaluate.ts --model DIR [--dtype fp32] [--scenes 50] [--from 1000] [--budgets 1,0.2] [--policy snapkv]
 * The last line is JSON.
 */
import { parseArgs } from 'node:util';
import { RawImage } from '@huggingface/transformers';
import { answer, ElasticCache, loadElastic, type PolicyName } from '../../src/index.js';
import { Random } from '../../src/random.js';
import { questions } from '../../src/scenes/questions.js';
import { renderScene } from '../../src/scenes/render.js';
import { makeScene } from '../../src/scenes/scene.js';
import { IMAGE_SIZE } from '../../src/scenes/vocabulary.js';
import type { Tally } from '../scenes/score.js';
import { DESCRIPTION_PROMPTS } from './language.js';
import { isRight, scoreFreely } from './read.js';

const { values: options } = parseArgs({
  options: {
    model: { type: 'string' },
    dtype: { type: 'string', default: 'fp32' },
    scenes: { type: 'string', default: '50' },
    from: { type: 'string', default: '1000' },
    budgets: { type: 'string', default: '1' },
    policy: { type: 'string', default: 'snapkv' },
    show: { type: 'boolean', default: false },
  },
});
if (!options.model) throw new Error('--model must name the converted model.');
const share = ({ right, total }: Tally) => (total === 0 ? 'none' : `${((100 * right) / total).toFixed(1)}%`);
const loaded = await loadElastic(options.model, { dtype: options.dtype as 'fp32' });

async function evaluate(budget: number) {
  const described: Tally = { right: 0, total: 0 };
  const byKind = new Map<string, Tally>();
  const ask = async (image: RawImage, prompt: string, maxNewTokens: number) => {
    const cache = new ElasticCache({ policy: options.policy as PolicyName, budget });
    const { text } = await answer(loaded, { prompt, images: [image] }, { cache, maxNewTokens });
    if (options.show) console.log(`  ${prompt}\n    ${text}`);
    return text;
  };
  for (let seed = Number(options.from); seed < Number(options.from) + Number(options.scenes); seed++) {
    const scene = makeScene(seed);
    const image = new RawImage(new Uint8ClampedArray(await renderScene(scene)), IMAGE_SIZE, IMAGE_SIZE, 3);
    const { right, total } = scoreFreely(await ask(image, DESCRIPTION_PROMPTS[0], 240), scene);
    described.right += right;
    described.total += total;
    for (const question of questions(scene, new Random(seed, 1)).slice(0, 4)) {
      const tally = byKind.get(question.kind) ?? { right: 0, total: 0 };
      byKind.set(question.kind, tally);
      tally.total += 1;
      tally.right += isRight(question, await ask(image, question.question, 24)) ? 1 : 0;
    }
    process.stderr.write(
      `\rbudget ${budget}: ${seed + 1 - Number(options.from)}/${options.scenes} scenes, ${share(described)}`,
    );
  }
  process.stderr.write('\n');
  const kinds = [...byKind.values()];
  const short = {
    right: kinds.reduce((sum, tally) => sum + tally.right, 0),
    total: kinds.reduce((sum, tally) => sum + tally.total, 0),
  };
  return { budget, described, short, byKind: Object.fromEntries(byKind) };
}

const results = [];
for (const budget of options.budgets.split(',').map(Number)) {
  const result = await evaluate(budget);
  results.push(result);
  console.log(
    `budget ${budget}: described attributes right ${share(result.described)}, short answers right ${share(result.short)}`,
  );
  for (const [kind, tally] of Object.entries(result.byKind)) {
    console.log(`  ${kind.padEnd(10)} ${share(tally)} of ${tally.total}`);
  }
}
console.log(JSON.stringify({ policy: options.policy, scenes: Number(options.scenes), results }));
