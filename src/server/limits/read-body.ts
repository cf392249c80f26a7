import { sizeName } from '../../size-name.js';
import { RequestError } from '../openai/errors.js';

/** Milliseconds in which a body must be there. */
const MOST_TIME = 30_000;

/** Reads bodies of requests, each of them and all together in so many bytes at most. */
export class Bodies {
  /** Bytes of bodies that are read at the moment. */
  #reading = 0;

  constructor(
    private readonly most: number,
    private readonly mostTogether = 8 * most,
    private readonly mostTime = MOST_TIME,
  ) {}

  /**
   * The JSON of a request.
   * @throws RequestError 400, 408, 413, 415 or 429
   */
  async json(request: Request): Promise<unknown> {
    const type = request.headers.get('content-type') ?? '';
    // A page of another site can send a form unasked, and JSON only where it is let.
    if (!/^application\/json\s*(;|$)/i.test(type)) {
      throw new RequestError(
        415,
        'unsupported_media_type',
        'The body must be JSON; send it with "Content-Type: application/json".',
      );
    }
    const encoding = request.headers.get('content-encoding') ?? 'identity';
    if (!/^\s*identity\s*$/i.test(encoding)) {
      throw new RequestError(
        415,
        'unsupported_media_type',
        `Bodies are taken as they are, and this one has "Content-Encoding: ${encoding.slice(0, 40)}"; send it uncompressed.`,
      );
    }
    const text = await this.#text(request);
    try {
      return JSON.parse(text);
    } catch {
      throw new RequestError(400, 'invalid_json', 'The body is no JSON, or not all of it came.');
    }
  }

  async #text(request: Request): Promise<string> {
    if (Number(request.headers.get('content-length') ?? 0) > this.most) throw this.#tooLarge();
    const reader = request.body?.getReader();
    if (!reader) return '';
    const parts: Uint8Array[] = [];
    let size = 0;
    let late: NodeJS.Timeout | undefined;
    const tooLate = new Promise<never>((_, reject) => {
      late = setTimeout(
        () =>
          reject(
            new RequestError(
              408,
              'body_too_slow',
              `The body took more than ${this.mostTime / 1000} seconds.`,
            ),
          ),
        this.mostTime,
      );
    });
    try {
      for (;;) {
        const { done, value } = await Promise.race([reader.read(), tooLate]);
        if (done) break;
        size += value.length;
        this.#reading += value.length;
        if (size > this.most) throw this.#tooLarge();
        if (this.#reading > this.mostTogether) {
          throw new RequestError(
            429,
            'overloaded',
            'This server reads as many bodies as it has room for; ask again later.',
            { retryAfter: 5 },
          );
        }
        parts.push(value);
      }
      // Takes a byte order mark away, which some clients write.
      return new TextDecoder().decode(Buffer.concat(parts));
    } catch (cause) {
      reader.cancel().catch(() => {});
      if (cause instanceof RequestError) throw cause;
      throw new RequestError(400, 'body_broken', 'The body broke off.');
    } finally {
      clearTimeout(late);
      this.#reading -= size;
    }
  }

  #tooLarge(): RequestError {
    return new RequestError(
      413,
      'body_too_large',
      `The body has more than ${sizeName(this.most)}, which this server takes at most; send smaller images, or fewer.`,
    );
  }
}
