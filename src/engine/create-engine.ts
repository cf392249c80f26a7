import { ElasticCacheError } from '../errors.js';
import type { LoadOptions } from '../models/load.js';
import type { LoadedModel } from '../models/loaded-model.js';
import { refuseUnknown } from '../options.js';
import { LocalEngine } from './local-engine.js';
import { ENGINE_OPTIONS, type Engine, type EngineOptions } from './request.js';
import { nodeProcess } from './worker/node-process.js';
import { RemoteEngine } from './worker/remote-engine.js';

/**
 * Makes an engine: it answers many requests at once on one model, each with a cache of its own policy and budget, and each as it would be answered alone.
 *
 * A model that is named is loaded in a process of its own, and this one stays free while it runs; close() lets it go. One that is loaded already runs in this thread, and nothing else
 * does while a pass lasts.
 * @param model a directory or a model on the Hub, as `loadElastic()` takes it, or what that returned
 * @throws ElasticCacheError 'invalid-option', 'invalid-budget', 'unknown-policy' or 'invalid-policy', and what `loadElastic()` throws
 * @example
 * const engine = await createEngine('path-or-hub-id', { load: { dtype: 'q4' }, lanes: 8, budget: 0.2 });
 * for await (const event of engine.add({ messages: [{ role: 'user', content: 'Hello' }] }))
 *   if (event.type === 'text') show(event.text);
 */
export async function createEngine(
  model: string | LoadedModel,
  given: EngineOptions & { load?: LoadOptions | undefined } = {},
): Promise<Engine> {
  refuseUnknown('createEngine', given, [...ENGINE_OPTIONS, 'load']);
  const { load, ...options } = given;
  if (typeof model === 'string') return RemoteEngine.open(nodeProcess(), { model, load, options });
  if (load === undefined) return LocalEngine.open(model, options);
  throw new ElasticCacheError('invalid-option', 'load is for a model that is named, and this one is loaded.');
}
