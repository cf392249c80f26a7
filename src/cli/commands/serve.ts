import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import pino from 'pino';
import { createEngine } from '../../engine/create-engine.js';
import { ImageProcesses, STRANGERS_PIXELS } from '../../engine/images/image-process.js';
import { ElasticCacheError } from '../../errors.js';
import { embeddedModel } from '../../models/embedded.js';
import type { PolicySpec } from '../../policies/registry.js';
import { createApp } from '../../server/app.js';
import { Keys } from '../../server/limits/keys.js';
import { listen, refuseTaken } from '../../server/listen.js';
import { servePage } from '../bundled/page.js';
import { type ModelOptions, withLoadProgress } from '../load.js';
import type { NamedBudget } from '../options/option-values.js';
import { Progress } from '../terminal/progress.js';
import { version } from '../version.js';

export interface ServeOptions extends ModelOptions {
  host: string;
  port: number;
  lanes: number;
  budget: NamedBudget;
  policy: PolicySpec;
  memory?: number;
  park: number;
  parkDir?: string;
  parkDirSize: number;
  patience: number;
  waiting: number;
  waitingSeconds: number;
  deadline: number;
  maxNewTokens: number;
  maxBody: number;
  maxImages: number;
  allowRemoteImages?: true;
  apiKeys?: string;
  cors?: string[];
}

/** Milliseconds that answers which are told to the end already may take to be read. */
const LAST_WORDS = 10_000;

/** Serves a model until a signal comes: the first lets it answer what it has, the second ends it. */
export async function serve(options: ServeOptions): Promise<void> {
  const { host, port, lanes, waiting, park, parkDir, parkDirSize, memory, budget, policy, apiKeys } = options;
  const keys = apiKeys === undefined ? undefined : new Keys(await textOf(apiKeys));
  await refuseTaken(host, port);
  const path = options.model ?? embeddedModel();
  const model = options.model === undefined || /^[./~]|^[A-Za-z]:/.test(path) ? basename(path) : path;
  const log = pino(
    { base: null, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ dest: 2, sync: true }),
  );
  const progress = new Progress();
  const engine = await withLoadProgress(path, options, progress, (load) =>
    createEngine(path, {
      ...{ load, lanes, park, memory, policy, budget: budget.budget },
      patience: options.patience * 1000,
      ...{ parkDir, parkDirSize, onWarning: (message) => log.warn({}, message) },
    }),
  );
  const deadlineMs = options.deadline * 1000;
  const waitingMs = options.waitingSeconds * 1000;
  const decoder = new ImageProcesses(STRANGERS_PIXELS);
  const app = createApp({
    engine,
    decoder,
    model,
    lanes,
    waiting,
    waitingMs,
    deadlineMs,
    longest: options.maxNewTokens,
    body: options.maxBody,
    images: {
      remote: options.allowRemoteImages ?? false,
      most: options.maxImages,
      mostBytes: 2 * options.maxBody,
    },
    keys,
    origins: options.cors,
    local: isLoopback(host),
    version: version(),
    page: await servePage('server'),
    log,
  });
  const listening = await listen(app, host, port, waitingMs + deadlineMs + 60_000).catch(
    async (cause: unknown) => {
      await engine.close();
      throw cause;
    },
  );
  const address = `http://${host.includes(':') ? `[${host}]` : host}:${listening.port}`;
  process.stderr.write(
    `${model} answers at ${address}/v1, ${lanes} at once with a budget of ${budget.name} (${policy}); ${address}/docs tells how to ask, and Ctrl+C stops it.\n`,
  );
  await stopped(engine.ended);
  log.info({}, 'stopping: what is in hand is answered, and nothing else is taken');
  // Whoever comes meanwhile is told so, with a status that clients and load balancers know.
  await app.drain();
  await Promise.race([listening.close(), new Promise((resolve) => setTimeout(resolve, LAST_WORDS).unref())]);
  listening.cut();
  await engine.close();
  decoder.end();
  log.info({}, 'stopped');
}

/** Waits for the first signal to stop; the second ends the process at once. @throws what the model was lost of */
function stopped(ended: Promise<void>): Promise<void> {
  return new Promise((resolve, reject) => {
    ended.catch((cause: unknown) => reject(cause));
    for (const [signal, status] of [
      ['SIGINT', 130],
      ['SIGTERM', 143],
    ] as const) {
      process.removeAllListeners(signal);
      let first = true;
      process.on(signal, () => {
        if (!first) process.exit(status);
        first = false;
        resolve();
      });
    }
  });
}

async function textOf(path: string): Promise<string> {
  return readFile(path, 'utf8').catch((cause: unknown) => {
    throw new ElasticCacheError(
      'missing-file',
      `The file of API keys, ${path}, cannot be opened; check the path.`,
      { cause },
    );
  });
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\./.test(host);
}
