import { ElasticCacheError, type ErrorCode, reasonOf } from '../../errors.js';
import type { LoadOptions } from '../../models/load.js';
import type { EngineEvent, EngineOptions, EngineRequest, EngineStats, ModelFacts } from '../request.js';

/**
 * What goes between an engine and the worker that its model runs in. Every message can be cloned: a process of Node and a worker of a browser carry the same.
 */

/** What an engine is made of. */
export interface Opening {
  readonly model: string;
  readonly load: LoadOptions | undefined;
  readonly options: EngineOptions;
}

/** To the worker. */
export type Command =
  | ({ type: 'open' } & Opening)
  | { type: 'add'; id: number; request: EngineRequest }
  | { type: 'abort'; id: number }
  | { type: 'close' };

/** From the worker. */
export type Report =
  | { type: 'opened'; model: ModelFacts }
  | { type: 'failed'; error: PlainError }
  | { type: 'progress'; event: unknown }
  | { type: 'warning'; message: string }
  /** Told every second while it has requests. */
  | { type: 'alive'; stats: EngineStats }
  /** Nothing is left to do for a request before it runs. */
  | { type: 'prepared'; id: number }
  | { type: 'event'; id: number; event: EngineEvent; stats: EngineStats }
  | { type: 'ended'; id: number; error: PlainError | undefined; stats: EngineStats }
  | { type: 'closed' };

/** One end of the line between them. */
export interface Port<Sent, Heard> {
  send(message: Sent): void;
  /** Called with each message, in their order. */
  listen(listener: (message: Heard) => void): void;
}

/** The engine's end. */
export interface WorkerPort extends Port<Command, Report> {
  /** Called when the worker is no more, with what is known of it, unless {@link end} was called. */
  onDeath(listener: (reason: string) => void): void;
  /** Whether the process stays for it. */
  keep(kept: boolean): void;
  /** Ends the worker, whatever it does. */
  end(): Promise<void>;
}

/** An error as it can be cloned. */
export interface PlainError {
  readonly code: ErrorCode | undefined;
  readonly message: string;
}

export function plainError(cause: unknown): PlainError {
  return { code: cause instanceof ElasticCacheError ? cause.code : undefined, message: reasonOf(cause) };
}

export function errorOf({ code, message }: PlainError): Error {
  return code === undefined ? new Error(message) : new ElasticCacheError(code, message);
}
