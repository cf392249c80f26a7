/**
 * How well the embedded model sees, on held-out scenes: described attributes right, short answers right, by kind.
 * Run: npx tsx demo-model/evaluate.ts [--model DIR] [--scenes 100] [--from 1000] [--budgets 1,0.2] [--policy elastic]
 * The last line is JSON.
 */
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { RawImage } from '@huggingface/transformers';
import { scoreAnswer } from '../src/eval/metrics/accuracy.js';
import { answer, ElasticCache, loadElastic, type PolicyName } from '../src/index.js';
import { Random } from '../src/random.js';
import { DESCRIPTION_PROMPTS } from '../src/scenes/describe.js';
import { questions } from '../src/scenes/questions.js';
import { renderScene } from '../src/scenes/render.js';
import { makeScene } from '../src/scenes/scene.js';
import { IMAGE_SIZE } from '../src/scenes/vocabulary.js';
import { scoreDescription } from './scenes/score.js';

const { values: options } = parseArgs({
  options: {
    model: { type: 'string', default: fileURLToPath(new URL('llava-scenes', import.meta.url)) },
    scenes: { type: 'string', default: '100' },
    from: { type: 'string', default: '1000' },
    budgets: { type: 'string', default: '1' },
    policy: { type: 'string', default: 'elastic' },
  },
});

type Tally = { right: number; total: number };
const share = ({ right, total }: Tally) => (total === 0 ? 'none' : `${((100 * right) / total).toFixed(1)}%`);

async function evaluate(budget: number) {
  const described: Tally = { right: 0, total: 0 };
  const byKind = new Map<string, Tally>();
  const ask = async (image: RawImage, prompt: string, maxNewTokens: number) => {
    const cache = new ElasticCache({ policy: options.policy as PolicyName, budget });
    return (await answer(loaded, { prompt, images: [image] }, { cache, maxNewTokens })).text;
  };
  for (let seed = Number(options.from); seed < Number(options.from) + Number(options.scenes); seed++) {
    const scene = makeScene(seed);
    const image = new RawImage(new Uint8ClampedArray(await renderScene(scene)), IMAGE_SIZE, IMAGE_SIZE, 3);
    const { right, total } = scoreDescription(await ask(image, DESCRIPTION_PROMPTS[0], 260), scene);
    described.right += right;
    described.total += total;
    // Two of the scene's dozen questions: more scenes say more than more questions about one.
    for (const { kind, question, answer: expected } of questions(scene, new Random(seed, 1)).slice(0, 2)) {
      const tally = byKind.get(kind) ?? { right: 0, total: 0 };
      byKind.set(kind, tally);
      tally.total += 1;
      tally.right += scoreAnswer(await ask(image, question, 12), expected) ? 1 : 0;
    }
    process.stderr.write(
      `\rbudget ${budget}: ${seed + 1 - Number(options.from)}/${options.scenes} scenes, ${share(described)}`,
    );
  }
  process.stderr.write('\n');
  const kinds = [...byKind.values()];
  const short = {
    right: kinds.reduce((sum, t) => sum + t.right, 0),
    total: kinds.reduce((sum, t) => sum + t.total, 0),
  };
  return { budget, described, short, byKind: Object.fromEntries(byKind) };
}

const loaded = await loadElastic(options.model);
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
