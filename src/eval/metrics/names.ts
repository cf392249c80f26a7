/** What can be measured: perplexity, ROUGE-1/2/L against the full cache's answer and against the true one, ROUGE-L as the `rouge` package has it, accuracy of short answers, and time and memory. */
export const METRICS = ['ppl', 'rouge', 'rouge-l-union', 'rouge-true', 'accuracy', 'latency'] as const;
export type Metric = (typeof METRICS)[number];

/** Begins the task of a line that was timed: `latency 1024+512`. */
export const LATENCY = 'latency ';
