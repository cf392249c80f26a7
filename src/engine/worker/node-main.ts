import { parentPort } from 'node:worker_threads';
import type { Command } from './protocol.js';
import { serveEngine } from './serve-engine.js';

/** The file that a worker of Node runs. */
const port = parentPort!;
serveEngine({
  send: (message) => port.postMessage(message),
  listen: (listener) => void port.on('message', (message: Command) => listener(message)),
});
