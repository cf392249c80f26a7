import { eitherSignal } from '../errors.js';
import { EventQueue } from '../models/conversation/event-queue.js';
import { refuseUnknown } from '../options.js';
import { type EngineEvent, type EngineRequest, REQUEST_OPTIONS } from './request.js';

/**
 * Begins to serve a request, and tells what comes of it to who listens.
 * @param request its signal ends it, as it ends when who listens stops
 * @param serve tells of events until it is over, one way or the other
 */
export function answered(
  request: EngineRequest,
  serve: (signal: AbortSignal, tell: (event: EngineEvent) => void) => Promise<void>,
): AsyncGenerator<EngineEvent, void, undefined> {
  const events = new EventQueue<EngineEvent>();
  const left = new AbortController();
  // What is wrong with a request is told to who listens, whenever it is found.
  const serving = async () => {
    refuseUnknown('add', request ?? null, REQUEST_OPTIONS);
    await serve(eitherSignal(left.signal, request.signal), (event) => events.push(event));
  };
  serving().then(
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
