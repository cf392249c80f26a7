/** What is pushed on one side comes out in order on the other, where one reader waits for it. */
export class EventQueue<T> implements AsyncIterable<T> {
  private readonly events: T[] = [];
  private over = false;
  private failure: { error: unknown } | undefined;
  private wake: () => void = () => {};

  push(event: T): void {
    this.events.push(event);
    this.wake();
  }

  /** Nothing more comes. */
  close(): void {
    this.over = true;
    this.wake();
  }

  /** Nothing more comes, and the reader is thrown `error` when it has read what there is. */
  fail(error: unknown): void {
    this.failure = { error };
    this.close();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    for (;;) {
      for (let event = this.events.shift(); event !== undefined; event = this.events.shift()) yield event;
      if (this.failure) throw this.failure.error;
      if (this.over) return;
      await new Promise<void>((resolve) => {
        this.wake = resolve;
        // Something may have come while the last event was read.
        if (this.events.length > 0 || this.over) resolve();
      });
    }
  }
}
