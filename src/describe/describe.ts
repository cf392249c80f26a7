import { localImage } from '#platform/images.js';
import type { ImageDecoder } from '../engine/images/image-process.js';
import type { Engine, EngineRequest } from '../engine/request.js';
import { ElasticCacheError, type ErrorCode } from '../errors.js';
import { MAX_BYTES } from '../platform/images.js';
import { sizeName } from '../size-name.js';
import type { Caption } from './captions.js';

/** What every image is asked, and how. */
export interface Question
  extends Omit<EngineRequest, 'messages' | 'prompt' | 'inputs' | 'signal' | 'logprobs'> {
  readonly prompt: string;
  readonly system?: string | undefined;
}

/** Errors of an image, as against those of a model, a disk or a question. */
const OF_IMAGE: readonly ErrorCode[] = [
  'missing-file',
  'invalid-image',
  'fatal-request',
  'context-full',
  'out-of-memory',
];
/** Times that an image is asked about when the worker dies beside it. */
const TRIES = 3;

/** Describes images, several at once. */
export class Describer {
  constructor(
    private readonly engine: Pick<Engine, 'add'>,
    private readonly decoder: ImageDecoder,
    private readonly question: Question,
    private readonly signal: AbortSignal,
  ) {}

  /**
   * What the model says of an image, or why it cannot.
   * @throws ElasticCacheError 'aborted', and what is no fault of the image
   */
  async describe(path: string): Promise<Caption> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.#asked(path);
      } catch (cause) {
        const { code, message } = cause as ElasticCacheError;
        if (code === 'worker-died' && tries < TRIES) continue;
        if (cause instanceof ElasticCacheError && OF_IMAGE.includes(code))
          return { image: path, error: { code, message } };
        throw cause;
      }
    }
  }

  /**
   * Describes images in their order: each line is told when those before it are.
   * @param atOnce so many are asked about at once
   */
  async all(paths: readonly string[], atOnce: number, tell: (caption: Caption) => void): Promise<void> {
    const running: Promise<Caption>[] = [];
    const settled = (caption: Promise<Caption>) => {
      // Whoever comes to it is told.
      caption.catch(() => {});
      return caption;
    };
    for (let next = 0; next < paths.length || running.length > 0; ) {
      while (next < paths.length && running.length < atOnce)
        running.push(settled(this.describe(paths[next++]!)));
      tell(await running.shift()!);
    }
  }

  async #asked(path: string): Promise<Caption> {
    const image = await this.decoder.decode(await bytesOf(path), path, this.signal);
    const { prompt, system, ...settings } = this.question;
    const messages = [
      ...(system === undefined ? [] : [{ role: 'system' as const, content: system }]),
      { role: 'user' as const, content: prompt, images: [image] },
    ];
    const caption = { image: path, text: '', finish: '', prompt_tokens: 0, new_tokens: 0 };
    for await (const event of this.engine.add({ ...settings, messages, signal: this.signal })) {
      if (event.type === 'usage') {
        caption.prompt_tokens = event.usage.promptTokens;
        caption.new_tokens = event.usage.newTokens;
      } else if (event.type === 'finish') {
        if (event.reason === 'aborted') throw new ElasticCacheError('aborted', 'Describing was stopped.');
        caption.text = event.text;
        caption.finish = event.reason;
      }
    }
    return caption;
  }
}

function bytesOf(path: string): Promise<Uint8Array> {
  return localImage(path, `image ${path}`, (size) => {
    if (size <= MAX_BYTES) return;
    throw new ElasticCacheError(
      'invalid-image',
      `image ${path} has ${sizeName(size)} and at most ${sizeName(MAX_BYTES)} are read; save it smaller.`,
    );
  });
}
