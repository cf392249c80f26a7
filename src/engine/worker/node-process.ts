import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { ElasticCacheError, reasonOf } from '../../errors.js';
import type { Report, WorkerPort } from './protocol.js';

/**
 * Makes workers that are processes of Node. Threads would do but for one thing: ONNX Runtime in a thread that ends takes the whole process with it, always when it is ended within a
 * pass, and now and then when it ends by itself.
 * @param file what they run: node-main.js, as built
 */
export function nodeProcess(file = new URL('./node-main.js', import.meta.url)): () => WorkerPort {
  return () => {
    const child = fork(fileURLToPath(file), { serialization: 'advanced', execArgv: [] });
    let ended = false;
    // What cannot be sent to one that is no more is told by its exit.
    child.on('error', () => {});
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    return {
      send(message) {
        if (!child.connected) return;
        try {
          child.send(message);
        } catch (cause) {
          throw new ElasticCacheError(
            'invalid-option',
            `A model in another process takes what can be copied there, and functions cannot (${reasonOf(cause)}); load the model in this one for policies of your own: createEngine(await loadElastic(...)).`,
            { cause },
          );
        }
      },
      listen: (listener) => void child.on('message', (message) => listener(message as Report)),
      onDeath(listener) {
        child.once('exit', (code, signal) => {
          if (!ended) listener(signal ? `it was ended by ${signal}` : `it exited with code ${code}`);
        });
      },
      keep(kept) {
        const { channel } = child;
        if (kept) {
          child.ref();
          channel?.ref();
        } else {
          child.unref();
          channel?.unref();
        }
      },
      async end() {
        ended = true;
        child.ref();
        child.kill('SIGKILL');
        await gone;
      },
    };
  };
}
