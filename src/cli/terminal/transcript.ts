import { rename, rm, stat, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { ElasticCacheError, reasonOf } from '../../errors.js';
import type { Conversation } from '../results/schemas.js';

type Turn = Conversation['turns'][number];

/** What was asked and answered in a chat, to be written to a file. */
export class Transcript {
  private turns: Turn[] = [];
  /** Files that are ours to write again. */
  private readonly own = new Set<string>();

  constructor(private readonly head: Omit<Conversation, 'turns'>) {}

  add(turn: Turn): void {
    this.turns.push(turn);
  }

  reset(): void {
    this.turns = [];
  }

  /**
   * Writes the conversation: as JSON to a file of that ending, else as text. The file is there whole or not at all.
   * @throws ElasticCacheError 'invalid-option' for a file that was there before, 'missing-file' where it cannot be written
   */
  async save(path: string): Promise<void> {
    const file = resolve(path);
    const isThere = await stat(file).then(
      () => true,
      () => false,
    );
    if (isThere && !this.own.has(file)) {
      throw new ElasticCacheError('invalid-option', `${path} is there already; save to another file.`);
    }
    const part = `${file}.part`;
    try {
      await writeFile(part, /\.json$/i.test(file) ? this.json() : this.text());
      await rename(part, file);
    } catch (cause) {
      await rm(part, { force: true });
      throw new ElasticCacheError('missing-file', `${path} cannot be written (${reasonOf(cause)}).`, {
        cause,
      });
    }
    this.own.add(file);
  }

  private json(): string {
    const whole: Conversation = { ...this.head, turns: this.turns };
    return `${JSON.stringify(whole, null, 2)}\n`;
  }

  private text(): string {
    const { model, policy, budget, system } = this.head;
    const parts = [
      `${model}, ${policy}, budget ${budget}`,
      ...(system === null ? [] : [`(${system})`]),
      ...this.turns.map(({ image, prompt, answer, finishReason }) =>
        [
          ...image.map((name) => `[${name}]`),
          `> ${prompt}`,
          answer + (finishReason === 'aborted' ? ' (stopped)' : ''),
        ].join('\n'),
      ),
    ];
    return `${parts.join('\n\n')}\n`;
  }
}
