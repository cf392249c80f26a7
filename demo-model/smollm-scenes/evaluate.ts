/**
 * How well SmolLM2 sees drawn scenes with each cache: attributes described and short answers right, on scenes that training never saw. All tokens of an answer come through the cache as it was
 * compressed, the first as well. A line a scene and cache goes into --out as it is known, and the same command goes on there.
 * Run: npx tsx demo-model/smollm-scenes/evaluate.ts --model DIR --out FILE [--dtype q8] [--from 1000] [--scenes 24] [--policies elastic-plus,snapkv] [--budgets 0.2,0.1] [--question known|unknown] [--show]
 */
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { RawImage } from '@huggingface/transformers';
import { parseBudgets, parsePolicies } from '../../src/cli/options/option-values.js';
import { ElasticCacheError } from '../../src/errors.js';
import { type CacheCell, cellsOf } from '../../src/eval/cells.js';
import type { Sample } from '../../src/eval/data/dataset.js';
import { QUESTIONS, STRICT } from '../../src/eval/data/protocol.js';
import { prepareSample } from '../../src/eval/sweep/prepare-sample.js';
import { loadElastic } from '../../src/index.js';
import { answerInputs } from '../../src/models/conversation/answer.js';
import type { LoadedModel } from '../../src/models/loaded-model.js';
import { PromptTurns } from '../../src/models/measuring/prompt-turns.js';
import { SharedPrompts } from '../../src/models/measuring/shared-prompts.js';
import { createPolicy, type PolicySpec } from '../../src/policies/registry.js';
import { Random } from '../../src/random.js';
import { type Question, questions } from '../../src/scenes/questions.js';
import { renderScene } from '../../src/scenes/render.js';
import { makeScene } from '../../src/scenes/scene.js';
import { IMAGE_SIZE } from '../../src/scenes/vocabulary.js';
import { DESCRIPTION_PROMPTS } from './language.js';
import { isRight, scoreFreely } from './read.js';
import { type Line, tableOf } from './table.js';

const QUESTIONS_A_SCENE = 8;
const DESCRIPTION = 'description';
const { values: options } = parseArgs({
  options: {
    model: { type: 'string' },
    out: { type: 'string' },
    dtype: { type: 'string', default: 'q8' },
    from: { type: 'string', default: '1000' },
    scenes: { type: 'string', default: '24' },
    policies: { type: 'string', default: 'elastic-plus,snapkv,h2o' },
    budgets: { type: 'string', default: '0.2,0.1' },
    question: { type: 'string', default: 'known' },
    show: { type: 'boolean', default: false },
  },
});

interface Run {
  loaded: LoadedModel;
  question: (typeof QUESTIONS)[number];
  out: string;
}

const invalid = (message: string) => new ElasticCacheError('invalid-option', message);

/** One scene with the caches that it was not seen with. */
async function look(
  seed: number,
  open: readonly CacheCell[],
  { loaded, question, out }: Run,
): Promise<Line[]> {
  const scene = makeScene(seed);
  const asked = new Map<string, Question>(
    questions(scene, new Random(seed, 1), QUESTIONS_A_SCENE).map((each, i) => [`question ${i}`, each]),
  );
  const sample: Sample = {
    name: String(seed),
    image: async () =>
      new RawImage(new Uint8ClampedArray(await renderScene(scene)), IMAGE_SIZE, IMAGE_SIZE, 3),
    tasks: [
      {
        name: DESCRIPTION,
        prompt: DESCRIPTION_PROMPTS[seed % DESCRIPTION_PROMPTS.length]!,
        maxNewTokens: 260,
      },
      ...[...asked].map(([name, { question }]) => ({ name, prompt: question, maxNewTokens: 24 })),
    ],
  };
  const { tasks } = await prepareSample(loaded, sample, { ...STRICT, question });
  const turns = new PromptTurns(loaded);
  const found = new Map<CacheCell, Line>(
    open.map((cell) => [
      cell,
      {
        seed,
        policy: cell.policy,
        budget: cell.budget.name,
        described: { right: 0, total: 0 },
        short: { right: 0, total: 0 },
        wrong: [],
      },
    ]),
  );
  const say = async ({ name, prompt, maxNewTokens }: Sample['tasks'][number], cell: CacheCell) => {
    const task = tasks.get(name)!;
    const caches = turns.read(task, { policy: cell.cachePolicy, budget: cell.budget.budget });
    const { text } = await answerInputs(loaded, task.inputs, { cache: await caches.next(), maxNewTokens });
    if (options.show) console.log(`${seed} ${cell.policy} ${cell.budget.name} ${prompt}\n    ${text}`);
    const line = found.get(cell)!;
    if (name === DESCRIPTION) {
      const { right, total } = scoreFreely(text, scene);
      line.described = { right, total };
      return;
    }
    const right = isRight(asked.get(name)!, text);
    line.short.total++;
    if (right) line.short.right++;
    else line.wrong.push(asked.get(name)!.kind);
  };
  // What is next to one another shares its reading, as in a sweep.
  if (question === 'known') for (const task of sample.tasks) for (const cell of open) await say(task, cell);
  else for (const cell of open) for (const task of sample.tasks) await say(task, cell);
  for (const line of found.values()) appendFileSync(out, `${JSON.stringify(line)}\n`);
  return [...found.values()];
}

async function main(): Promise<void> {
  const { model, out } = options;
  if (!model || !out) throw invalid('--model must name the converted model, --out the file of results.');
  const question = QUESTIONS.find((name) => name === options.question);
  if (!question) throw invalid(`--question is ${QUESTIONS.join(' or ')}.`);
  const cells = cellsOf(
    parsePolicies(options.policies).map((spec) => createPolicy(spec as PolicySpec)),
    parseBudgets(options.budgets),
  );
  const lines: Line[] = existsSync(out)
    ? readFileSync(out, 'utf8')
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line))
    : [];
  const has = (seed: number, { policy, budget }: CacheCell) =>
    lines.some((line) => line.seed === seed && line.policy === policy && line.budget === budget.name);
  const loaded = await loadElastic(model, { dtype: options.dtype as 'q8' });
  const shared = new SharedPrompts(loaded);
  const seeds = Array.from({ length: Number(options.scenes) }, (_, i) => Number(options.from) + i);
  for (const [i, seed] of seeds.entries()) {
    const open = cells.filter((cell) => !has(seed, cell));
    if (open.length > 0)
      lines.push(...(await shared.during(() => look(seed, open, { loaded, question, out }))));
    process.stderr.write(`\r${i + 1}/${seeds.length} scenes`);
  }
  process.stderr.write('\n');
  console.log(
    tableOf(
      cells,
      lines.filter(({ seed }) => seeds.includes(seed)),
    ),
  );
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
});
