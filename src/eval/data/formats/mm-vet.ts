import { z } from 'zod';
import type { ParsedRecord, Task } from '../dataset.js';
import { Text } from '../record.js';

const MmVetRecord = z.object({ imagename: Text, question: Text, answer: Text });

/** Longer answers, in words, have more than one right wording: no exact match is asked of them. */
const SHORT_WORDS = 5;

/**
 * A record of MM-Vet (`mm-vet.json`): `{ "v1_0": { imagename, question, answer, ... } }`. Its answers name alternatives with
 * `<OR>` and parts that must all be there with `<AND>`. The first alternative is the reference of the perplexity; short
 * ones also count for accuracy. (MM-Vet's own score is a judgement of GPT-4, and not this.) Throws what is wrong with it.
 */
export function parseMmVet(record: unknown, name: string): ParsedRecord {
  const { imagename, question, answer } = MmVetRecord.parse(record);
  const accepted = answer.split('<OR>').map((one) =>
    one
      .split('<AND>')
      .map((part) => part.trim())
      .filter(Boolean),
  );
  if (accepted.some((parts) => parts.length === 0)) {
    throw new Error(`its answer "${answer}" has an alternative that is empty`);
  }
  const task: Task = {
    name: 'question',
    prompt: question,
    reference: accepted[0]!.join(', '),
    written: answer,
  };
  const short = accepted.flat().every((part) => part.split(/\s+/).length <= SHORT_WORDS);
  return { name, image: imagename, tasks: [short ? { ...task, accepted } : task] };
}
