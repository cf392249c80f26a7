import { abortedBy } from '../errors.js';
import type { KVCache } from '../memory/kv-cache.js';
import { kindOf, LanePool } from '../memory/lane-pool.js';
import type { Decoder } from '../runtime/decoder.js';
import type { Runner } from '../runtime/elastic-session.js';
import type { DecoderInput } from '../runtime/passes/new-tokens.js';
import { sliceSequence, stackSequences } from '../runtime/tensors.js';

type Logits = Awaited<ReturnType<Decoder['run']>>;

/** New tokens of one sequence that are to be run. */
interface Asked {
  readonly cache: KVCache;
  readonly input: DecoderInput;
  readonly resolve: (logits: Logits) => void;
  readonly reject: (cause: unknown) => void;
}

/** What is known of a sequence beforehand. */
interface Place {
  /** Whose prompt is read first: the lower. */
  readonly rank: number;
  /** Rows of a layer that it will need, at most. */
  readonly rows: number;
}

/**
 * Runs the new tokens of many sequences on one decoder: single tokens of all of them are one pass, and between two of these there is at most one part of a prompt, so that
 * nobody who is answered waits longer than for that. Sequences join and leave between passes.
 *
 * Each sequence asks for its next token when it has chosen the last; a pass begins when all have.
 */
export class Passes implements Runner {
  /** By what their members have in common: one of each, unless layers are too unlike. */
  readonly #pools = new Map<string, LanePool[]>();
  /** The pool of each sequence that has one. */
  readonly #pooled = new Map<KVCache, LanePool>();
  /** Sequences that will ask for another token, or leave. */
  readonly #answering = new Set<KVCache>();
  readonly #asked = new Map<KVCache, Asked>();
  /** Prompts, the next one to read first. */
  readonly #unread: Asked[] = [];
  readonly #leaving: (() => void)[] = [];
  readonly #places = new WeakMap<KVCache, Place>();
  #reading: { asked: Asked; parts: AsyncGenerator<void, Logits> } | undefined;
  #steps = 0;
  #running = false;
  #woken = false;
  #partIsNext = true;

  constructor(private readonly decoder: Decoder) {}

  /** Sequences that are being answered, their prompts read. */
  get answering(): number {
    return this.#answering.size;
  }

  /** Bytes allocated for them. */
  get bytes(): number {
    return this.#all.reduce((sum, pool) => sum + pool.bytes, 0);
  }

  /** Passes since it began, parts of prompts among them. */
  get steps(): number {
    return this.#steps;
  }

  /** Announces a sequence. */
  enter(cache: KVCache, place: Place): void {
    this.#places.set(cache, place);
  }

  /** As `Decoder.run`, for a cache of one sequence. A signal ends the wait at once. */
  run(cache: KVCache, input: DecoderInput): Promise<Logits> {
    return new Promise<Logits>((resolve, reject) => {
      const { signal } = input;
      const aborted = () => {
        this.#forget(asked);
        reject(abortedBy(signal));
      };
      const asked: Asked = {
        cache,
        input,
        resolve: (logits) => {
          signal?.removeEventListener('abort', aborted);
          resolve(logits);
        },
        reject: (cause) => {
          signal?.removeEventListener('abort', aborted);
          reject(cause);
        },
      };
      if (signal?.aborted) return aborted();
      signal?.addEventListener('abort', aborted);
      if (input.newTokens.dims[1] === 1 && cache.begun) {
        this.#answering.add(cache);
        this.#asked.set(cache, asked);
      } else {
        const rank = (each: Asked) => this.#places.get(each.cache)?.rank ?? 0;
        const behind = this.#unread.findIndex((each) => rank(each) > rank(asked));
        this.#unread.splice(behind < 0 ? this.#unread.length : behind, 0, asked);
      }
      void this.#drive();
    });
  }

