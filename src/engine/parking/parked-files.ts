import type { Budget } from '../../cache/budget.js';
import { reasonOf } from '../../errors.js';
import { KVCache } from '../../memory/kv-cache.js';
import { decodeSnapshot, encodeSnapshot, type Snapshot } from '../../memory/saving/snapshot.js';
import type { Said } from '../../models/conversation/reply.js';
import { tokensSeen } from '../../models/conversation/seen-tokens.js';
import type { Folder } from '../../platform/folder.js';

/** The conversation that was answered, how, and in which tokens. */
export interface Answered {
  readonly history: string;
  readonly text: string;
  readonly said: Said;
}

/** What is known of a sequence in a file, without its rows. */
interface Filed {
  readonly name: string;
  readonly bytes: number;
  readonly tokens: readonly number[];
  /** What its policy was named, and its budget. */
  readonly like: string;
  readonly answered: Answered | undefined;
}

/** Under what a file says what the cache itself does not know. */
const MEMO = 'parked';
const ENDING = '.safetensors';
/** Bytes of a header that are read at once. */
const HEAD = 1 << 20;

/**
 * Sequences in files, so many bytes of them at most; those that were not used for the longest go first. A file has in its name whose model it is and a hash of its bytes: what is broken, or of
 * another model, is not taken for what it is not.
 */
export class ParkedFiles {
  /** The one that goes first comes first. */
  readonly #files = new Map<string, Filed>();
  /** Settled when all that is to be written is. */
  #written: Promise<void> = Promise.resolve();

  private constructor(
    private readonly folder: Folder,
    private readonly model: string,
    private readonly most: number,
    private readonly warn: (message: string) => void,
  ) {}

  /**
   * Finds what earlier engines of the same model left.
   * @param model a hash that no other model has
   * @param warn told what is not of use
   */
  static async open(
    folder: Folder,
    model: string,
    most: number,
    warn: (message: string) => void,
  ): Promise<ParkedFiles> {
    const files = new ParkedFiles(folder, model, most, warn);
    const found = (await folder.files()).sort((a, b) => a.used - b.used);
    let others = 0;
    for (const { name, bytes } of found) {
      if (!name.startsWith(`${model}-`) || !name.endsWith(ENDING)) others++;
      else await files.#find(name, bytes);
    }
    if (others > 0)
      warn(`${others} files in parkDir are of other models, or none of ours; they are left alone.`);
    await files.#shrink();
    return files;
  }

  get bytes(): number {
    return [...this.#files.values()].reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Sequences under a policy and budget whose tokens these begin with, the longest first. */
  before(ids: BigInt64Array, like: string): Filed[] {
    return [...this.#files.values()]
      .filter((file) => file.like === like && file.tokens.length < ids.length)
      .filter(({ tokens }) => tokens.every((token, at) => token === Number(ids[at])))
      .sort((a, b) => b.tokens.length - a.tokens.length);
  }

  saidTo(history: string, text: string): Said | undefined {
    const known = [...this.#files.values()].find(
      ({ answered }) => answered?.history === history && answered.text === text,
    );
    return known?.answered?.said;
  }

  /** The cache of a file; undefined, and the file forgotten, where it is not whole any more. @param empty a cache of its policy and budget */
  async load(
    { name, answered }: Filed,
    empty: KVCache,
  ): Promise<{ cache: KVCache; answered: Answered | undefined } | undefined> {
    try {
      const bytes = await this.folder.read(name);
      if (name !== (await this.#nameOf(bytes))) throw new Error('its bytes are not those that were written');
      const snapshot = decodeSnapshot(bytes);
      const cache = new KVCache({ policy: empty.policy, budget: empty.budget });
      cache.restore(snapshot);
      cache.memo.delete(MEMO);
      // Used last.
      const file = this.#files.get(name);
      this.#files.delete(name);
      if (file) this.#files.set(name, file);
      return { cache, answered };
    } catch (cause) {
      await this.#lose(name, reasonOf(cause));
      return undefined;
    }
  }

  /** Writes a sequence down, behind those that are being written. @param like what its policy was named, and its budget */
  put(cache: KVCache, like: string, answered: Answered | undefined): void {
    let snapshot: Snapshot;
    try {
      snapshot = cache.snapshot();
    } catch {
      // A policy of a user's own need not say what it remembers.
      return;
    }
    const memo = {
      ...snapshot.memo,
      [MEMO]: { like, answered: answered ?? null },
    } as unknown as Snapshot['memo'];
    const [tokens = []] = tokensSeen(cache) ?? [];
    const bytes = encodeSnapshot({ ...snapshot, memo });
    if (bytes.length > this.most) return;
    this.#written = this.#written.then(async () => {
      try {
        const name = await this.#nameOf(bytes);
        await this.folder.write(name, bytes);
        this.#files.set(name, { name, bytes: bytes.length, tokens, like, answered });
        await this.#shrink();
      } catch (cause) {
        this.warn(
          `A conversation could not be written to parkDir (${reasonOf(cause)}); it is read anew when it comes back.`,
        );
      }
    });
  }

  /** Waits until all that was put is written. */
  settled(): Promise<void> {
    return this.#written;
  }

  async #find(name: string, bytes: number): Promise<void> {
    try {
      const memo = await this.#memoOf(name);
      const { like, answered } = memo[MEMO] as unknown as { like: string; answered: Answered | null };
      const [tokens] = memo.tokens as unknown as number[][];
      if (typeof like !== 'string' || !Array.isArray(tokens)) throw new Error('it does not say what it is');
      this.#files.set(name, { name, bytes, tokens, like, answered: answered ?? undefined });
    } catch (cause) {
      await this.#lose(name, reasonOf(cause));
    }
  }

  /** What a file says of its sequence, read from its header alone. */
  async #memoOf(name: string): Promise<Snapshot['memo']> {
    let head = await this.folder.head(name, HEAD);
    if (head.length < 8) throw new Error('it is empty');
    const size = 8 + Number(new DataView(head.buffer, head.byteOffset).getBigUint64(0, true));
    if (size > MOST_HEAD) throw new Error('its header is too long');
    if (size > head.length) head = await this.folder.head(name, size);
    const { __metadata__ } = JSON.parse(new TextDecoder().decode(head.subarray(8, size)));
    return JSON.parse(__metadata__.text).state.memo;
  }

  async #shrink(): Promise<void> {
    for (const [name] of this.#files) {
      if (this.bytes <= this.most) return;
      this.#files.delete(name);
      await this.folder.remove(name).catch(() => {});
    }
  }

  async #lose(name: string, reason: string): Promise<void> {
    this.#files.delete(name);
    this.warn(`${name} in parkDir cannot be used (${reason}); it is taken away.`);
    await this.folder.remove(name).catch(() => {});
  }

  async #nameOf(bytes: Uint8Array): Promise<string> {
    return `${this.model}-${(await hashOf(bytes)).slice(0, 32)}${ENDING}`;
  }
}

/** Bytes of a header at most: more than the longest conversation needs. */
const MOST_HEAD = 64 << 20;

/** What sequences that go on from one another have in common; undefined for a policy of a user's own, which has no name. */
export function likeOf(policy: string | undefined, budget: Budget): string | undefined {
  return policy === undefined ? undefined : JSON.stringify([policy, budget]);
}

/** SHA-256, in hexadecimal. */
export async function hashOf(bytes: Uint8Array): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>);
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
