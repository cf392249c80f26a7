import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ElasticCacheError } from '../../../errors.js';
import type { Json } from '../json.js';

const file = 'qwen.tiktoken';

/** How Qwen cuts a text into words before any bytes are merged. */
const words =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/** What has an id of its own behind the ranks, in this order. Places in a picture, and what is there, are part of what the model says. */
const marks = ['ref', 'box', 'quad'].flatMap((name) => [`<${name}>`, `</${name}>`]);
const reserved = [
  ...['<|endoftext|>', '<|im_start|>', '<|im_end|>'],
  ...Array.from({ length: 205 }, (_, i) => `<|extra_${i}|>`),
  ...marks,
  ...['<img>', '</img>', '<imgpad>'],
];

/**
 * The tokenizer of Qwen-VL, whose checkpoints have it as byte sequences in the order in which they are merged, in the form that
 * transformers.js reads. Undefined where there is none.
 * @throws ElasticCacheError 'invalid-checkpoint' naming the line that is none.
 */
export async function qwenTokenizer(directory: string): Promise<Json | undefined> {
  const text = await readFile(join(directory, file), 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  const ranks = ranksOf(text);
  const spelled = (bytes: string) => Array.from(bytes, (byte) => characters[byte.charCodeAt(0)]).join('');
  const tokens = [...ranks.keys()];
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: reserved.map((content, i) => ({
      id: ranks.size + i,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: !marks.includes(content),
    })),
    normalizer: { type: 'NFC' },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: words }, behavior: 'Isolated', invert: false },
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false },
      ],
    },
    post_processor: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false },
    decoder: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: '',
      end_of_word_suffix: '',
      fuse_unk: false,
      byte_fallback: false,
      // A word that is a token is that token, however its bytes would merge.
      ignore_merges: true,
      vocab: Object.fromEntries(tokens.map((token) => [spelled(token), ranks.get(token)!])),
      merges: tokens.flatMap((token) => {
        const pair = partsOf(token, ranks);
        return pair ? [pair.map(spelled)] : [];
      }),
    },
  };
}

/** Byte sequences, a character for a byte, by rank. */
function ranksOf(text: string): Map<string, number> {
  const ranks = new Map<string, number>();
  for (const [index, line] of text.split('\n').entries()) {
    if (line.trim() === '') continue;
    const [, encoded = '', rank = ''] = /^([A-Za-z0-9+/]+=*) (\d+)\r?$/.exec(line) ?? [];
    const bytes = Buffer.from(encoded, 'base64').toString('latin1');
    if (bytes === '' || Number(rank) !== ranks.size || ranks.has(bytes)) {
      throw new ElasticCacheError(
        'invalid-checkpoint',
        `${file} is damaged, line ${index + 1} is not the token of rank ${ranks.size}: download it again.`,
      );
    }
    ranks.set(bytes, ranks.size);
  }
  const missing = Array.from({ length: 256 }, (_, byte) => byte).find(
    (byte) => !ranks.has(String.fromCharCode(byte)),
  );
  if (missing === undefined) return ranks;
  throw new ElasticCacheError(
    'invalid-checkpoint',
    `${file} is incomplete, it has no token for the byte ${missing}: download it again.`,
  );
}

/** The two tokens that a token is merged of last, by merging its bytes in the order of the ranks; undefined for one that merges do not reach. */
function partsOf(token: string, ranks: ReadonlyMap<string, number>): [string, string] | undefined {
  const own = ranks.get(token)!;
  const parts = Array.from(token);
  while (parts.length > 2) {
    let lowest = own;
    let at = -1;
    for (let i = 0; i + 1 < parts.length; i++) {
      const rank = ranks.get(parts[i]! + parts[i + 1]!) ?? own;
      if (rank < lowest) [lowest, at] = [rank, i];
    }
    if (at < 0) return undefined;
    parts.splice(at, 2, parts[at]! + parts[at + 1]!);
  }
  return parts.length === 2 ? [parts[0]!, parts[1]!] : undefined;
}

/** The characters that stand for bytes in a vocabulary: the printable ones of Latin-1 for themselves, the others from U+0100 on, as GPT-2 has them. */
const characters = (() => {
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
    return String.fromCharCode(printable ? byte : next++);
  });
})();
