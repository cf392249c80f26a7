/** What a generated text is to be like. */
export interface TextSize {
  /** Words of it, at least; a word is 1.2 to 1.4 tokens. */
  readonly words: number;
  /** Facts, numbers or events in it. */
  readonly items: number;
  /** Where in the text stands what is asked for, in hundredths of it; at a place of chance without. */
  readonly depth?: number | undefined;
}
