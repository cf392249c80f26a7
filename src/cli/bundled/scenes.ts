import { ElasticCacheError } from '../../errors.js';
import type { DataOptions, Dataset, Sample, Task } from '../../eval/data/dataset.js';
import { openDataset } from '../../eval/data/open-dataset.js';
import { seedIn } from '../../eval/data/split.js';
import { openTasks } from '../../eval/data/tasks/open-tasks.js';
import { imageOf } from '../../models/images/read-image.js';
import { Random } from '../../random.js';
import { DESCRIPTION_PROMPTS, describe } from '../../scenes/describe.js';
import { questions } from '../../scenes/questions.js';
import { renderScene } from '../../scenes/render.js';
import { isHeldOut, makeScene } from '../../scenes/scene.js';
import { IMAGE_SIZE } from '../../scenes/vocabulary.js';

/** The held-out scenes that the embedded model was judged on begin here. */
const FIRST_SCENE = 1000;

/** Of the scene's dozen: more scenes say more than more questions about one. */
const QUESTIONS = 4;
/** Short answers are a few words; what goes on beyond this is wrong anyway. */
const ANSWER_TOKENS = 16;

/** Seeds below are for development where the halves are kept apart. */
const HALF = 50_000;

/**
 * The first records of a data set for `eval`.
 * @param source `scenes`, `scenes:FROM` (seeds of held-out scenes of the embedded model), a task that `openTasks` takes, or a file that `openDataset` takes
 * @throws ElasticCacheError as `openDataset`, and 'invalid-data' for scenes that the model was trained on
 */
export async function openScenesOrFile(source: string, options: DataOptions): Promise<Dataset> {
  const scenes = /^scenes(?::(.*))?$/.exec(source);
  if (scenes) return heldOutScenes(source, scenes[1], options);
  return openTasks(source, options) ?? openDataset(source, options);
}

function heldOutScenes(source: string, from: string | undefined, { count, split }: DataOptions): Dataset {
  const seed = from === undefined ? FIRST_SCENE : Number(from || Number.NaN);
  const first = seedIn(split, seed, count, HALF, source);
  if (!Number.isSafeInteger(seed) || ![seed, first, first + count - 1].every(isHeldOut)) {
    throw new ElasticCacheError(
      'invalid-data',
      `data "${source}" with ${count} samples are no held-out scenes; their seeds go from 0 to 99999, for example scenes:${FIRST_SCENE}.`,
    );
  }
  const samples = Array.from({ length: count }, (_, index) => sceneSample(first + index));
  // The scenes are the program's own: they change with its version alone.
  return { source: `scenes:${first}`, fingerprint: '', samples, broken: [] };
}

/** The held-out scene of a seed: its description, and short questions. */
function sceneSample(seed: number): Sample {
  const scene = makeScene(seed);
  const asked = questions(scene, new Random(seed, 1)).slice(0, QUESTIONS);
  const tasks: Task[] = [
    { name: 'description', prompt: DESCRIPTION_PROMPTS[0], reference: describe(scene) },
    ...asked.map(({ kind, question, answer }, index) => ({
      name: `question ${index + 1}: ${kind}`,
      prompt: question,
      accepted: [[answer]],
      maxNewTokens: ANSWER_TOKENS,
    })),
  ];
  return {
    name: `scene ${seed}`,
    tasks,
    image: async () => imageOf(await renderScene(scene), IMAGE_SIZE, IMAGE_SIZE),
  };
}
