import { randomUUID } from 'node:crypto';
import { type Context, Hono } from 'hono';
import { cors } from 'hono/cors';
import { secureHeaders } from 'hono/secure-headers';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import { answer } from './answering/answer.js';
import { ClientLeft } from './answering/run.js';
import { type Checked, chatJob, completionJob } from './jobs.js';
import { Gate } from './limits/gate.js';
import { isOwnName } from './limits/hosts.js';
import type { Key } from './limits/keys.js';
import { Bodies } from './limits/read-body.js';
import { Metrics } from './metrics.js';
import { errorAnswer, RequestError } from './openai/errors.js';
import type { ServerSettings } from './settings.js';

interface Env {
  Variables: {
    id: string;
    start: number;
    key: Key | undefined;
    /** For the log. */
    noted: object;
    /** Whether the answer goes on when its status is told, and who logs it then. */
    isLogged: boolean;
  };
}
type Asking = Context<Env>;

/** A server without sockets: a Request in, a Response out. */
export interface App {
  readonly fetch: (request: Request) => Response | Promise<Response>;
  readonly metrics: Metrics;
  /** Refuses what is new from now on, and waits until what is in hand is answered. */
  drain(): Promise<void>;
}

/** OpenAI's API over an engine. */
export function createApp(settings: ServerSettings): App {
  const { engine, keys, log } = settings;
  const app = new Hono<Env>();
  const metrics = new Metrics(engine, settings.lanes);
  const gate = new Gate(settings.lanes, settings.lanes + settings.waiting);
  const bodies = new Bodies(settings.body);
  const created = Math.floor(Date.now() / 1000);
  let draining = false;
  let failed = false;
  engine.ended.catch(() => {
    failed = true;
  });

  const refuseClosed = () => {
    const refused = (code: string, message: string) =>
      new RequestError(503, code, message, { retryAfter: 5, headers: { connection: 'close' } });
    if (draining) throw refused('shutting_down', 'This server is about to stop; ask another, or later.');
    if (failed) throw refused('model_lost', 'This server has lost its model, and could not load it again.');
  };
  const logged = (context: Asking, status: number, fields: object) => {
    const {
      req,
      var: { id, start, key, noted },
    } = context;
    const seconds = (performance.now() - start) / 1000;
    metrics.request(context.req.routePath, status, seconds);
    const more = { id, ms: Math.round(seconds * 1000), ...(key && { key: key.name }), ...noted, ...fields };
    log.info({ method: req.method, path: req.path.slice(0, 200), status, ...more }, 'answered');
  };

  app.use(async (context, next) => {
    context.set('id', `req_${randomUUID().replaceAll('-', '')}`);
    context.set('start', performance.now());
    context.set('noted', {});
    await next();
    context.res.headers.set('x-request-id', context.var.id);
    if (!context.var.isLogged) logged(context, context.res.status, {});
  });
  app.use(async (context, next) => {
    if (settings.local && !keys && !isOwnName(context.req.header('host') ?? '')) {
      throw new RequestError(
        403,
        'host_not_allowed',
        'This server answers under the names of this machine alone, since it asks for no key; start it with --api-keys to reach it under another.',
      );
    }
    await next();
  });
  app.use(
    secureHeaders({
      crossOriginResourcePolicy: false,
      xXssProtection: false,
      strictTransportSecurity: false,
    }),
  );
  if (settings.origins)
    app.use(cors({ origin: [...settings.origins], exposeHeaders: ['x-request-id', 'retry-after'] }));
  app.use('/v1/*', async (context, next) => {
    context.set('key', keys?.of(context.req.header('authorization')));
    await next();
  });

  app.onError((cause, context) => {
    const left = cause instanceof ClientLeft;
    const {
      status,
      headers,
      body,
      cause: fault,
    } = errorAnswer(left ? new RequestError(499, 'client_left', 'The client left.') : cause);
    const { code } = body.error;
    metrics.error(code);
    context.set('noted', { ...context.var.noted, error: code });
    if (fault !== undefined) log.error({ err: fault, id: context.var.id }, 'failed');
    for (const [name, value] of Object.entries(headers)) context.header(name, value);
    return context.json(body, status as ContentfulStatusCode);
  });
  app.notFound((context) => {
    const { method, path } = context.req;
    throw new RequestError(
      404,
      'not_found',
      `There is no ${method} ${path.slice(0, 200)} here; GET /docs tells what there is.`,
    );
  });

  const completions =
    (
      check: (
        body: unknown,
        headers: { policy?: string; budget?: string },
        settings: ServerSettings,
      ) => Checked,
    ) =>
    async (context: Asking) => {
      const { key, start } = context.var;
      refuseClosed();
      gate.ask(key);
      const body = await bodies.json(context.req.raw);
      refuseClosed();
      const policy = context.req.header('x-elastic-policy');
      const budget = context.req.header('x-elastic-budget');
      const { answers, prepare } = check(
        body,
        { ...(policy !== undefined && { policy }), ...(budget !== undefined && { budget }) },
        settings,
      );
      const leave = gate.enter(answers, key);
      const { signal } = context.req.raw;
      const job = await prepare(signal).catch((cause: unknown) => {
        leave();
        throw cause;
      });
      const onEnd = (fields: object) => {
        if (context.var.isLogged) logged(context, 200, fields);
        else context.set('noted', fields);
      };
      const response = await answer(job, { signal, start, onOver: leave, onEnd }, settings, metrics);
      context.set('isLogged', job.isStream);
      return response;
    };
  app.post('/v1/chat/completions', completions(chatJob));
  app.post('/v1/completions', completions(completionJob));
  app.post('/v1/embeddings', () => {
    throw new RequestError(
      400,
      'unsupported',
      'This server makes no embeddings: its model writes text. Use a model made for them.',
    );
  });

  const model = {
    id: settings.model,
    object: 'model',
    created,
    owned_by: 'elastic-cache',
    max_model_len: engine.model.contextLength ?? null,
    reads_images: engine.model.readsImages,
  };
  app.get('/v1/models', (context) => context.json({ object: 'list', data: [model] }));
  app.get('/v1/models/:id{.+}', (context) => {
    if (context.req.param('id') === settings.model) return context.json(model);
    throw new RequestError(
      404,
      'model_not_found',
      `There is no such model here; this server has "${settings.model}".`,
    );
  });

  app.get('/health', (context) =>
    failed ? context.json({ status: 'failed' }, 503) : context.json({ status: 'ok' }),
  );
  app.get('/ready', (context) => {
    if (failed || draining) return context.json({ status: failed ? 'failed' : 'draining' }, 503);
    return context.json({ status: 'ready' });
  });
  app.get('/metrics', async (context) => {
    keys?.of(context.req.header('authorization'));
    return context.body(await metrics.registry.metrics(), 200, {
      'content-type': metrics.registry.contentType,
    });
  });

  return {
    fetch: (request) => app.fetch(request),
    metrics,
    async drain() {
      draining = true;
      await gate.empty();
      await engine.drain();
    },
  };
}
