import { ElasticCacheError } from '../errors.js';
import type { LoadedModel } from '../models/loaded-model.js';
import { LocalEngine } from './local-engine.js';
import type { Engine, EngineOptions } from './request.js';

/**
 * Makes an engine: it answers many requests at once on one model, each with a cache of its own policy and budget, and each as it would be answered alone. It runs in this thread, and
 * nothing else does while a pass lasts: load the model and make the engine in a worker.
 * @param model what `loadElastic()` returned
 * @throws ElasticCacheError 'invalid-option', 'invalid-budget', 'unknown-policy' or 'invalid-policy'
 */
export async function createEngine(model: LoadedModel, options: EngineOptions = {}): Promise<Engine> {
  if (typeof model !== 'string') return LocalEngine.open(model, options);
  throw new ElasticCacheError(
    'invalid-option',
    'In a browser an engine takes a model that is loaded; in a worker, give createEngine() what loadElastic() returned.',
  );
}
