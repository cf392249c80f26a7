import { SingleBar } from 'cli-progress';
import { milliseconds } from './format.js';

/**
 * What takes time, told on stderr: a bar on a terminal, and one line for a stage that is done. A stage that fails leaves
 * no line, so its error stands alone.
 */
export class Progress {
  private bar: SingleBar | undefined;

  constructor(private readonly stream: NodeJS.WriteStream = process.stderr) {}

  /** Runs a stage from its bar to its line. */
  async stage<T>(label: string, run: () => Promise<T>): Promise<T> {
    const start = performance.now();
    this.start(label);
    try {
      const result = await run();
      this.end();
      this.stream.write(`${label}: ${milliseconds(performance.now() - start)}\n`);
      return result;
    } finally {
      this.end();
    }
  }

  /** Shows a bar at nothing. Not on a pipe or in a file, where nothing can be taken back. */
  start(label: string): void {
    if (!this.stream.isTTY) return;
    this.bar = new SingleBar({
      format: `${label} {bar} {percentage}%{note}`,
      stream: this.stream,
      clearOnComplete: true,
      barsize: 24,
    });
    this.bar.start(1, 0, { note: '' });
  }

  /** @param note what else there is to say, behind the bar */
  at(done: number, total: number, note?: string): void {
    this.bar?.setTotal(total);
    this.bar?.update(done, { note: note === undefined ? '' : `, ${note}` });
  }

  /** Takes the bar off the screen. */
  end(): void {
    this.bar?.stop();
    this.bar = undefined;
  }
}
