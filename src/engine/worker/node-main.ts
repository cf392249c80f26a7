import type { Command } from './protocol.js';
import { serveEngine } from './serve-engine.js';

/** The file that a worker process of Node runs. It goes when who made it does. */
process.once('disconnect', () => process.exit());
// Ctrl+C in a terminal, and what stops a service, reach every process of it; who made this one decides when it goes.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => {});
serveEngine({
  // Who made it may be gone by now, and that is no error of the worker's.
  send: (message) => void process.send?.(message, undefined, undefined, () => {}),
  listen: (listener) => void process.on('message', (message) => listener(message as Command)),
});
