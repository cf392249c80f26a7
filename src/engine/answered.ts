import { EventQueue } from '../models/conversation/event-queue.js';
import type { EngineEvent } from './request.js';

/**
 * Begins to serve a request, and tells what comes of it to who listens.
 * @param signal ends it, as it ends when who listens stops
 * @param serve tells of events until it is over, one way or the other
 */
export function answered(
  signal: AbortSignal | undefined,
  serve: (signal: AbortSignal, tell: (event: EngineEvent) => void) => Promise<void>,
): AsyncGenerator<EngineEvent, void, undefined> {
  const events = new EventQueue<EngineEvent>();
  const left = new AbortController();
  const either = signal ? AbortSignal.any([left.signal, signal]) : left.signal;
  serve(either, (event) => events.push(event)).then(
    () => events.close(),
    (cause: unknown) => events.fail(cause),
  );
  return told(events, left);
}

async function* told(
  events: EventQueue<EngineEvent>,
  left: AbortController,
): AsyncGenerator<EngineEvent, void, undefined> {
  try {
    yield* events;
  } finally {
    left.abort();
  }
}
