import { LogitsProcessor, type Tensor } from '@huggingface/transformers';
import { ElasticCacheError } from '../../../errors.js';
import type { State } from '../../../grammar/grammar.js';
import type { Form } from './response-format.js';

/** Leaves no token of one sequence that its answer, in its form, could not go on with; what ends an answer only where it may end. */
export class InForm extends LogitsProcessor {
  #state: State;
  #read: number;

  /**
   * @param promptTokens before the answer
   * @param ends tokens that end one
   */
  constructor(
    private readonly form: Form,
    promptTokens: number,
    private readonly ends: ReadonlySet<number>,
  ) {
    super();
    this.#state = form.grammar.start;
    this.#read = promptTokens;
  }

  /** @param logits [1, vocabulary], overwritten */
  override _call([row]: bigint[][], logits: Tensor): Tensor {
    for (const id of row!.slice(this.#read)) this.#take(Number(id));
    this.#read = row!.length;
    const scores = logits.data as Float32Array;
    const mask = this.form.masks.of(this.#state);
    const isAllowed = (id: number) =>
      (mask[id >>> 5]! >>> (id & 31)) & 1 || (this.#state.ended && this.ends.has(id));
    const allowed: number[] = [];
    let best = Number.NEGATIVE_INFINITY;
    for (let id = 0; id < scores.length; id++) {
      if (isAllowed(id)) {
        allowed.push(id);
        best = Math.max(best, scores[id]!);
      } else scores[id] = Number.NEGATIVE_INFINITY;
    }
    if (allowed.length === 0) {
      throw new ElasticCacheError(
        'unsupported-model',
        'This answer cannot go on in its form: the model has no token for it; leave responseFormat out.',
      );
    }
    // Where all of these are banned otherwise, the form comes first.
    if (best === Number.NEGATIVE_INFINITY) for (const id of allowed) scores[id] = 0;
    return logits;
  }

  #take(id: number): void {
    let state: State | undefined = this.#state;
    for (const byte of this.form.masks.tokens[id] ?? []) state = state?.next(byte);
    if (!state) throw new Error(`token ${id} is none of the answer's form`);
    this.#state = state;
  }
}
