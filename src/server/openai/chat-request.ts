import { z } from 'zod';
import { ElasticCacheError } from '../../errors.js';
import { listOf, SHARED_FIELDS } from './request-fields.js';

/** Parts of one message at most. */
const MOST_PARTS = 1000;

const TextPart = z.object({ type: z.literal('text'), text: z.string() });
const ImagePart = z.object({
  type: z.literal('image_url'),
  image_url: z.object(
    {
      url: z.string().min(1).describe('A data URL; http(s) where the server allows it.'),
      detail: z.string().optional().describe('Without effect: the model decides how it reads an image.'),
    },
    'give {"url": "data:image/png;base64,..."}',
  ),
});
const Part = z.discriminatedUnion('type', [TextPart, ImagePart], 'a part is of type "text" or "image_url"');
const Text = z.union(
  [z.string(), listOf(TextPart, 1, MOST_PARTS)],
  'give a text, or a list of parts of type "text"',
);

const ChatMessage = z.discriminatedUnion(
  'role',
  [
    z.object({ role: z.enum(['system', 'developer']), content: Text }),
    z.object({
      role: z.literal('user'),
      content: z.union(
        [z.string(), listOf(Part, 1, MOST_PARTS)],
        'give a text, or a list of parts of type "text" and "image_url"',
      ),
      images: none('images are parts of content, of type "image_url"'),
    }),
    z.object({
      role: z.literal('assistant'),
      content: Text,
      tool_calls: none('tools are not called by this server; leave such messages out'),
    }),
  ],
  'a role is "system", "developer", "user" or "assistant"',
);

/** A field of others' messages that would be part of what is said: a list that must be empty. */
function none(wayOut: string) {
  return z.array(z.unknown()).max(0, wayOut).optional();
}

/** Messages of a conversation at most. */
const MOST_MESSAGES = 1000;

export const ChatRequest = z.object({
  messages: listOf(ChatMessage, 1, MOST_MESSAGES).describe(
    'One of the `system` or none, then `user` and `assistant` in turn, the last of a user. `content` is a text, or a list of parts: `{"type": "text", "text"}` and, of a user, `{"type": "image_url", "image_url": {"url"}}` with a data URL, or an address of the web where the server allows it.',
  ),
  ...SHARED_FIELDS,
  max_completion_tokens: z.int().min(1).optional().describe('The newer name of max_tokens.'),
  logprobs: z.boolean().optional().describe("Tells how likely each token was, by the model's own scores."),
  top_logprobs: z.int().min(0).max(20).optional(),
});
export type ChatRequest = z.infer<typeof ChatRequest>;

/** A message with the addresses of its images, in their order. */
export interface AddressedMessage {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string;
  readonly images?: readonly string[];
}

/** Between what is said by one in several messages. */
const BETWEEN = '\n\n';

/**
 * A conversation as the engine takes it: one system message or none, then users and answers in turn. Several messages of one role on end become one, and an image stands before the
 * text of its message.
 * @throws ElasticCacheError 'invalid-prompt' for one that this cannot be made of
 */
export function conversationOf({ messages }: Pick<ChatRequest, 'messages'>): AddressedMessage[] {
  const merged: AddressedMessage[] = [];
  for (const message of messages) {
    const role = message.role === 'developer' ? 'system' : message.role;
    const parts: z.infer<typeof Part>[] =
      typeof message.content === 'string' ? [{ type: 'text', text: message.content }] : message.content;
    const content = parts.flatMap((part) => (part.type === 'text' ? [part.text] : [])).join('\n');
    const images = parts.flatMap((part) => (part.type === 'image_url' ? [part.image_url.url] : []));
    const before = merged.at(-1);
    if (before?.role !== role) merged.push({ role, content, ...(images.length > 0 && { images }) });
    else {
      const all = [...(before.images ?? []), ...images];
      const text = [before.content, content].filter((each) => each !== '').join(BETWEEN);
      merged[merged.length - 1] = { role, content: text, ...(all.length > 0 && { images: all }) };
    }
  }
  refuseOtherOrder(merged);
  return merged;
}

function refuseOtherOrder(messages: readonly AddressedMessage[]): void {
  const late = messages.findIndex(({ role }, place) => role === 'system' && place > 0);
  if (late >= 0) throw refused('a system message stands between others; put all of them first');
  if (messages.at(-1)!.role !== 'user')
    throw refused('the last message is none of a user; end with what is asked');
  const first = messages.find(({ role }) => role !== 'system');
  if (first?.role !== 'user') throw refused('the first message is an answer; begin with a user');
}

function refused(what: string): ElasticCacheError {
  return new ElasticCacheError('invalid-prompt', `This conversation cannot be read: ${what}.`);
}

/** How many of the likeliest tokens are told beside each; undefined where nothing is. @throws ElasticCacheError 'invalid-option' */
export function likelihoodsAsked({ logprobs, top_logprobs }: ChatRequest): number | undefined {
  if (logprobs) return top_logprobs ?? 0;
  if (top_logprobs === undefined) return undefined;
  throw new ElasticCacheError(
    'invalid-option',
    'top_logprobs is of use with "logprobs": true alone; give both or none.',
  );
}
