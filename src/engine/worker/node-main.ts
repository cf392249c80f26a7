import type { Command } from './protocol.js';
import { serveEngine } from './serve-engine.js';

/** The file that a worker process of Node runs. It goes when who made it does. */
process.once('disconnect', () => process.exit());
// Ctrl+C in a terminal, and what stops a service, reach every process of it; who made this one decides when it goes.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => {});
serveEngine({
  send: (message) => void process.send?.(message),
  listen: (listener) => void process.on('message', (message) => listener(message as Command)),
});
