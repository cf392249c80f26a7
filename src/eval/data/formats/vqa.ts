import { readFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { z } from 'zod';
import { ElasticCacheError } from '../../../errors.js';
import type { ParsedRecord } from '../dataset.js';
import { reasonOf, Text } from '../record.js';

/** Short answers are a word or a few. */
const ANSWER_TOKENS = 16;
/** Of ten people, so many must have given an answer for it to be wholly right (Antol et al. 2015, section 3). */
const AGREED = 3;

const Id = z.union([z.string(), z.number()]);
const Answer = z.union([z.string(), z.object({ answer: z.string() }).transform(({ answer }) => answer)]);
const VqaRecord = z.object({
  question_id: Id,
  image_id: Id.optional(),
  image: Text.optional(),
  question: Text.optional(),
  text: Text.optional(),
  answer: z.string().optional(),
  answers: z.array(Answer).optional(),
});

/**
 * Turns a question as VQAv2, TextVQA and LLaVA's question files have it into a record: `{ "question_id", "image_id" or "image", "question" or "text", "answers" or "answer" }`. Right
 * is what three of ten people said, of fewer people what one said; the commonest answer is the reference. Throws what is wrong with it, for people.
 * @param imageName the file name of an image of this id
 */
export function parseVqa(imageName: (id: string | number) => string) {
  return (record: unknown, name: string): ParsedRecord => {
    const { image_id, image, question, text, answer, answers } = VqaRecord.parse(record);
    const prompt = question ?? text;
    if (prompt === undefined) throw new Error('it has no "question" and no "text"');
    const file = image ?? (image_id === undefined ? undefined : imageName(image_id));
    if (file === undefined) throw new Error('it has no "image" and no "image_id"');
    const given = counted([...(answer === undefined ? [] : [answer]), ...(answers ?? [])]);
    const total = given.reduce((sum, [, count]) => sum + count, 0);
    const accepted = given.filter(([, count]) => total < 10 || count >= AGREED).map(([one]) => [one]);
    return {
      name,
      image: file,
      tasks: [
        {
          name: 'question',
          prompt,
          maxNewTokens: ANSWER_TOKENS,
          ...(given.length > 0 && { reference: given[0]![0] }),
          ...(accepted.length > 0 && { accepted }),
        },
      ],
    };
  };
}

/** Different answers, the commonest first. */
function counted(answers: readonly string[]): [string, number][] {
  const counts = new Map<string, number>();
  for (const answer of answers.map((one) => one.trim()).filter(Boolean))
    counts.set(answer, (counts.get(answer) ?? 0) + 1);
  return [...counts].sort(([, a], [, b]) => b - a);
}

/** VQAv2's images are named by their split and a number of twelve digits; others by their ids. */
export function vqaImageName({ data_subtype }: { data_subtype?: unknown }): (id: string | number) => string {
  if (typeof data_subtype !== 'string') return (id) => (/\.\w+$/.test(String(id)) ? String(id) : `${id}.jpg`);
  return (id) => `COCO_${data_subtype}_${String(id).padStart(12, '0')}.jpg`;
}

/**
 * Puts the answers of VQAv2's annotations to its questions: they are in a file of their own, named like that of the questions, and without it there are none.
 * @throws ElasticCacheError 'invalid-data' for a file that is no such
 */
export async function withAnnotations(source: string, questions: readonly unknown[]): Promise<unknown[]> {
  const name = basename(source)
    .replace(/_(OpenEnded|MultipleChoice)/, '')
    .replace('questions', 'annotations');
  const path = join(dirname(source), name);
  const text = name === basename(source) ? undefined : await readFile(path, 'utf8').catch(() => undefined);
  if (text === undefined) return [...questions];
  const Annotations = z.object({
    annotations: z.array(z.object({ question_id: Id, answers: z.array(Answer) })),
  });
  let known: z.infer<typeof Annotations>;
  try {
    known = Annotations.parse(JSON.parse(text));
  } catch (cause) {
    throw new ElasticCacheError(
      'invalid-data',
      `${path} holds no annotations of VQAv2 (${reasonOf(cause)}).`,
      {
        cause,
      },
    );
  }
  const answers = new Map(known.annotations.map((each) => [each.question_id, each.answers]));
  return questions.map((question) => {
    const found = answers.get((question as { question_id: string | number } | null)?.question_id ?? '');
    return found ? { ...(question as object), answers: found } : question;
  });
}
