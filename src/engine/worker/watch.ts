/** Milliseconds between two looks. */
const PAUSE = 1000;

/**
 * Watches a worker that has something to do: one that does nothing of it for so long is as good as dead. A process that only counts what it was told, so that a machine that slept is no reason.
 */
export class Watch {
  #timer: ReturnType<typeof setInterval> | undefined;
  #still = 0;

  /**
   * @param patience milliseconds
   * @param isBusy whether it has something to do
   * @param onStill called once, when nothing was done for so long
   */
  constructor(
    private readonly patience: number,
    private readonly isBusy: () => boolean,
    private readonly onStill: () => void,
  ) {}

  /** Begins to look. It keeps no process from its end. */
  start(): void {
    this.stop();
    const pause = Math.min(PAUSE, this.patience / 4);
    this.#timer = setInterval(() => {
      this.#still = this.isBusy() ? this.#still + pause : 0;
      if (this.#still < this.patience) return;
      this.stop();
      this.onStill();
    }, pause);
    // Timers of browsers have no such thing.
    (this.#timer as { unref?: () => void }).unref?.();
  }

  /** Something was done. */
  moved(): void {
    this.#still = 0;
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#still = 0;
  }
}
