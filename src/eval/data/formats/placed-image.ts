import type { Task } from '../dataset.js';

/** Stands for the image in a prompt, as LLaVA and those after it write it. */
const MARKER = '<image>';

/**
 * What is said before the image and what behind it, of a text with a mark in its place. An image at the very beginning, or without a mark, comes first.
 * Throws for several marks, and for a question without a word.
 */
export function placed(text: string): Pick<Task, 'prompt' | 'before' | 'placed'> {
  const parts = text.split(MARKER).map((part) => part.trim());
  if (parts.length > 2) throw new Error(`its question has ${parts.length - 1} images, and one is taken`);
  const [first = '', second] = parts;
  if (`${first}${second ?? ''}` === '') throw new Error('its question is empty');
  if (second === undefined) return { prompt: first };
  return { prompt: second, placed: true, ...(first === '' ? {} : { before: first }) };
}
