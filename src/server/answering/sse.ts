import type { Told } from './run.js';

/** Milliseconds after which a stream that says nothing shows that it is there. */
const SILENCE = 15_000;
/** Milliseconds that an answer that runs may take to its first piece until its stream begins; what goes wrong before has a status of its own. */
const PATIENCE = 10_000;

/** Reads on until there is something to tell, or it takes long. @throws what goes wrong until then */
export async function begun(told: AsyncIterator<Told>): Promise<AsyncGenerator<Told, void, undefined>> {
  const early: Told[] = [];
  let next = told.next();
  for (;;) {
    const result = early.length === 0 ? await next : await within(next, PATIENCE);
    if (!result || result.done) break;
    early.push(result.value);
    next = told.next();
    if (result.value.event.type !== 'started') break;
  }
  return resumed(early, next, told);
}

async function* resumed(
  early: readonly Told[],
  next: Promise<IteratorResult<Told>>,
  told: AsyncIterator<Told>,
): AsyncGenerator<Told, void, undefined> {
  try {
    yield* early;
    for (let result = await next; !result.done; result = await told.next()) yield result.value;
  } finally {
    await told.return?.();
  }
}

/**
 * A stream of server-sent events (WHATWG HTML, 9.2), read no faster than the client does.
 * @param data of each event
 * @param onLeave called when the client leaves
 */
export function eventStream(data: AsyncIterator<string>, onLeave: () => void): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  let next: Promise<IteratorResult<string>> | undefined;
  return new ReadableStream(
    {
      async pull(controller) {
        next ??= data.next();
        const result = await within(next, SILENCE);
        if (!result) return controller.enqueue(encoder.encode(': still here\n\n'));
        next = undefined;
        if (result.done) controller.close();
        else controller.enqueue(encoder.encode(`data: ${result.value}\n\n`));
      },
      cancel() {
        onLeave();
        // Who reads it to the end is told that this is the end.
        data.return?.().catch(() => {});
      },
    },
    { highWaterMark: 0 },
  );
}

/** What is promised, or undefined when it takes longer. */
async function within<T>(promise: Promise<T>, ms: number): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
