import type { Budget } from '../../cache/budget.js';
import type { CachePolicy } from '../../cache/policy.js';
import { ElasticCacheError } from '../../errors.js';
import { KVCache } from '../../memory/kv-cache.js';
import type { Inputs } from '../conversation/prepare-inputs.js';
import type { LoadedModel } from '../loaded-model.js';
import { readCompressed } from './read-compressed.js';

/** A prompt, and how it is read. */
export interface TurnedPrompt {
  readonly inputs: Inputs;
  /**
   * [turns] the token that comes after each turn, ascending: a turn is compressed when it is read. The last token of the prompt is in none of them: an answer begins from it,
   * through the cache as it was compressed.
   */
  readonly turns: readonly number[];
}

/** Under what a cache is held. */
export interface CacheTerms {
  readonly policy: CachePolicy;
  readonly budget: Budget;
}

/**
 * Caches that have read the prompts of one image or text. What prompts have in common, the turns before the last, is read and compressed once under the same terms, one after
 * the other; each prompt goes on from a fork.
 */
export class PromptTurns {
  /** The turns before the last one, as they were read last. */
  private before: { terms: CacheTerms; tokens: string; caches: Copies } | undefined;

  constructor(private readonly loaded: LoadedModel) {}

  /** Caches that have read all turns of a prompt, each its own; the first is read when it is asked for. */
  read(prompt: TurnedPrompt, terms: CacheTerms): Copies {
    const { inputs, turns } = prompt;
    const [last = 0, ...earlier] = turns.toReversed();
    const before = earlier.length > 0 ? this.common({ inputs, turns: earlier.reverse() }, terms) : undefined;
    return new Copies(async () => {
      const cache = before ? await before.next() : new KVCache(terms);
      await readCompressed(this.loaded, inputs, cache, last);
      return cache;
    });
  }

  private common({ inputs, turns }: TurnedPrompt, terms: CacheTerms): Copies {
    const ids = (inputs.input_ids.data as BigInt64Array).subarray(0, turns.at(-1));
    const tokens = `${turns}:${ids}`;
    const known = this.before;
    const same = known?.tokens === tokens && known.terms.policy === terms.policy;
    if (same && known.terms.budget === terms.budget) return known.caches;
    const caches = new Copies(async () => {
      const cache = new KVCache(terms);
      for (const end of turns) await readCompressed(this.loaded, inputs, cache, end);
      return cache;
    });
    this.before = { terms, tokens, caches };
    return caches;
  }
}

/** Hands out caches that have read the same: forks of one, or each read anew where a policy does not say what it remembers. */
export class Copies {
  private kept: KVCache | undefined;

  constructor(private readonly make: () => Promise<KVCache>) {}

  async next(): Promise<KVCache> {
    const cache = this.kept ?? (await this.make());
    this.kept = undefined;
    try {
      const fork = cache.fork();
      this.kept = cache;
      return fork;
    } catch (error) {
      if (error instanceof ElasticCacheError && error.code === 'invalid-policy') return cache;
      throw error;
    }
  }
}
