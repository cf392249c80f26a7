import { z } from 'zod';

/** A text with something in it. */
export const Text = z.string().trim().min(1, 'it is empty');

/** What a schema or a parser found wrong with a record, as one clause. */
export function reasonOf(error: unknown): string {
  if (error instanceof z.ZodError) {
    const { path, message } = error.issues[0]!;
    const where = path.length > 0 ? `${path.map(String).join('.')}: ` : '';
    return `${where}${message.charAt(0).toLowerCase()}${message.slice(1)}`;
  }
  return error instanceof Error ? error.message.replace(/\.$/, '') : String(error);
}
