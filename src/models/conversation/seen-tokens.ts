import type { Tensor } from '@huggingface/transformers';
import { ElasticCacheError } from '../../errors.js';
import type { KVCache } from '../../memory/kv-cache.js';

/** Under what a cache remembers its tokens: they go along with a fork and into a file. */
const MEMO = 'tokens';

/** The tokens each cache has seen, so that a conversation that does not go on from them is noticed. */
export class SeenTokens {
  /** Notes the tokens [B, S] that a cache has just seen. Without them what it has seen is unknown from here on. */
  add(cache: KVCache, ids: Tensor | undefined): void {
    const fresh = ids && rowsOf(ids);
    const length = fresh?.[0]?.length ?? 0;
    const before = cache.seen - length;
    const rows = before === 0 ? fresh?.map((): number[] => []) : tokensSeen(cache);
    if (!fresh || !rows || rows[0]?.length !== before) {
      cache.memo.delete(MEMO);
      return;
    }
    for (const [row, tokens] of fresh.entries()) for (const token of tokens) rows[row]!.push(Number(token));
    cache.memo.set(MEMO, rows);
  }

  /**
   * The tokens of each prompt of a batch that the cache has not seen.
   *
   * @param ids [B, n] the whole conversation, or only its new tokens when `mask` [B, seen + n] is longer than that
   * @throws ElasticCacheError `prompt-mismatch` when the prompt does not go on from what the cache has seen
   */
  newPart(cache: KVCache, ids: Tensor, mask: Tensor | undefined): bigint[][] {
    const length = ids.dims[1]!;
    const covered = mask?.dims[1] ?? length;
    if (covered > length) {
      if (covered === cache.seen + length) return rowsOf(ids);
      throw new ElasticCacheError(
        'prompt-mismatch',
        `attention_mask covers ${covered} tokens, but the cache has seen ${cache.seen} and ${length} are new; pass the whole conversation.`,
      );
    }
    if (length <= cache.seen) {
      throw new ElasticCacheError(
        'prompt-mismatch',
        `The prompt has ${length} tokens, but the cache has seen ${cache.seen} already; pass the whole conversation, or reset() the cache to begin another.`,
      );
    }
    const rows = rowsOf(ids);
    this.refuseOther(cache, rows);
    return rows.map((row) => row.slice(cache.seen));
  }

  private refuseOther(cache: KVCache, rows: readonly bigint[][]): void {
    const known = tokensSeen(cache);
    if (known?.[0]?.length !== cache.seen || known.length !== rows.length) return;
    for (const [row, tokens] of known.entries()) {
      const at = tokens.findIndex((token, index) => token !== Number(rows[row]![index]));
      if (at === -1) continue;
      throw new ElasticCacheError(
        'prompt-mismatch',
        `The prompt differs from what the cache has seen at token ${at}; go on from the tokens that generate() returned, or reset() the cache.`,
      );
    }
  }
}

/** [B] of [tokens] that a cache has seen; undefined where nobody knows. */
export function tokensSeen(cache: KVCache): number[][] | undefined {
  return cache.memo.get(MEMO) as number[][] | undefined;
}

function rowsOf(ids: Tensor): bigint[][] {
  return ids.tolist() as bigint[][];
}