  /** Lets a sequence go, between two passes. @param holding whether its cache is of use later */
  leave(cache: KVCache, holding: boolean): Promise<void> {
    return new Promise((resolve) => {
      this.#leaving.push(() => {
        this.#answering.delete(cache);
        this.#asked.delete(cache);
        this.#pooled.get(cache)?.leave(cache, holding);
        this.#pooled.delete(cache);
        resolve();
      });
      void this.#drive();
    });
  }

  #forget(asked: Asked): void {
    if (this.#asked.get(asked.cache) === asked) this.#asked.delete(asked.cache);
    const at = this.#unread.indexOf(asked);
    if (at >= 0) this.#unread.splice(at, 1);
  }

  /** Runs passes until there is none before somebody asks. */
  async #drive(): Promise<void> {
    this.#woken = true;
    if (this.#running) return;
    this.#running = true;
    for (let more = true; more || this.#woken; ) {
      this.#woken = false;
      for (const leave of this.#leaving.splice(0)) leave();
      more = await this.#pass();
      if (more) this.#steps++;
    }
    this.#running = false;
  }

  async #pass(): Promise<boolean> {
    const isPrompt = this.#reading !== undefined || this.#unread.length > 0;
    if (isPrompt && (this.#partIsNext || this.#answering.size === 0)) {
      this.#partIsNext = false;
      await this.#readPart();
      return true;
    }
    const all = Array.from(this.#answering);
    if (all.length > 0 && all.every((cache) => this.#asked.has(cache))) {
      this.#partIsNext = true;
      await this.#step();
      return true;
    }
    return false;
  }

  async #readPart(): Promise<void> {
    if (!this.#reading) {
      const asked = this.#unread.shift()!;
      this.#reading = { asked, parts: this.decoder.read(asked.cache, asked.input) };
    }
    const { asked, parts } = this.#reading;
    try {
      const { done, value } = await parts.next();
      if (!done) return;
      this.#reading = undefined;
      this.#answering.add(asked.cache);
      asked.resolve(value);
    } catch (cause) {
      this.#reading = undefined;
      asked.reject(cause);
    }
  }

  async #step(): Promise<void> {
    const asked = new Map(this.#asked);
    this.#asked.clear();
    for (const cache of asked.keys()) this.#join(cache);
    for (const pool of this.#all) {
      if (pool.batch > 0)
        await this.#stepTogether(
          pool,
          pool.members.map((cache) => asked.get(cache)!),
        );
    }
  }

  #join(cache: KVCache): void {
    if (this.#pooled.has(cache)) return;
    const kind = kindOf(cache);
    const most = this.#places.get(cache)?.rows;
    const pools = (this.#pools.get(kind) ?? []).filter(({ batch }) => batch > 0);
    const pool = pools.find((each) => each.takes(cache, most)) ?? new LanePool();
    this.#pools.set(kind, pools.includes(pool) ? pools : [...pools, pool]);
    this.#pooled.set(cache, pool);
    pool.join(cache, most);
  }

  get #all(): LanePool[] {
    return [...this.#pools.values()].flat();
  }

  /** @param asked [members] */
  async #stepTogether(pool: LanePool, asked: readonly Asked[]): Promise<void> {
    const inputs = asked.map(({ input }) => input);
    try {
      const logits = await this.decoder.step(pool, {
        newTokens: stackSequences(
          inputs.map(({ newTokens }) => newTokens),
          0,
        ),
        positionIds: stackSequences(
          inputs.map(({ positionIds }) => positionIds),
          inputs[0]!.positionIds.dims.length - 2,
        ),
      });
      asked.forEach((each, row) => {
        settle(pool, each, sliceSequence(logits, 0, row, row + 1));
      });
    } catch (cause) {
      if (asked.length === 1) {
        asked[0]!.reject(cause);
        return;
      }
      // One of them is the reason, and the others are none the worse for it.
      for (const [row, each] of asked.entries()) {
        try {
          settle(pool, each, await this.decoder.stepAlone(pool, row, each.input));
        } catch (own) {
          each.reject(own);
        }
      }
    }
  }
}

function settle(pool: LanePool, { cache, resolve, reject }: Asked, logits: Logits): void {
  if (pool.failures.has(cache)) reject(pool.failures.get(cache));
  else resolve(logits);
}
