import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { ElasticCacheError, refuseAborted } from '../../errors.js';
import { type Image, imageOf } from '../../models/images/read-image.js';
import type { Pixels } from '../../platform/images.js';
import type { Decoded, ToDecode } from './image-main.js';

/** Milliseconds that an image may take. */
const MOST_TIME = 10_000;
const PROCESSES = 2;
/** Pixels of a stranger's image at most: what larger cameras give, and 150 MB. */
export const STRANGERS_PIXELS = 50e6;

/** What makes pixels of bytes. */
export interface ImageDecoder {
  /**
   * @param name what errors call the image
   * @throws ElasticCacheError 'invalid-image', 'aborted'
   */
  decode(bytes: Uint8Array, name: string, signal: AbortSignal): Promise<Image>;
  end(): void;
}

/**
 * Decodes images in a process of its own, one after the other: one that takes too long, or brings its decoder down, takes nothing else with it. The process is made with the first
 * image, and goes when this one does.
 */
export class ImageProcess implements ImageDecoder {
  #child: ChildProcess | undefined;
  #ended = false;
  #waiting = 0;
  /** Settled when the last image is. */
  #last: Promise<unknown> = Promise.resolve();

  /**
   * @param most pixels of an image
   * @param file what the process runs, as built
   */
  constructor(
    private readonly most: number,
    private readonly file = fileURLToPath(new URL('./image-main.js', import.meta.url)),
    private readonly mostTime = MOST_TIME,
  ) {}

  decode(bytes: Uint8Array, name: string, signal: AbortSignal): Promise<Image> {
    const decoded = this.#last.then(async () => {
      refuseAborted(signal);
      const { data, width, height } = await this.#decoded({ bytes, name, most: this.most });
      return imageOf(data, width, height);
    });
    this.#waiting++;
    this.#last = decoded.catch(() => {}).then(() => void this.#waiting--);
    return decoded;
  }

  end(): void {
    this.#ended = true;
    this.#child?.kill('SIGKILL');
  }

  /** Images that it has. */
  get waiting(): number {
    return this.#waiting;
  }

  /** A process may die of something else as well: an image is to blame where two do. */
  async #decoded(message: ToDecode): Promise<Pixels> {
    const pixels = (await this.#ask(message)) ?? (this.#ended ? undefined : await this.#ask(message));
    if (pixels) return pixels;
    throw refused(message, 'brought its decoder down');
  }

  /** @returns undefined where the process died */
  #ask(message: ToDecode): Promise<Pixels | undefined> {
    const child = this.#running();
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => {
        over(() => reject(refused(message, `takes more than ${this.mostTime / 1000} seconds to decode`)));
        this.#child = undefined;
        child.kill('SIGKILL');
      }, this.mostTime);
      const heard = (answer: Decoded) =>
        over(() =>
          'error' in answer ? reject(new ElasticCacheError('invalid-image', answer.error)) : resolve(answer),
        );
      const died = () => over(() => resolve(undefined));
      const over = (settle: () => void) => {
        clearTimeout(late);
        child.off('message', heard);
        child.off('exit', died);
        settle();
      };
      child.on('message', heard);
      child.on('exit', died);
      child.send(message, (cause) => cause && died());
    });
  }

  #running(): ChildProcess {
    const known = this.#child;
    if (known?.connected) return known;
    const child = fork(this.file, { serialization: 'advanced', execArgv: [] });
    // Told by its exit.
    child.on('error', () => {});
    child.unref();
    child.channel?.unref();
    this.#child = child;
    return child;
  }
}

function refused({ name }: ToDecode, what: string): ElasticCacheError {
  return new ElasticCacheError('invalid-image', `${name} ${what}; save it in another format.`);
}

/** Several of these, so that an image that takes its time holds up a part of the others alone. */
export class ImageProcesses implements ImageDecoder {
  readonly #all: readonly ImageProcess[];

  /** @param most pixels of an image */
  constructor(most: number) {
    this.#all = Array.from({ length: PROCESSES }, () => new ImageProcess(most));
  }

  decode(bytes: Uint8Array, name: string, signal: AbortSignal): Promise<Image> {
    const least = this.#all.reduce((a, b) => (b.waiting < a.waiting ? b : a));
    return least.decode(bytes, name, signal);
  }

  end(): void {
    for (const each of this.#all) each.end();
  }
}
