import { imageOf } from '../../models/read-image.js';
import { Random } from '../../random.js';
import { DESCRIPTION_PROMPTS, describe } from '../../scenes/describe.js';
import { questions } from '../../scenes/questions.js';
import { renderScene } from '../../scenes/render.js';
import { makeScene } from '../../scenes/scene.js';
import { IMAGE_SIZE } from '../../scenes/vocabulary.js';
import type { Sample, Task } from './dataset.js';

/** Of the scene's dozen: more scenes say more than more questions about one. */
const QUESTIONS = 4;
/** Short answers are a few words; what goes on beyond this is wrong anyway. */
const ANSWER_TOKENS = 16;

/** The held-out scene of a seed: its description, and short questions. */
export function sceneSample(seed: number): Sample {
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
