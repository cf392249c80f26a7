import { ElasticCacheError } from '../../errors.js';
import type { KVCache } from '../../memory/kv-cache.js';
import { goesOn } from '../../models/conversation/goes-on.js';
import type { Inputs } from '../../models/conversation/prepare-inputs.js';
import type { Said } from '../../models/conversation/reply.js';
import type { LoadedModel } from '../../models/loaded-model.js';
import type { Message } from '../messages.js';
import type { Answered, ParkedFiles } from './parked-files.js';

/** A sequence as its answer left it. */
interface Parked {
  readonly cache: KVCache;
  readonly bytes: number;
  /** Undefined where it came as inputs. */
  readonly answered: Answered | undefined;
  /** Whether it is in a file already. */
  readonly isFiled: boolean;
}

/** Where sequences go that there is no memory for. */
export interface Files {
  readonly files: ParkedFiles;
  /** What sequences have in common that go on from one another, in a text; undefined for those that cannot be told apart by one. */
  readonly likeOf: (cache: KVCache) => string | undefined;
}

/**
 * Sequences that were answered, kept for a prompt that goes on from them: one that begins with every token that such a sequence has seen, and with its pictures. It goes on
 * from a fork, under the same policy and budget, as `chat()` goes on from its last answer: turns that were read are not compressed anew. A prompt that shares only a part of them
 * is read from its beginning, since what a turn was compressed to depends on all of it.
 *
 * They take so many bytes at most; those that were not asked for the longest go first, into files where there are any.
 */
export class Parking {
  /** The one that goes first comes first. */
  readonly #parked = new Set<Parked>();
  /** Given when they are open. */
  onDisk: Files | undefined;

  constructor(
    private readonly loaded: LoadedModel,
    /** At most. */
    private readonly most: number,
  ) {}

  get bytes(): number {
    return [...this.#parked].reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Bytes of files. */
  get bytesOnDisk(): number {
    return this.onDisk?.files.bytes ?? 0;
  }

  /** Whether a cache of this size is kept. */
  takes(cache: KVCache): boolean {
    return cache.seen > 0 && (this.onDisk !== undefined || cache.stats().bytesHeld <= this.most);
  }

  /** @param answered the messages that were answered, and with what */
  park(
    cache: KVCache,
    answered?: { messages: readonly Message[]; text: string; said: Said } | undefined,
  ): void {
    this.#keep(
      cache,
      answered && { history: historyOf(answered.messages), text: answered.text, said: answered.said },
      false,
    );
  }

  /** Puts all of them into files, and waits until they are there. */
  async close(): Promise<void> {
    for (const each of this.#parked) this.#file(each);
    await this.onDisk?.files.settled();
  }

  #keep(cache: KVCache, answered: Answered | undefined, isFiled: boolean): void {
    this.#parked.add({ cache, bytes: cache.stats().bytesAllocated, answered, isFiled });
    for (const first of this.#parked) {
      if (this.bytes <= this.most) return;
      this.#parked.delete(first);
      this.#file(first);
    }
  }

  #file({ cache, answered, isFiled }: Parked): void {
    const like = this.onDisk?.likeOf(cache);
    if (like !== undefined && !isFiled) this.onDisk!.files.put(cache, like, answered);
  }

  /** The tokens of an answer that was given here to these messages; undefined where none was. */
  saidTo(messages: readonly Message[], text: string): Said | undefined {
    const history = historyOf(messages);
    const known = [...this.#parked].find(
      ({ answered }) => answered?.history === history && answered.text === text,
    );
    return known?.answered?.said ?? this.onDisk?.files.saidTo(history, text);
  }

  /** A fork of the longest sequence that a prompt goes on from; undefined where there is none. @param like a cache of the policy and budget that are wanted */
  async forkFor(inputs: Inputs, like: KVCache): Promise<KVCache | undefined> {
    const longest = [...this.#parked].sort((a, b) => b.cache.seen - a.cache.seen);
    for (const parked of longest) {
      const { cache } = parked;
      if (!isLike(cache, like) || !(await goesOn(this.loaded, cache, inputs))) continue;
      // It may have gone meanwhile, and is good all the same.
      const isParked = this.#parked.delete(parked);
      try {
        const fork = cache.fork();
        if (isParked) this.#parked.add(parked);
        return fork;
      } catch (cause) {
        // A policy of the user's own need not say what it remembers.
        if (!(cause instanceof ElasticCacheError && cause.code === 'invalid-policy')) throw cause;
      }
    }
    return this.#fromFile(inputs, like);
  }

  async #fromFile(inputs: Inputs, like: KVCache): Promise<KVCache | undefined> {
    const [files, likeness] = [this.onDisk?.files, this.onDisk?.likeOf(like)];
    if (!files || likeness === undefined) return undefined;
    await files.settled();
    for (const file of files.before(inputs.input_ids.data as BigInt64Array, likeness)) {
      const found = await files.load(file, like);
      if (!found || !(await goesOn(this.loaded, found.cache, inputs))) continue;
      const fork = found.cache.fork();
      this.#keep(found.cache, found.answered, true);
      return fork;
    }
    return undefined;
  }
}

function isLike(a: KVCache, b: KVCache): boolean {
  return a.policy === b.policy && JSON.stringify(a.budget) === JSON.stringify(b.budget);
}

function historyOf(messages: readonly Message[]): string {
  return JSON.stringify(messages.map(({ role, content, images = [] }) => [role, content, images.length]));
}
