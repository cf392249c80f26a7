import { ElasticCacheError } from '../errors.js';
import { nextInputs } from '../models/conversation/next-inputs.js';
import { type Inputs, prepareInputs } from '../models/conversation/prepare-inputs.js';
import type { Said } from '../models/conversation/reply.js';
import { refuseReserved } from '../models/conversation/template/reserved-tokens.js';
import type { ImageSource } from '../models/images/image-source.js';
import type { LoadedModel } from '../models/loaded-model.js';
import { refuseUnknown } from '../options.js';

/** One message of a conversation: what the model is told beforehand, a user's turn with its images, or an answer. */
export interface Message {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string;
  /** Of a user, in the order in which the model shall see them: before the text. */
  readonly images?: readonly ImageSource[] | undefined;
}

/**
 * The inputs of a conversation that is given as messages: one of the system or none, then users and answers in turn, a user's last. Its tokens are those that `chat()` has for
 * the same turns, where it is known what the model said; an answer that is not known has the tokens of its text.
 * @param saidTo the tokens of an answer that was given to messages
 * @throws ElasticCacheError `invalid-prompt` for messages in another order, and as {@link prepareInputs}
 */
export async function messageInputs(
  loaded: LoadedModel,
  messages: readonly Message[],
  saidTo: (messages: readonly Message[], answer: string) => Said | undefined = () => undefined,
): Promise<Inputs> {
  const { system, turns } = turnsOf(messages);
  const [first, ...later] = turns as [UserTurn, ...UserTurn[]];
  let inputs = await prepareInputs(loaded, { ...first.question, system });
  for (const { answer = '', place = 0, question } of later) {
    refuseReserved(loaded, answer);
    const said = saidTo(messages.slice(0, place), answer) ?? {
      tokens: loaded.tokenizer.encode(answer, { add_special_tokens: false }),
      rest: '',
    };
    inputs = await nextInputs(loaded, inputs, said, question);
  }
  return inputs;
}

/** A user's turn, and the answer before it with its place among the messages. */
interface UserTurn {
  answer?: string;
  place?: number;
  question: { prompt: string; images: readonly ImageSource[] };
}

function turnsOf(messages: readonly Message[]): { system: string | undefined; turns: UserTurn[] } {
  if (!Array.isArray(messages) || messages.length === 0) throw refused('there is none');
  const [first] = messages;
  const system = first?.role === 'system' ? first.content : undefined;
  const turns: UserTurn[] = [];
  let answer: string | undefined;
  for (const [index, message] of messages.entries()) {
    refuseUnknown('a message', message ?? null, ['role', 'content', 'images']);
    const { role, content, images = [] } = message;
    if (typeof content !== 'string') throw refused(`message ${index + 1} has no text`);
    if (images.length > 0 && role !== 'user') throw refused(`message ${index + 1} of the ${role} has images`);
    if (role === 'system' && index === 0) continue;
    const isTurnOfUser = turns.length === 0 || answer !== undefined;
    if (role !== (isTurnOfUser ? 'user' : 'assistant')) {
      throw refused(`message ${index + 1} is of "${role}"`);
    }
    if (role === 'assistant') answer = content;
    else {
      turns.push({
        ...(answer !== undefined && { answer, place: index - 1 }),
        question: { prompt: content, images },
      });
      answer = undefined;
    }
  }
  if (answer !== undefined || turns.length === 0) throw refused('the last is none of a user');
  return { system, turns };
}

function refused(what: string): ElasticCacheError {
  return new ElasticCacheError(
    'invalid-prompt',
    `messages are one of the system or none, then "user" and "assistant" in turn, a user's last, and images are a user's; ${what}.`,
  );
}
