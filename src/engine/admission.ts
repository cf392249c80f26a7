import { abortedBy, ElasticCacheError } from '../errors.js';

/** What a sequence may need at most. */
export interface Need {
  /** Sequences of one kind share their lanes. */
  readonly kind: string;
  /** Entries that it will hold, on average over the layers, and the next one. */
  readonly entries: number;
  /** Rows of its lane that are allocated for these, on average over the layers. */
  readonly rows: number;
  /** Rows that its prompt is read into, before it is cut down to the budget. */
  readonly reading: number;
}

export interface Limits {
  /** Sequences that run at once, at most. */
  readonly lanes: number;
  /** Bytes of memory for their caches. */
  readonly memory: number;
  /** Bytes of one row over all layers. */
  readonly bytesPerRow: number;
}

interface Waiting {
  readonly need: Need;
  readonly rank: number;
  readonly admit: () => void;
}

/**
 * Who may run: a request is let in when what all that run may come to hold, and it as well, fits into the memory. Nothing that was promised is taken back, so that nobody has to be
 * put out again. Those who wait come in by their rank, and none overtakes the first.
 */
export class Admission {
  readonly #waiting: Waiting[] = [];
  readonly #running = new Set<Waiting>();

  constructor(readonly limits: Limits) {}

  get waiting(): number {
    return this.#waiting.length;
  }

  get running(): number {
    return this.#running.size;
  }

  /** Bytes that those who run may come to hold. */
  get promised(): number {
    return this.#bytesOf(this.#needs);
  }

  /** @throws ElasticCacheError 'out-of-memory' for what can never run */
  refuseNever(need: Need): void {
    const { memory, bytesPerRow } = this.limits;
    const bytes = this.#bytesOf([need]);
    if (bytes <= memory) return;
    throw new ElasticCacheError(
      'out-of-memory',
      `This request may come to need room for ${need.entries} entries in each layer, and its prompt is read into ${need.reading}: ${megabytes(bytes)} at ${bytesPerRow} bytes each, and the engine has ${megabytes(memory)} for caches; ask for a smaller budget or a shorter answer, shorten the prompt, or give the engine more memory.`,
    );
  }

  /**
   * Waits until there is room. @param rank who comes first: the lower
   * @returns what gives the room back
   * @throws ElasticCacheError 'aborted' by the signal
   */
  enter(need: Need, rank: number, signal?: AbortSignal): Promise<() => void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(abortedBy(signal));
      const aborted = () => {
        this.#waiting.splice(this.#waiting.indexOf(waiting), 1);
        reject(abortedBy(signal));
        this.#admit();
      };
      const waiting: Waiting = {
        need,
        rank,
        admit: () => {
          signal?.removeEventListener('abort', aborted);
          resolve(() => {
            this.#running.delete(waiting);
            this.#admit();
          });
        },
      };
      signal?.addEventListener('abort', aborted, { once: true });
      const behind = this.#waiting.findIndex((each) => each.rank > rank);
      this.#waiting.splice(behind < 0 ? this.#waiting.length : behind, 0, waiting);
      this.#admit();
    });
  }

  #admit(): void {
    const { lanes, memory } = this.limits;
    for (let next = this.#waiting[0]; next; next = this.#waiting[0]) {
      if (this.#running.size >= lanes || this.#bytesOf([...this.#needs, next.need]) > memory) return;
      this.#waiting.shift();
      this.#running.add(next);
      next.admit();
    }
  }

  get #needs(): Need[] {
    return Array.from(this.#running, ({ need }) => need);
  }

  /** Lanes of a kind are as long as the longest needs, and one prompt is read at a time. */
  #bytesOf(needs: readonly Need[]): number {
    const kinds = new Map<string, Need[]>();
    for (const need of needs) kinds.set(need.kind, [...(kinds.get(need.kind) ?? []), need]);
    const rows = [...kinds.values()].map((kind) => kind.length * most(kind, 'rows'));
    return (rows.reduce((sum, each) => sum + each, 0) + most(needs, 'reading')) * this.limits.bytesPerRow;
  }
}

function most(needs: readonly Need[], name: 'rows' | 'reading'): number {
  return needs.reduce((rows, need) => Math.max(rows, need[name]), 0);
}

const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
