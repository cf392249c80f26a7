import { rougeL } from '../eval/metrics/rouge.js';

/** How far two answers agree, 0 to 1: ROUGE-L's F1. Two empty answers agree. */
export function agreement(answer: string, reference: string): number {
  return rougeL(answer, reference).f1;
}

/** The sentences of a text, without the space between them. */
function sentencesOf(text: string): string[] {
  return text.split(/(?<=[.!?])\s+/).filter(Boolean);
}

/** How many sentences of a true description an answer has word for word. */
export function sentencesRight(answer: string, truth: string): { right: number; total: number } {
  const said = new Set(sentencesOf(answer.trim()));
  const wanted = sentencesOf(truth.trim());
  return { right: wanted.filter((sentence) => said.has(sentence)).length, total: wanted.length };
}
