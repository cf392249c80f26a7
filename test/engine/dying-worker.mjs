// The worker of an engine as it is built, which dies when it is told to, as it would of a fault of its own.
import { parentPort } from 'node:worker_threads';
import { serveEngine } from '../../dist/engine/worker/serve-engine.js';

parentPort.on('message', (message) => {
  if (message.type === 'die') process.exit(7);
});
serveEngine({
  send: (message) => parentPort.postMessage(message),
  listen: (listener) => void parentPort.on('message', listener),
});
