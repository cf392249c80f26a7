import { z } from 'zod';
import type { ParsedRecord } from '../dataset.js';
import { Text } from '../record.js';
import { placed } from './placed-image.js';

const Turn = z.object({ from: z.string(), value: z.string() });
const LlavaRecord = z.object({
  image: Text,
  conversations: z.array(Turn).min(2, 'it has fewer than two turns'),
});

/**
 * A record of LLaVA's conversation format (`detail_1k.json`, LLaVA-Description): `[{ id, image, conversations: [{ from: 'human',
 * value: '<image>\n...' }, { from: 'gpt', value }] }]`. Of a conversation with several turns the first is taken: the question, and
 * the answer as the reference; the image stands where the question has it. Throws what is wrong with it, for people.
 */
export function parseLlava(record: unknown, name: string): ParsedRecord {
  const { image, conversations } = LlavaRecord.parse(record);
  const [question, answer] = conversations as [z.infer<typeof Turn>, z.infer<typeof Turn>];
  if (question.from !== 'human' || answer.from !== 'gpt') {
    throw new Error(
      `its first turns are from "${question.from}" and "${answer.from}", not "human" and "gpt"`,
    );
  }
  const asked = placed(question.value);
  const reference = answer.value.trim();
  if (!reference) throw new Error('its answer is empty');
  return { name, image, tasks: [{ name: 'description', ...asked, reference }] };
}
