import type { ImageDecoder } from '../engine/images/image-process.js';
import type { Engine } from '../engine/request.js';
import type { Keys } from './limits/keys.js';
import type { ImageLimits } from './read-images.js';

/** What is written down while a server runs; pino has the same. */
export interface Log {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface ServerSettings {
  readonly engine: Engine;
  /** What the model is called in requests and answers. */
  readonly model: string;
  /** Answers that run at once, and that wait, at most: the engine's lanes, and this server's queue. */
  readonly lanes: number;
  readonly waiting: number;
  readonly waitingMs: number;
  readonly deadlineMs: number;
  /** Tokens of an answer where a request does not say. */
  readonly longest: number;
  /** Bytes of a request's body. */
  readonly body: number;
  readonly images: ImageLimits;
  readonly decoder: ImageDecoder;
  /** Anybody who reaches the server may ask without them. */
  readonly keys?: Keys | undefined;
  /** Origins of pages that may ask; none unless told. `*` is all. */
  readonly origins?: readonly string[] | undefined;
  /** Whether only this machine is served: then under its own names alone. */
  readonly local: boolean;
  readonly version: string;
  /** Answers for `/` and what it loads: `assets/` and `samples/`; there is no such page without it. */
  readonly page?: ((request: Request) => Promise<Response>) | undefined;
  readonly log: Log;
}
