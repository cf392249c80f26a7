import type { Server } from 'node:http';
import { type AddressInfo, createServer, type Server as NetServer } from 'node:net';
import { createAdaptorServer } from '@hono/node-server';
import { ElasticCacheError, reasonOf } from '../errors.js';
import type { App } from './app.js';

/** Milliseconds for the head of a request, and for all of one. */
const MOST_HEAD = 15_000;
const MOST_REQUEST = 60_000;
/** Milliseconds between two looks, while it closes, at which connections are idle by now. */
const IDLE_CHECK = 50;

export interface Listening {
  readonly port: number;
  /** Takes no more connections, cuts those that are idle as soon as they are, and waits until the others are over. */
  close(): Promise<void>;
  /** Cuts the others as well. */
  cut(): void;
}

/**
 * Puts a server on a socket of Node.
 * @param silence milliseconds in which a connection may say nothing, either way
 * @throws ElasticCacheError 'invalid-option' for a place where none can listen
 */
export async function listen(
  app: Pick<App, 'fetch'>,
  host: string,
  port: number,
  silence: number,
): Promise<Listening> {
  const server = createAdaptorServer({ fetch: app.fetch, overrideGlobalObjects: false }) as Server;
  server.headersTimeout = MOST_HEAD;
  server.requestTimeout = MOST_REQUEST;
  // A client that reads nothing is cut, since its answer is held for it.
  server.setTimeout(silence);
  await opened(server, host, port);
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        const idle = setInterval(() => server.closeIdleConnections(), IDLE_CHECK);
        server.close(() => {
          clearInterval(idle);
          resolve();
        });
      }),
    cut: () => server.closeAllConnections(),
  };
}

/**
 * Refuses a place where none can listen, before a model is loaded for it.
 * @throws ElasticCacheError 'invalid-option'
 */
export async function refuseTaken(host: string, port: number): Promise<void> {
  const server = createServer();
  await opened(server, host, port);
  await new Promise((resolve) => server.close(resolve));
}

function opened(server: NetServer, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause) => {
      const isTaken = (cause as NodeJS.ErrnoException).code === 'EADDRINUSE';
      const reason = isTaken ? 'something listens there already; choose another --port' : reasonOf(cause);
      const message = `The server cannot listen on ${host}, port ${port}: ${reason}.`;
      reject(new ElasticCacheError('invalid-option', message, { cause }));
    });
    server.listen(port, host, resolve);
  });
}
