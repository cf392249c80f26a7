/** How unlikely a model found one answer. */
export interface Surprise {
  /** Sum of -log p over the tokens, in nats. */
  readonly nats: number;
  readonly tokens: number;
}

/** @param surprise [tokens] -log p of each token, in nats */
export function totalSurprise(surprise: Float64Array): Surprise {
  return { nats: surprise.reduce((sum, one) => sum + one, 0), tokens: surprise.length };
}

/** exp(mean -log p) over the tokens of all answers together: 1 for what is certain, the size of the vocabulary for a guess. */
export function perplexity(answers: readonly Surprise[]): number {
  const nats = answers.reduce((sum, answer) => sum + answer.nats, 0);
  const tokens = answers.reduce((sum, answer) => sum + answer.tokens, 0);
  return Math.exp(nats / tokens);
}
