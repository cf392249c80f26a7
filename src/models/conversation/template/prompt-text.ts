import { ElasticCacheError } from '../../../errors.js';
import { familyOf } from '../../families/registry.js';
import type { LoadedModel } from '../../loaded-model.js';
import { boundedly, templateFailed } from './bounded-template.js';
import { refuseReserved } from './reserved-tokens.js';

/** What a user says in one turn, with so many images before it. */
interface UserTurn {
  images: number;
  prompt: string;
}

type Messages = Parameters<LoadedModel['tokenizer']['apply_chat_template']>[0];

/** A message before it is known in which form a template takes its content. */
interface Message {
  role: 'system' | 'user' | 'assistant';
  /** One for each image, in front of the text. */
  marks: readonly string[];
  text: string;
}

/**
 * The text of the first turn of a conversation, with a mark in the place of each image.
 * @param system what the model is told beforehand; of a template that has no place for it, it comes before what the user says
 * @throws ElasticCacheError `invalid-prompt` when the prompt holds such a mark itself, or a token with a meaning of its own; `invalid-model` when the template
 *   cannot be rendered
 */
export function promptText(loaded: LoadedModel, images: number, prompt: string, system?: string): string {
  const user = userMessage(loaded, { images, prompt });
  const led = { ...user, text: system === undefined ? prompt : `${system}\n\n${prompt}` };
  if (!templateOf(loaded)) return familyOf(loaded.model.config.model_type).plainPrompt(led.marks, led.text);
  if (system !== undefined) {
    refuseMarks(loaded, system);
    const text = rendered(loaded, [{ role: 'system', marks: [], text: system }, user]);
    if (text !== undefined) return text;
  }
  try {
    return rendered(loaded, [led]) ?? render(loaded, [inForm(led, 'text')]);
  } catch (cause) {
    throw templateFailed(cause);
  }
}

/** Stands for an answer where a template is asked what comes behind one. No template changes it. */
const ANSWER = 'ElasticCacheAnswer';

/**
 * The text that follows an answer: what ends it, the next turn, and what introduces the next answer.
 *
 * A template is asked with an answer of one word after a question of one word, never with what was said: templates strip spaces, drop reasoning, and rewrite
 * earlier turns, and what a cache has seen cannot be rewritten.
 * @throws ElasticCacheError `invalid-prompt` when the prompt holds a mark of an image
 */
export function nextTurnText(loaded: LoadedModel, turn: UserTurn): string {
  const user = userMessage(loaded, turn);
  let answer = ANSWER;
  while (turn.prompt.includes(answer)) answer += '_';
  const before: Message[] = [
    { role: 'user', marks: [], text: 'Hi' },
    { role: 'assistant', marks: [], text: answer },
  ];
  const text = templateOf(loaded) ? rendered(loaded, [...before, user]) : undefined;
  const next = text?.slice(text.indexOf(answer) + answer.length);
  // A template may put the images of all turns first.
  if (next !== undefined && isWhole(next, [user])) return ended(next, loaded);
  // Without a template, or one that knows no answers: as models were trained, an answer is ended by their own token.
  const { bos_token, eos_token } = loaded.tokenizer;
  const first = promptText(loaded, turn.images, turn.prompt);
  return (
    (eos_token ?? '') + (bos_token && first.startsWith(bos_token) ? first.slice(bos_token.length) : first)
  );
}

/** Without the space that a template puts before the token that ends an answer: the answer is over where the model ended it. */
function ended(text: string, { tokenizer: { eos_token } }: LoadedModel): string {
  const end = text.trimStart();
  return eos_token && end.startsWith(eos_token) ? end : text;
}

function userMessage(loaded: LoadedModel, { images, prompt }: UserTurn): Message {
  refuseMarks(loaded, prompt);
  const mark = familyOf(loaded.model.config.model_type).mark(loaded);
  return { role: 'user', marks: new Array<string>(images).fill(mark ?? ''), text: prompt };
}

/** Refuses what is no text to the model: marks of images, and reserved tokens. */
function refuseMarks(loaded: LoadedModel, text: string): void {
  const family = familyOf(loaded.model.config.model_type);
  const mark = family.mark(loaded);
  const held = mark !== undefined && text.includes(mark) ? mark : family.otherMarks?.exec(text)?.[0];
  if (held === undefined) {
    refuseReserved(loaded, text);
    return;
  }
  throw new ElasticCacheError(
    'invalid-prompt',
    `The prompt holds "${held}", which stands for an image in this model's text; leave it out, images are put in by themselves.`,
  );
}

function templateOf({ processor, tokenizer }: LoadedModel): unknown {
  return processor?.chat_template ?? tokenizer.chat_template;
}

function render({ processor, tokenizer }: LoadedModel, messages: readonly object[]): string {
  // Of several that a tokenizer has, it takes the default by itself.
  const own = tokenizer.get_chat_template({ chat_template: processor?.chat_template ?? null });
  return boundedly(
    own,
    (chat_template, variables) =>
      tokenizer.apply_chat_template(messages as Messages, {
        chat_template,
        tokenize: false,
        add_generation_prompt: true,
        ...variables,
      }) as string,
  );
}

/** Templates take a content as a list of parts, or as a text; some take parts from users alone. */
const FORMS = ['parts', 'parts of users', 'text'] as const;

/** What a template makes of messages, in the first form in which all of them are there; undefined where there is none. */
function rendered(loaded: LoadedModel, messages: readonly Message[]): string | undefined {
  for (const form of FORMS) {
    let text: string;
    try {
      text = render(
        loaded,
        messages.map((message) => inForm(message, form)),
      );
    } catch (cause) {
      if (cause instanceof ElasticCacheError) throw cause;
      continue;
    }
    if (isWhole(text, messages)) return text;
  }
  return undefined;
}

function inForm({ role, marks, text }: Message, form: (typeof FORMS)[number]): object {
  const inParts = form === 'parts' || (form === 'parts of users' && role === 'user');
  if (!inParts) return { role, content: marks.map((mark) => `${mark}\n`).join('') + text };
  return { role, content: [...marks.map(() => ({ type: 'image' })), { type: 'text', text }] };
}

/** Whether a text has every message in its order, with its images, as text and not as a list of parts. */
function isWhole(text: string, messages: readonly Message[]): boolean {
  let end = 0;
  for (const message of messages) {
    const said = message.text.trim();
    const at = text.indexOf(said, end);
    if (at < 0) return false;
    end = at + said.length;
  }
  const [mark] = messages.flatMap(({ marks }) => marks);
  const wanted = messages.reduce((sum, { marks }) => sum + marks.length, 0);
  const found = mark === undefined ? 0 : text.split(mark).length - 1;
  const listed = /["']type["'] ?:/;
  return found === wanted && (!listed.test(text) || messages.some((message) => listed.test(message.text)));
}
