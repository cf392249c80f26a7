import { type Context, Hono } from 'hono';
import { cors } from 'hono/cors';
import { secureHeaders } from 'hono/secure-headers';
import { type Env, failing, noted, underOwnNames, withKey, written } from './around.js';
import { chatJob, completionJob } from './jobs.js';
import { RequestError } from './openai/errors.js';
import { docsPage } from './pages/docs.js';
import { pageResponse } from './pages/html.js';
import { apiDocument } from './pages/openapi.js';
import { STATUS_PAGE } from './pages/status.js';
import { type Check, Service } from './service.js';
import type { ServerSettings } from './settings.js';

/** A server without sockets: a Request in, a Response out. */
export interface App {
  readonly fetch: (request: Request) => Response | Promise<Response>;
  /** Refuses what is new from now on, and waits until what is in hand is answered. */
  drain(): Promise<void>;
}

/** OpenAI's API over an engine, and pages that show how it is. */
export function createApp(settings: ServerSettings): App {
  const { engine, keys, origins, model, version, log, local } = settings;
  const app = new Hono<Env>();
  const service = new Service(settings);
  const { metrics } = service;
  const parts = { log, keys, local, metrics };

  app.use(noted(parts));
  app.use(underOwnNames(parts));
  app.use(
    secureHeaders({
      crossOriginResourcePolicy: false,
      xXssProtection: false,
      strictTransportSecurity: false,
    }),
  );
  if (origins) app.use(cors({ origin: [...origins], exposeHeaders: ['x-request-id', 'retry-after'] }));
  for (const path of ['/v1/*', '/metrics', '/status.json']) app.use(path, withKey(parts));
  app.onError(failing(parts));
  app.notFound(({ req }) => {
    throw new RequestError(
      404,
      'not_found',
      `There is no ${req.method} ${req.path.slice(0, 200)} here; GET /docs tells what there is.`,
    );
  });

  const completions = (check: Check) => async (context: Context<Env>) => {
    const { key, start } = context.var;
    const onEnd = (fields: object) => {
      if (context.var.goesOn) written(context, parts, fields);
      else context.set('noted', fields);
    };
    const { response, isStream } = await service.answer(context.req.raw, key, check, { start, onEnd });
    context.set('goesOn', isStream);
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

  const { contextLength, readsImages } = engine.model;
  const facts = { max_model_len: contextLength ?? null, reads_images: readsImages };
  const listed = {
    id: model,
    object: 'model',
    created: Math.floor(Date.now() / 1000),
    owned_by: 'elastic-cache',
    ...facts,
  };
  app.get('/v1/models', (context) => context.json({ object: 'list', data: [listed] }));
  app.get('/v1/models/:id{.+}', (context) => {
    if (context.req.param('id') === model) return context.json(listed);
    throw new RequestError(
      404,
      'model_not_found',
      `There is no such model here; this server has "${model}".`,
    );
  });

  app.get('/health', (context) =>
    context.json({ status: service.state }, service.state === 'failed' ? 503 : 200),
  );
  app.get('/ready', (context) =>
    context.json({ status: service.state }, service.state === 'ready' ? 200 : 503),
  );
  app.get('/metrics', async (context) =>
    context.body(await metrics.registry.metrics(), 200, { 'content-type': metrics.registry.contentType }),
  );
  app.get('/status.json', (context) => context.json(service.status));

  const document = apiDocument(model, version, keys !== undefined);
  const { page } = settings;
  if (page) for (const path of ['/', '/assets/*', '/samples/*']) app.get(path, ({ req }) => page(req.raw));
  app.get('/status', () => pageResponse(STATUS_PAGE));
  app.get('/openapi.json', (context) => context.json(document));
  app.get('/docs', (context) => pageResponse(docsPage(document, new URL(context.req.url).origin)));

  return { fetch: (request) => app.fetch(request), drain: () => service.drain() };
}
