import { RequestError } from '../openai/errors.js';
import type { Key } from './keys.js';

/** Shares of the last answer in the mean time of one. */
const NEWEST = 0.2;
const MINUTE = 60_000;

/** Who is let in: answers in hand, run or waiting, are bounded, and so is what one key has in hand and asks in a minute. */
export class Gate {
  #inHand = 0;
  #meanMs = 1000;
  #onEmpty = () => {};
  readonly #ofKeys = new Map<string, { inHand: number; asked: number[] }>();

  /** @param most answers in hand */
  constructor(
    private readonly lanes: number,
    private readonly most: number,
  ) {}

  get inHand(): number {
    return this.#inHand;
  }

  /**
   * Refuses a request before anything of it is read. It counts as asked.
   * @throws RequestError 429 with the time after which there may be room
   */
  ask(key: Key | undefined): void {
    if (key?.perMinute !== undefined) {
      const own = this.#of(key);
      const now = Date.now();
      own.asked = own.asked.filter((at) => at > now - MINUTE);
      if (own.asked.length >= key.perMinute) {
        const seconds = Math.ceil((own.asked[0]! + MINUTE - now) / 1000);
        throw full(
          'rate_limit_exceeded',
          `This key may ask ${key.perMinute} times a minute, and did; ask again in ${seconds} seconds.`,
          seconds,
        );
      }
      own.asked.push(now);
    }
    this.#refuse(1, key);
  }

  /**
   * Takes a request in. @param answers that it asks for
   * @returns what lets it go, once, when its answers are over
   * @throws RequestError 429
   */
  enter(answers: number, key: Key | undefined): () => void {
    this.#refuse(answers, key);
    const start = performance.now();
    const own = key && this.#of(key);
    this.#inHand += answers;
    if (own) own.inHand += answers;
    let over = false;
    return () => {
      if (over) return;
      over = true;
      this.#inHand -= answers;
      if (own) own.inHand -= answers;
      if (this.#inHand === 0) this.#onEmpty();
      this.#meanMs += NEWEST * (performance.now() - start - this.#meanMs);
    };
  }

  /** Waits until nothing is in hand. */
  async empty(): Promise<void> {
    if (this.#inHand > 0) {
      await new Promise<void>((resolve) => {
        this.#onEmpty = resolve;
      });
    }
  }

  #refuse(answers: number, key: Key | undefined): void {
    if (answers > this.most) {
      throw new RequestError(
        400,
        'invalid_value',
        `This request asks for ${answers} answers at once, and this server takes ${this.most} in hand; ask for fewer.`,
      );
    }
    if (key?.atOnce !== undefined && this.#of(key).inHand + answers > key.atOnce) {
      throw full(
        'rate_limit_exceeded',
        `This key has ${key.atOnce} answers at once at most; wait until one is over.`,
        this.#seconds(1),
      );
    }
    if (this.#inHand + answers <= this.most) return;
    throw full(
      'overloaded',
      `This server has ${this.#inHand} answers in hand and takes ${this.most}; ask again later.`,
      this.#seconds(this.#inHand),
    );
  }

  /** Until so many answers are over, as it went lately. */
  #seconds(answers: number): number {
    return Math.min(60, Math.max(1, Math.ceil((answers / this.lanes) * (this.#meanMs / 1000))));
  }

  #of({ name }: Key) {
    const own = this.#ofKeys.get(name) ?? { inHand: 0, asked: [] };
    this.#ofKeys.set(name, own);
    return own;
  }
}

function full(code: string, message: string, retryAfter: number): RequestError {
  return new RequestError(429, code, message, { retryAfter });
}
