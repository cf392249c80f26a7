import { ElasticCacheError } from '../../errors.js';
import { unknown } from '../../options.js';

const COMMANDS = {
  image: '/image FILE        put an image before the next question; again for more',
  save: '/save FILE         write the conversation so far: as JSON to a .json file, else as text',
  stats: '/stats             what the cache holds',
  reset: '/reset             begin another conversation',
  help: '/help              these lines',
  quit: '/quit              leave, as Ctrl-D does',
} as const;

export const CHAT_COMMANDS = `
In the conversation:
${Object.values(COMMANDS)
  .map((line) => `  ${line}`)
  .join('\n')}
  Ctrl-C stops an answer, which stays as far as it came; where nothing is being said it leaves.
`;

const EXAMPLES = { image: 'photo.jpg', save: 'talk.json' };

/** What a line of a conversation is: a question, or a command. */
export type ChatLine =
  | { kind: 'question'; prompt: string }
  | { kind: 'image' | 'save'; path: string }
  | { kind: Exclude<keyof typeof COMMANDS, 'image' | 'save'> }
  | { kind: 'nothing' };

/** @throws ElasticCacheError 'invalid-option' for a command that is none, or has nothing to go by */
export function readLine(line: string): ChatLine {
  const text = line.trim();
  if (text === '') return { kind: 'nothing' };
  if (!text.startsWith('/')) return { kind: 'question', prompt: text };
  const [, name = '', rest = ''] = /^\/(\S*)\s*(.*)$/s.exec(text)!;
  if (name === 'image' || name === 'save') {
    if (rest !== '') return { kind: name, path: rest };
    throw new ElasticCacheError(
      'invalid-option',
      `/${name} has no file; write for example /${name} ${EXAMPLES[name]}.`,
    );
  }
  if (name !== '' && Object.hasOwn(COMMANDS, name))
    return { kind: name as 'stats' | 'reset' | 'help' | 'quit' };
  const known = Object.keys(COMMANDS).map((each) => `/${each}`);
  throw unknown('invalid-option', `there is no command /${name}`, `/${name}`, known, 'there are');
}
