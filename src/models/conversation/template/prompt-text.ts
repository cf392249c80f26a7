import { ElasticCacheError } from '../../../errors.js';
import { familyOf } from '../../families/registry.js';
import type { LoadedModel } from '../../loaded-model.js';
import { boundedly, templateFailed } from './bounded-template.js';
import { refuseReserved } from './reserved-tokens.js';

/** What a user says in one turn, with so many images before it, or behind what is said `before` them. */
interface UserTurn {
  images: number;
  prompt: string;
  before?: string | undefined;
}

type Messages = Parameters<LoadedModel['tokenizer']['apply_chat_template']>[0];

/** A message before it is known in which form a template takes its content. */
interface Message {
  role: 'system' | 'user' | 'assistant';
  /** One for each image, in front of the text. */
  marks: readonly string[];
  text: string;
  /** What is said in front of the images. */
  before?: string | undefined;
}

/**
 * The text of the first turn of a conversation, with a mark in the place of each image.
 * @param system what the model is told beforehand; of a template that has no place for it, it comes before what the user says
 * @param before what the user says in front of the images; the images come first without it
 * @throws ElasticCacheError `invalid-prompt` when the prompt holds such a mark itself, or a token with a meaning of its own; `invalid-model` when the template
 *   cannot be rendered
 */
export function promptText(
  loaded: LoadedModel,
  images: number,
  prompt: string,
  system?: string,
  before?: string,
): string {
  const user = userMessage(loaded, { images, prompt, before });
  const led = system === undefined ? user : ledBy(system, user);
  if (!templateOf(loaded)) {
    const family = familyOf(loaded.model.config.model_type);
    return before === undefined
      ? family.plainPrompt(led.marks, led.text)
      : family.plainPrompt([], inLine(led));
  }
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

function ledBy(system: string, user: Message): Message {
  return user.before === undefined
    ? { ...user, text: `${system}\n\n${user.text}` }
    : { ...user, before: `${system}\n\n${user.before}` };
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

function userMessage(loaded: LoadedModel, { images, prompt, before }: UserTurn): Message {
  for (const text of [before ?? '', prompt]) refuseMarks(loaded, text);
  const mark = familyOf(loaded.model.config.model_type).mark(loaded);
  return { role: 'user', marks: new Array<string>(images).fill(mark ?? ''), text: prompt, before };
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
const FORMS = ['parts', 'parts of users', 'text', 'marks in a text'] as const;

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

function inForm(message: Message, form: (typeof FORMS)[number]): object {
  const { role, marks, text, before } = message;
  const said = (part: string) => ({ type: 'text', text: part });
  if (form === 'marks in a text') return { role, content: [said(inLine(message))] };
  const inParts = form === 'parts' || (form === 'parts of users' && role === 'user');
  if (!inParts) return { role, content: inLine(message) };
  const images = marks.map(() => ({ type: 'image' }));
  if (before === undefined) return { role, content: [...images, said(text)] };
  return { role, content: [said(before), ...images, ...(text === '' ? [] : [said(text)])] };
}

/** All of a message in one text. */
function inLine({ marks, text, before }: Message): string {
  const images = marks.map((mark) => `${mark}\n`).join('');
  return before === undefined ? images + text : `${before}\n${images}${text}`.trimEnd();
}

/** Whether a text has every message in its order, with its images, as text and not as a list of parts. */
function isWhole(text: string, messages: readonly Message[]): boolean {
  let end = 0;
  for (const { before, marks, text: own } of messages) {
    // What is said before the images must not have come behind them.
    for (const part of before === undefined ? [own] : [before, ...marks, own]) {
      const said = part.trim();
      const at = text.indexOf(said, end);
      if (at < 0) return false;
      end = at + said.length;
    }
  }
  const [mark] = messages.flatMap(({ marks }) => marks);
  const wanted = messages.reduce((sum, { marks }) => sum + marks.length, 0);
  const found = mark === undefined ? 0 : text.split(mark).length - 1;
  const listed = /["']type["'] ?:/;
  return found === wanted && (!listed.test(text) || messages.some((message) => listed.test(message.text)));
}
