import { ElasticCacheError } from '../../errors.js';
import type { KVCache } from '../../memory/kv-cache.js';
import type { Family, ImageTokens } from '../families/family.js';
import type { Picture } from '../families/pictures.js';

type Inputs = Record<string, unknown>;

/** Under what a cache remembers its pictures: they go along with a fork and into a file. */
const MEMO = 'pictures';

/**
 * The pictures each cache has seen, by a hash of their pixels: every picture has the same tokens, so a conversation with another one in its place
 * would be answered about the first.
 */
export class SeenPictures {
  constructor(private readonly family: Family) {}

  /** Hashes the pictures that a cache is about to see; `counts` are the image tokens of each prompt. The result goes to {@link add}. */
  async hashes(inputs: Inputs, counts: readonly number[]): Promise<string[][] | undefined> {
    const pictures = this.picturesOf(inputs, sum(counts));
    const rows = pictures && shared(pictures, counts);
    return rows && Promise.all(rows.map((row) => Promise.all(row.map(hash))));
  }

  /** Notes what a cache has seen; undefined where it is not known, as it is from then on. @param first whether it had seen nothing before */
  add(cache: KVCache, pictures: readonly string[][] | undefined, first: boolean): void {
    const before = first ? pictures?.map(() => []) : picturesSeen(cache);
    if (!pictures || !before) cache.memo.delete(MEMO);
    else
      cache.memo.set(
        MEMO,
        before.map((row, index) => [...row, ...pictures[index]!]),
      );
  }

  /**
   * Throws `prompt-mismatch` where the pictures of whole conversations do not begin with those that the cache has seen.
   * @param prompts the image tokens of each
   */
  async refuseOther(cache: KVCache, inputs: Inputs, prompts: readonly ImageTokens[]): Promise<void> {
    const known = picturesSeen(cache);
    const pictures = this.picturesOf(inputs, sum(prompts.map(({ all }) => all)));
    if (!known || !pictures || known.length !== prompts.length) return;
    const rows = shared(
      pictures,
      prompts.map(({ all }) => all),
    );
    // Where nothing is new, all of them have been seen, however they are told apart.
    if (prompts.every(({ seen, all }) => seen === all))
      return refuse(known.flat(), await Promise.all(pictures.map(hash)), true);
    for (const [index, row] of (rows ?? []).entries()) {
      const { length } = known[index]!;
      refuse(known[index]!, await Promise.all(row.slice(0, length).map(hash)), false);
    }
  }

  private picturesOf(inputs: Inputs, tokens: number): Picture[] | undefined {
    return inputs.pixel_values ? this.family.pictures(inputs, tokens) : undefined;
  }
}

/** Hashes of the pictures of each prompt of a batch, in order; undefined where nobody knows. */
export function picturesSeen(cache: KVCache): string[][] | undefined {
  return cache.memo.get(MEMO) as string[][] | undefined;
}

function refuse(known: readonly string[], given: readonly string[], whole: boolean): void {
  const at = known.findIndex((picture, index) => picture !== given[index]);
  if (at === -1 && !(whole && given.length > known.length)) return;
  const place = at === -1 ? known.length : at;
  throw new ElasticCacheError(
    'prompt-mismatch',
    `The pictures differ from those that the cache has seen (${known.length} parts), from part ${place + 1} on; pass the same again, or reset() the cache to ask about others.`,
  );
}

/** Gives each prompt as many pictures as make its tokens; undefined where they do not come out even. */
function shared(pictures: readonly Picture[], counts: readonly number[]): Picture[][] | undefined {
  if (counts.length === 1) return [[...pictures]];
  let next = 0;
  const rows = counts.map((count) => {
    const row: Picture[] = [];
    for (let left = count; left > 0.5 && next < pictures.length; left -= row.at(-1)!.tokens)
      row.push(pictures[next++]!);
    return { row, left: count - sum(row.map(({ tokens }) => tokens)) };
  });
  return rows.every(({ left }) => Math.abs(left) < 0.5) ? rows.map(({ row }) => row) : undefined;
}

async function hash({ data }: Picture): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', data as Uint8Array<ArrayBuffer>);
  return Array.from(new Uint32Array(digest), (word) => word.toString(16)).join('-');
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
