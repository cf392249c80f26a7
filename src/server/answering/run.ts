import type { Engine, EngineEvent, EngineRequest } from '../../engine/request.js';
import { EventQueue } from '../../models/conversation/event-queue.js';
import { RequestError } from '../openai/errors.js';

/** An event of one of several answers. */
export interface Told {
  readonly index: number;
  readonly event: EngineEvent;
}

export interface Times {
  /** Milliseconds until all answers of a request must run, and until they must be over. */
  readonly waitingMs: number;
  readonly deadlineMs: number;
}

/** What is thrown to nobody: who asked has left. */
export class ClientLeft extends Error {}

/**
 * Runs requests side by side. They run whether somebody listens or not, so that a slow reader holds no lane; the signal ends them all, and so does the first that fails.
 * @param onOver called once, when all have left their lanes
 */
export function run(
  engine: Pick<Engine, 'add'>,
  requests: readonly EngineRequest[],
  times: Times,
  signal: AbortSignal,
  onOver: () => void,
): AsyncIterableIterator<Told> {
  const events = new EventQueue<Told>();
  const left = new AbortController();
  let ended = false;
  const end = (cause: unknown) => {
    if (ended) return;
    ended = true;
    // Told at once: a worker that hangs is no reason to wait.
    events.fail(cause);
    left.abort();
  };
  const timer = (ms: number, error: () => RequestError) => setTimeout(() => end(error()), ms);
  const waiting = timer(times.waitingMs, () => waitedTooLong(times.waitingMs));
  const deadline = timer(times.deadlineMs, () => pastDeadline(times.deadlineMs));
  const leave = () => end(new ClientLeft());
  signal.addEventListener('abort', leave);
  if (signal.aborted) leave();
  let started = 0;
  const answer = async (request: EngineRequest, index: number) => {
    for await (const event of engine.add({ ...request, signal: left.signal })) {
      if (event.type === 'started' && ++started === requests.length) clearTimeout(waiting);
      if (!ended) events.push({ index, event });
    }
  };
  const all = requests.map((request, index) => answer(request, index).catch(end));
  void Promise.all(all).then(() => {
    clearTimeout(waiting);
    clearTimeout(deadline);
    signal.removeEventListener('abort', leave);
    events.close();
    onOver();
  });
  return events[Symbol.asyncIterator]();
}

export function waitedTooLong(ms: number): RequestError {
  return new RequestError(
    429,
    'waited_too_long',
    `This request waited ${ms / 1000} seconds for its turn; ask again later.`,
    { retryAfter: 5 },
  );
}

function pastDeadline(ms: number): RequestError {
  return new RequestError(
    504,
    'deadline_exceeded',
    `The answer took more than ${ms / 1000} seconds; ask for a shorter one.`,
  );
}
