import type { EntryList } from './entry-list.js';
import type { Allowance, CachePolicy, PromptView } from './policy.js';
import { WindowCounter } from './prompt-parts.js';
import type { KeyRotation } from './rotation.js';
import { invalidShape } from './shape.js';

/** What a cache was told beside the rows of a prompt, and whether it is what the policy needs to know. */
export class PromptNotes {
  /** [batch] of [tokens] 1 for a token that stands for a part of an image; as far as it was told */
  image: readonly Uint8Array[] = [];
  /** [layers] how the model rotates keys */
  rotations: readonly KeyRotation[] | undefined;
  /** [layers] how many tokens a query sees, itself and those before it; undefined for all */
  windows: readonly (number | undefined)[] = [];
  /** [batch] of [tokens] what the keys of the prompt are like, as far as it was read */
  #keys: Float32Array[][] = [];
  #window: WindowCounter | undefined;

  constructor(private readonly policy: CachePolicy) {
    this.reset();
  }

  /** Forgets the prompt, not the model: before the next one, and when what was noted of this one has served. */
  reset(): void {
    const { window } = this.policy;
    this.#window = window === undefined ? undefined : new WindowCounter(window);
    this.image = [];
    this.#keys = [];
  }

  get rotationNeeded(): boolean {
    return this.policy.turnMergedKeys === true && this.rotations === undefined;
  }

  /**
   * Takes in the next part of a prompt of `batch` rows, or throws before anything has changed.
   * @param seen tokens of the prompt before this part
   * @throws ElasticCacheError 'invalid-shape'
   */
  addPart(seen: number, tokens: number, attention: boolean, completes: boolean, batch: number): void {
    this.#window?.check(seen, tokens, attention, completes);
    if (completes) this.#checkWhole(seen + tokens, batch);
    if (attention) this.#window?.add(tokens);
  }

  /** Sketches of the keys of that part, [batch] of [tokens]. */
  addKeys(rows: readonly Float32Array[][]): void {
    rows.forEach((keys, row) => {
      this.#keys[row] = [...(this.#keys[row] ?? []), ...keys];
    });
  }

  /** The whole prompt of a row as its policy sees it, one view for each layer. */
  views(row: number, lists: readonly EntryList[], allowed: Allowance): PromptView[] {
    return lists.map((list, layer) => ({
      tokens: list.length,
      slidingWindow: this.windows[layer],
      importance: list.scores.subarray(0, list.length),
      image: this.image[row],
      keys: this.#keys[row],
      allowed,
    }));
  }

  #checkWhole(tokens: number, batch: number): void {
    if (this.rotationNeeded) {
      throw invalidShape(
        'this policy turns keys to other positions: run the cache through generate(), or call noteRotation() first.',
      );
    }
    const told = Array.from({ length: batch }, (_, row) => this.image[row]?.length ?? 0);
    const missing = told.find((count) => count !== tokens);
    if (!this.policy.needsImage || missing === undefined) return;
    throw invalidShape(
      `this policy treats text and image apart, and the kind of ${missing} of ${tokens} prompt tokens is known; give generate() input_ids with one id for each, or call noteImage() first.`,
    );
  }
}
