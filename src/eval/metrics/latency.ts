import type { Budget } from '../../cache/budget.js';
import type { CachePolicy } from '../../cache/policy.js';
import { KVCache } from '../../memory/kv-cache.js';
import type { Inputs } from '../../models/conversation/prepare-inputs.js';
import type { LoadedModel } from '../../models/loaded-model.js';
import { lengthened, repeated, timeGeneration } from '../../models/measuring/timed-generation.js';

/** How long a prompt and its answer are, in tokens, and how many of them run together. */
export interface Shape {
  /** Undefined: as long as the sample's own. */
  readonly lengths: { readonly prompt: number; readonly output: number } | undefined;
  readonly batch: number;
}

export interface Latency {
  readonly batch: number;
  readonly promptTokens: number;
  readonly newTokens: number;
  /** From the first look at the image to the first new token. */
  readonly prefillMs: number;
  /** Of one step, which gives a token to every row. */
  readonly msPerToken: number;
  /** Keys and values in the cache at the end. */
  readonly bytesHeld: number;
  /** The most that the cache had allocated after any step, empty slots included. */
  readonly bytesPeak: number;
}

/** `own`, `1024+512`, `1024+512 x 4` */
export function shapeName({ lengths, batch }: Shape): string {
  const name = lengths ? `${lengths.prompt}+${lengths.output}` : 'own';
  return batch === 1 ? name : `${name} x ${batch}`;
}

/** Times one generation, image and all. @param inputs one row of a sample, @param ownOutput tokens of its own answer */
export async function measureLatency(
  loaded: LoadedModel,
  inputs: Inputs,
  ownOutput: number,
  { lengths, batch }: Shape,
  cell: { policy: CachePolicy; budget: Budget },
): Promise<Latency> {
  const cache = new PeakCache({ policy: cell.policy, budget: cell.budget });
  const row = lengths ? lengthened(loaded, inputs, lengths.prompt) : inputs;
  const newTokens = lengths?.output ?? ownOutput;
  const timing = await timeGeneration(loaded, repeated(row, batch), newTokens, cache);
  return {
    batch,
    promptTokens: row.input_ids.dims[1]!,
    newTokens,
    prefillMs: timing.prefillMs,
    msPerToken: timing.msPerStep,
    bytesHeld: cache.stats().bytesHeld,
    bytesPeak: cache.peak,
  };
}

/** A cache that remembers its largest size. */
class PeakCache extends KVCache {
  peak = 0;

  override appendTurn(...part: Parameters<KVCache['appendTurn']>): void | Promise<void> {
    const complete = super.appendTurn(...part);
    this.#note();
    return complete?.then(() => this.#note());
  }

  override appendStep(...rows: Parameters<KVCache['appendStep']>): void {
    super.appendStep(...rows);
    this.#note();
  }

  #note(): void {
    this.peak = Math.max(this.peak, this.stats().bytesAllocated);
  }
}
