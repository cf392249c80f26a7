import { z } from 'zod';
import type { ParsedRecord, Task } from '../dataset.js';
import { Text } from '../record.js';
import { placed } from './placed-image.js';

const Url = z.union([Text, z.object({ url: Text }).transform(({ url }) => url)]);
const Part = z.union([
  z.object({ type: z.literal('text'), text: z.string() }),
  z
    .object({
      type: z.enum(['image', 'image_url']),
      image: Text.optional(),
      image_url: Url.optional(),
      url: Text.optional(),
      path: Text.optional(),
    })
    .transform((part) => ({
      type: 'image' as const,
      image: part.image ?? part.image_url ?? part.url ?? part.path,
    })),
]);
const Message = z.object({ role: z.string(), content: z.union([z.string(), z.array(Part)]) });
const MessagesRecord = z.object({
  messages: z.array(Message),
  image: Text.optional(),
  images: z.array(Text).max(1, 'it has several images, and one is taken').optional(),
});

/**
 * A record of messages, as chat APIs and training programs have them: `{ "messages": [{ "role": "user", "content": ... }, { "role": "assistant", "content": "..." }], "images": ["..."] }`.
 * A content is a text, with `<image>` in the place of the image, or a list of parts of the types `text` and `image` or `image_url`, which name the image or leave it to `images`. The
 * first question is taken, with the system message before it and the answer after it as the reference. Throws what is wrong with it, for people.
 */
export function parseMessages(record: unknown, name: string): ParsedRecord {
  const { messages, image, images = [] } = MessagesRecord.parse(record);
  const at = messages.findIndex(({ role }) => role === 'user');
  const question = messages[at];
  if (!question) throw new Error('it has no message of the role "user"');
  const answer = messages[at + 1];
  const system = messages.slice(0, at).find(({ role }) => role === 'system');
  const named = [image, ...images, ...imagesIn(question.content)].filter((one) => one !== undefined);
  if (new Set(named).size > 1) throw new Error('it has several images, and one is taken');
  const reference = answer?.role === 'assistant' ? textOf(answer.content).trim() : '';
  const task: Task = {
    name: 'question',
    ...placed(textOf(question.content)),
    ...(system && { system: textOf(system.content).trim() }),
    ...(reference === '' ? {} : { reference }),
  };
  return { name, image: named[0], tasks: [task] };
}

type Content = z.infer<typeof Message>['content'];

function imagesIn(content: Content): (string | undefined)[] {
  return typeof content === 'string'
    ? []
    : content.map((part) => (part.type === 'image' ? part.image : undefined));
}

/** With a mark in the place of each image. */
function textOf(content: Content): string {
  if (typeof content === 'string') return content;
  return content.map((part) => (part.type === 'image' ? '<image>' : part.text)).join('\n');
}
