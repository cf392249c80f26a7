import { readFileSync } from 'node:fs';
import { PreTrainedTokenizer } from '@huggingface/transformers';

const demo = new URL('../demo-model/llava-scenes/', import.meta.url);
const read = (file: string) => JSON.parse(readFileSync(new URL(file, demo), 'utf8'));

const added = (content: string, id: number) => ({
  id,
  content,
  special: true,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
});

const byteName = (byte: number) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;

/** As GPT-2's and Qwen's: pairs of bytes, spaces before words. The embedded model's, and `special` tokens behind its own. */
export function byteLevel(special: readonly string[] = [], config: object = {}): PreTrainedTokenizer {
  const tokenizer = read('tokenizer.json');
  const first = Object.keys(tokenizer.model.vocab).length;
  special.forEach((content, index) => {
    if (content in tokenizer.model.vocab) return;
    tokenizer.model.vocab[content] = first + index;
    tokenizer.added_tokens.push(added(content, first + index));
  });
  // A line feed behind a full stop is one token in many, which texts in parts never have.
  const byte = Object.keys(tokenizer.model.vocab).length;
  tokenizer.model.vocab['.Ċ'] = byte;
  tokenizer.model.merges.unshift(['.', 'Ċ']);
  return new PreTrainedTokenizer(tokenizer, { ...read('tokenizer_config.json'), ...config });
}

const MERGES = ['▁ t', 'h e', '▁t he', '▁ a', 'i n', '▁ ▁', '▁ U', '. ▁', '▁ A'];

/**
 * As Llama's: `▁` before the first word, or before every piece between special tokens (`everywhere`), characters it does not know as bytes.
 */
export function sentencePiece(
  special: readonly string[] = [],
  { everywhere = false, ...config }: { everywhere?: boolean } & Record<string, unknown> = {},
): PreTrainedTokenizer {
  const tokens = [
    '<unk>',
    '<s>',
    '</s>',
    ...special.filter((token) => !['<unk>', '<s>', '</s>'].includes(token)),
    ...Array.from({ length: 256 }, (_, byte) => byteName(byte)),
    '▁',
    ...Array.from({ length: 95 }, (_, at) => String.fromCharCode(32 + at)).filter((letter) => letter !== ' '),
    ...MERGES.map((merge) => merge.replace(' ', '')),
  ];
  const first = tokens.filter((token) => /^<(unk|\/?s)>$/.test(token) || special.includes(token));
  const tokenizer = {
    version: '1.0',
    added_tokens: first.map((content) => added(content, tokens.indexOf(content))),
    normalizer: everywhere
      ? {
          type: 'Sequence',
          normalizers: [
            { type: 'Prepend', prepend: '▁' },
            { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
          ],
        }
      : null,
    pre_tokenizer: everywhere
      ? null
      : { type: 'Metaspace', replacement: '▁', prepend_scheme: 'first', split: false },
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
      special_tokens: { '<s>': { id: '<s>', ids: [1], tokens: ['<s>'] } },
    },
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: '<unk>',
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: MERGES,
    },
  };
  return new PreTrainedTokenizer(tokenizer, {
    tokenizer_class: 'LlamaTokenizer',
    bos_token: '<s>',
    eos_token: '</s>',
    unk_token: '<unk>',
    clean_up_tokenization_spaces: false,
    ...config,
  });
}
