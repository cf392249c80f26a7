import { randomUUID } from 'node:crypto';
import type { Context, ErrorHandler, MiddlewareHandler } from 'hono';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import { ClientLeft } from './answering/run.js';
import { isOwnName } from './limits/hosts.js';
import type { Key } from './limits/keys.js';
import type { Metrics } from './metrics.js';
import { errorAnswer, RequestError } from './openai/errors.js';
import type { ServerSettings } from './settings.js';

export interface Env {
  Variables: {
    id: string;
    start: number;
    key: Key | undefined;
    /** For the log. */
    noted: object;
    /** Whether the answer goes on when its status is told; it is logged at its end. */
    goesOn: boolean;
  };
}

type Parts = Pick<ServerSettings, 'log' | 'keys' | 'local'> & { metrics: Metrics };

/** Gives a request an id, which its answer and the log have. */
export function noted(parts: Parts): MiddlewareHandler<Env> {
  return async (context, next) => {
    context.set('id', `req_${randomUUID().replaceAll('-', '')}`);
    context.set('start', performance.now());
    context.set('noted', {});
    await next();
    context.res.headers.set('x-request-id', context.var.id);
    if (!context.var.goesOn) written(context, parts, {});
  };
}

/** Writes down what became of a request. */
export function written(context: Context<Env>, { log, metrics }: Parts, fields: object): void {
  const { req, var: own } = context;
  const { status } = context.res;
  const seconds = (performance.now() - own.start) / 1000;
  metrics.request(req.routePath, status, seconds);
  const more = { id: own.id, ms: Math.round(seconds * 1000), ...(own.key && { key: own.key.name }) };
  const path = req.path.slice(0, 200);
  log.info({ method: req.method, path, status, ...more, ...own.noted, ...fields }, 'answered');
}

/** Lets a server that asks for no key be reached under the names of its machine alone. */
export function underOwnNames({ local, keys }: Parts): MiddlewareHandler<Env> {
  return async (context, next) => {
    if (local && !keys && !isOwnName(context.req.header('host') ?? '')) {
      throw new RequestError(
        403,
        'host_not_allowed',
        'This server answers under the names of this machine alone, since it asks for no key; start it with --api-keys to reach it under another.',
      );
    }
    await next();
  };
}

/** Asks for a key where there are any. */
export function withKey({ keys }: Parts): MiddlewareHandler<Env> {
  return async (context, next) => {
    context.set('key', keys?.of(context.req.header('authorization')));
    await next();
  };
}

/** Makes answers of errors: one sentence, and nothing of where it was thrown. */
export function failing({ log, metrics }: Parts): ErrorHandler<Env> {
  return (cause, context) => {
    const known =
      cause instanceof ClientLeft ? new RequestError(499, 'client_left', 'The client left.') : cause;
    const { status, headers, body, cause: fault } = errorAnswer(known);
    const { code } = body.error;
    metrics.error(code);
    context.set('noted', { ...context.var.noted, error: code });
    if (fault !== undefined) log.error({ err: fault, id: context.var.id }, 'failed');
    for (const [name, value] of Object.entries(headers)) context.header(name, value);
    return context.json(body, status as ContentfulStatusCode);
  };
}
