/** What is asked of a tokenizer to read its tokens back. */
export interface Decoding {
  decode(tokens: number[], options: { skip_special_tokens: boolean }): string;
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

  constructor(private readonly tokenizer: Decoding) {}

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

  private fresh(): string {
    const decoded = (tokens: number[]) =>
      tokens.length > 0 ? this.tokenizer.decode(tokens, { skip_special_tokens: true }) : '';
    return decoded([...this.before, ...this.pending]).slice(decoded(this.before).length);
  }
}
