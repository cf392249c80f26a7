/** What is asked of a tokenizer to read its tokens back. */
export interface Decoding {
  decode(
    tokens: number[],
    options: { skip_special_tokens: boolean; clean_up_tokenization_spaces?: boolean },
  ): string;
}

/** Stands for a character of which some bytes are yet to come. */
const INCOMPLETE = '\uFFFD';

/**
 * Turns tokens into text one after the other: the pieces joined are the text of all tokens, special ones left out.
 *
 * A tokenizer reads a token differently at the beginning of a text, so each is read behind the one before it, and what that one gives alone is taken off.
 * Time for each token does not grow with the text.
 */
export class Detokenizer {
  /** The tokens whose text is out, as far as they are needed, and those whose text is not. */
  private before: number[] = [];
  private pending: number[] = [];

  /** @param isExact whether spaces stay that a tokenizer may take out before commas and the like */
  constructor(
    private readonly tokenizer: Decoding,
    private readonly isExact = false,
  ) {}

  /** The text that is known now and was not before; empty while a character is incomplete. */
  push(token: number): string {
    this.pending.push(token);
    const text = this.fresh();
    if (text === '' || text.endsWith(INCOMPLETE)) return '';
    this.before = this.pending;
    this.pending = [];
    return text;
  }

  /** Whether there are tokens whose text is not out. */
  get isWaiting(): boolean {
    return this.pending.length > 0;
  }

  /** What is left at the end, whole or not. */
  end(): string {
    const text = this.fresh();
    this.pending = [];
    return text;
  }

  get #options() {
    return { skip_special_tokens: true, ...(this.isExact && { clean_up_tokenization_spaces: false }) };
  }

  private fresh(): string {
    const decoded = (tokens: number[]) =>
      tokens.length > 0 ? this.tokenizer.decode(tokens, this.#options) : '';
    return decoded([...this.before, ...this.pending]).slice(decoded(this.before).length);
  }
}
