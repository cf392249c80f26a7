/** What papers printed: numbers of their models and machines, to stand beside those of a run. */

/** Elastic Cache, arXiv 2407.18121, table 2: seconds of prompt and output together, and tokens a second of all rows, on an A100 with 80% pruned. */
export const LATENCY_TABLE = [
  { model: 'LLaVA-1.5-13B', shape: '1024+512 x 8', full: [30.5, 132.9], elastic: [20.2, 202.8] },
  { model: 'LLaVA-1.5-13B', shape: '624+256 x 16', full: [17.9, 228.8], elastic: [11.8, 347.1] },
  { model: 'LLaVA-1.5-7B', shape: '1024+512 x 16', full: [30.6, 267.7], elastic: [17.2, 476.3] },
  { model: 'LLaVA-1.5-7B', shape: '624+256 x 48', full: undefined, elastic: [13.6, 903.5] },
] as const;

/** The same, table 3: perplexity of LLaVA-1.5-13B on LLaVA-Description at a budget of 0.5, and the policy here that is such a row. */
export const ABLATIONS: readonly { part: string; row: string; perplexity: number; policy?: string }[] = [
  { part: 'a, while decoding', row: 'keeps the most recent', perplexity: 3.93, policy: 'elastic-oldest' },
  { part: 'a, while decoding', row: 'frequency', perplexity: 3.75, policy: 'elastic-frequency' },
  { part: 'a, while decoding', row: 'fixed point', perplexity: 3.6, policy: 'elastic' },
  { part: 'b, the rest', row: 'clustered to ten centres', perplexity: 3.61, policy: 'elastic-clusters' },
  { part: 'b, the rest', row: 'evicted', perplexity: 3.68, policy: 'elastic-evict' },
  { part: 'b, the rest', row: 'merged', perplexity: 3.6, policy: 'elastic' },
  { part: 'c, anchors', row: 'shared by all layers', perplexity: 3.73, policy: 'elastic-shared' },
  { part: 'c, anchors', row: 'of each head', perplexity: 3.75, policy: 'elastic-heads' },
  { part: 'c, anchors', row: 'of each layer', perplexity: 3.6, policy: 'elastic' },
  { part: 'd, importance', row: 'moving average', perplexity: 8.43 },
  { part: 'd, importance', row: 'mean', perplexity: 8.7, policy: 'elastic-mean' },
  { part: 'd, importance', row: 'sum', perplexity: 3.6, policy: 'elastic' },
];
export const ABLATION_BUDGET = '0.5';

/**
 * Perplexity of LLaVA-1.5-7B on LLaVA-Description: the full cache and two budgets, as PrefixKV (arXiv 2412.03409) prints them for the released code of each method. The curves of figure 2
 * of Elastic Cache are a picture; its text gives how far it is ahead at 0.5.
 */
export const CURVES: Readonly<Record<string, { readonly '0.2': number; readonly '0.5': number }>> = {
  elastic: { '0.2': 14.0, '0.5': 6.31 },
  h2o: { '0.2': 48.3, '0.5': 12.9 },
  local: { '0.2': 105, '0.5': 33.8 },
  prefixkv: { '0.2': 3.69, '0.5': 3.41 },
};
export const CURVES_FULL = 3.2;
/** Figure 2b, 7B at 0.5: how far Elastic Cache is ahead of each, in perplexity and in ROUGE-L. */
export const AHEAD = { h2o: [4.34, 0.089], local: [28.72, 0.165] } as const;
