import { Worker } from 'node:worker_threads';
import { ElasticCacheError, reasonOf } from '../../errors.js';
import type { Command, Report, WorkerPort } from './protocol.js';

/** Makes worker threads of Node. @param file what they run: node-main.js, as built */
export function nodeWorker(file = new URL('./node-main.js', import.meta.url)): () => WorkerPort {
  return () => {
    const worker = new Worker(file);
    let ended = false;
    return {
      send: (message) => post(worker, message),
      listen: (listener) => void worker.on('message', (message: Report) => listener(message)),
      onDeath(listener) {
        let reason = '';
        worker.on('error', (error) => {
          reason = reasonOf(error);
        });
        worker.on('exit', (code) => {
          if (!ended) listener(reason === '' ? `it exited with code ${code}` : reason);
        });
      },
      keep: (kept) => (kept ? worker.ref() : worker.unref()),
      async end() {
        ended = true;
        await worker.terminate();
      },
    };
  };
}

function post(worker: Worker, message: Command): void {
  try {
    worker.postMessage(message);
  } catch (cause) {
    throw new ElasticCacheError(
      'invalid-option',
      `A model in a worker thread takes what can be copied there, and functions cannot (${reasonOf(cause)}); load the model in this thread for policies of your own: createEngine(await loadElastic(...)).`,
      { cause },
    );
  }
}
