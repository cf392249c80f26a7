import type { PreTrainedTokenizer } from '@huggingface/transformers';
import { ElasticCacheError } from '../../../errors.js';

/** What a `tokenizer.json` says of how tokens become text. */
interface Described {
  readonly decoder?: unknown;
  readonly added_tokens?: readonly { readonly id: number }[];
}

/**
 * The bytes that each token is in a text, by its id: [vocabulary]. Undefined for tokens that are no text of their own: special ones, and others that were added.
 * @throws ElasticCacheError 'unsupported-model' for a tokenizer whose tokens are not bytes of a text
 */
export function tokenBytes(tokenizer: PreTrainedTokenizer): (Uint8Array | undefined)[] {
  const { decoder, added_tokens = [] } = Object(
    (tokenizer as { _tokenizerJSON?: unknown })._tokenizerJSON,
  ) as Described;
  const added = new Set(added_tokens.map(({ id }) => id));
  const parts = partsOf(decoder);
  const has = (type: string) => parts.some((part) => part.type === type);
  const bytesOf = has('ByteLevel') ? ofByteLevel() : ofSentencePiece(has('ByteFallback'));
  const isKnown =
    has('ByteLevel') ||
    has('Metaspace') ||
    parts.some(({ type, content }) => type === 'Replace' && content === ' ');
  const tokens: (Uint8Array | undefined)[] = [];
  for (const [token, id] of tokenizer.get_vocab()) if (!added.has(id)) tokens[id] = bytesOf(token);
  const single = new Set(tokens.flatMap((bytes) => (bytes?.length === 1 ? [bytes[0]!] : [])));
  if (!isKnown || PRINTED.some((byte) => !single.has(byte))) {
    throw new ElasticCacheError(
      'unsupported-model',
      'This model cannot answer in a form: its tokenizer has no token for each letter and sign of JSON; leave responseFormat out.',
    );
  }
  const isWhole = TAILS.every((byte) => single.has(byte));
  return Array.from(tokens, (bytes) => (bytes && (isWhole || isText(bytes)) ? bytes : undefined));
}

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, index) => from + index);
/** Letters, digits and signs of ASCII. */
const PRINTED = range(0x20, 0x7f);
/** Bytes within a character, which must each be there to end one that was begun. */
const TAILS = range(0x80, 0xc0);

function partsOf(decoder: unknown): { type?: unknown; content?: unknown }[] {
  const { decoders, ...own } = Object(decoder) as { decoders?: unknown[]; type?: unknown };
  return [own, ...(decoders ?? []).flatMap(partsOf)];
}

/** GPT-2's: a letter for each byte. */
function ofByteLevel(): (token: string) => Uint8Array | undefined {
  const shown = [...range(33, 127), ...range(161, 173), ...range(174, 256)];
  const hidden = range(0, 256).filter((byte) => !shown.includes(byte));
  const bytes = new Map([
    ...shown.map((byte) => [String.fromCharCode(byte), byte] as const),
    ...hidden.map((byte, index) => [String.fromCharCode(256 + index), byte] as const),
  ]);
  return (token) => {
    const own = Array.from(token, (letter) => bytes.get(letter));
    return own.some((byte) => byte === undefined) ? undefined : Uint8Array.from(own as number[]);
  };
}

/** SentencePiece's: spaces as `▁`, and some tokens that are one byte. */
function ofSentencePiece(withBytes: boolean): (token: string) => Uint8Array {
  return (token) => {
    const byte = withBytes ? /^<0x([\dA-F]{2})>$/i.exec(token)?.[1] : undefined;
    if (byte !== undefined) return Uint8Array.of(Number.parseInt(byte, 16));
    return new TextEncoder().encode(token.replaceAll('▁', ' '));
  };
}

function isText(bytes: Uint8Array): boolean {
  return !new TextDecoder().decode(bytes).includes('\uFFFD');
}
