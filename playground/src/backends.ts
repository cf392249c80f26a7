import type { Command, Report } from './messages.js';

/** What answers: a model in the page's own worker, or the server that the page came from. Both are told the same and tell the same. */
export interface Backend {
  send(command: Command): void;
  /** Ends it, whatever it does. */
  end(): void;
}

/** Whether the page came from a server that answers: such a one says so in the page. */
export const IS_ON_SERVER =
  document.querySelector<HTMLMetaElement>('meta[name=backend]')?.content === 'server';

/** @param hear called with what it tells */
export function workerBackend(hear: (report: Report) => void): Backend {
  const worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' });
  worker.addEventListener('message', ({ data }: MessageEvent<Report>) => hear(data));
  worker.addEventListener('error', ({ message }) => {
    const reason = message ? `: ${message}` : '';
    hear({
      type: 'failed',
      while: 'answering',
      message: `The page's worker failed${reason}. Load the page again.`,
    });
  });
  return { send: (command) => worker.postMessage(command), end: () => worker.terminate() };
}
