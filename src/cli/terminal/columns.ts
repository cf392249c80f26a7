import { clearScreenDown, moveCursor } from 'node:readline';
import Table from 'cli-table3';

/** Texts side by side in columns of one width, each wrapped; `titles` above, `feet` below. */
export function columns(
  titles: readonly string[],
  texts: readonly string[],
  feet: readonly string[],
  width: number,
): string {
  const each = Math.floor((width - titles.length - 1) / titles.length);
  const table = new Table({
    head: [...titles],
    colWidths: titles.map(() => each),
    wordWrap: true,
    style: { head: [], border: [] },
  });
  table.push([...texts], [...feet]);
  return table.toString();
}

/** More often than this is not seen, and takes time from the model. */
const BETWEEN_DRAWS_MS = 40;

/** A block of lines at the end of a terminal that is drawn over and over. */
export class LiveBlock {
  private height = 0;
  private drawnAt = 0;

  constructor(private readonly stream: NodeJS.WriteStream) {}

  /** Draws the block in place of what it was, if that is not too soon; of one higher than the terminal, its end. */
  draw(text: () => string): void {
    if (performance.now() - this.drawnAt < BETWEEN_DRAWS_MS) return;
    this.clear();
    const lines = text()
      .split('\n')
      .slice(1 - this.stream.rows);
    this.stream.write(`${lines.join('\n')}\n`);
    this.height = lines.length;
    this.drawnAt = performance.now();
  }

  /** Draws the block for the last time, all of it. */
  finish(text: string): void {
    this.clear();
    this.stream.write(`${text}\n`);
  }

  private clear(): void {
    moveCursor(this.stream, 0, -this.height);
    clearScreenDown(this.stream);
    this.height = 0;
  }
}
