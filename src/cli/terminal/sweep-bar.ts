import { SingleBar } from 'cli-progress';
import type { SweepProgress } from '../../eval/sweep/sweep.js';
import { leftName } from './time-left.js';

/** How often a line is written where there is no terminal to draw a bar on. */
const BETWEEN_LINES_MS = 30_000;

/** How far a sweep is and how long it will take: a bar on a terminal, else a line now and then. */
export class SweepBar {
  private bar: SingleBar | undefined;
  private readonly start = performance.now();
  private writtenAt = this.start;

  constructor(private readonly stream: NodeJS.WriteStream = process.stderr) {}

  at(progress: SweepProgress): void {
    const { done, total, sample } = progress;
    const left = timeLeft(progress, performance.now() - this.start);
    if (this.stream.isTTY) {
      this.bar ??= this.begin(total, done);
      this.bar.setTotal(total);
      this.bar.update(done, { sample, left });
    } else if (performance.now() - this.writtenAt > BETWEEN_LINES_MS) {
      this.writtenAt = performance.now();
      this.stream.write(`${done} of ${total} done, ${sample}, ${left}\n`);
    }
  }

  /** Takes the bar off the screen. */
  end(): void {
    this.bar?.stop();
    this.bar = undefined;
  }

  private begin(total: number, done: number): SingleBar {
    const bar = new SingleBar({
      format: '{bar} {value} of {total}, {sample}, {left}',
      stream: this.stream,
      clearOnComplete: true,
      barsize: 24,
    });
    bar.start(total, done, { sample: '', left: '' });
    return bar;
  }
}

/** `about 12 min left`, by the pace of this run; what an earlier run found says nothing of it. */
export function timeLeft({ done, total, found }: SweepProgress, elapsedMs: number): string {
  return leftName(done === found ? undefined : ((elapsedMs / (done - found)) * (total - done)) / 1000);
}
