import { allowance, type Budget } from '../cache/budget.js';
import type { CachePolicy } from '../cache/policy.js';
import { ElasticCacheError } from '../errors.js';
import { KVCache } from '../memory/kv-cache.js';
import { kindOf } from '../memory/lane-pool.js';
import { bytesPerEntry, checkShape } from '../memory/shape.js';
import { EventQueue } from '../models/conversation/event-queue.js';
import type { Inputs } from '../models/conversation/prepare-inputs.js';
import { replyTo } from '../models/conversation/reply.js';
import type { LoadedModel } from '../models/loaded-model.js';
import { refuseUnknown } from '../options.js';
import { createPolicy, DEFAULT_POLICY, type PolicySpec } from '../policies/registry.js';
import { ElasticSession } from '../runtime/elastic-session.js';
import { Admission, type Need } from './admission.js';
import { messageInputs } from './messages.js';
import { Passes } from './passes.js';
import { type EngineEvent, type EngineRequest, type EngineStats, REQUEST_OPTIONS } from './request.js';

export interface Engine {
  /**
   * Takes a request, and tells what comes of it. It runs when its turn has come, whether somebody listens or not; who stops listening ends it, as its signal does.
   *
   * Throws ElasticCacheError to who listens: 'invalid-prompt', 'invalid-image', 'invalid-option', 'context-full', 'out-of-memory' for a request that could never run, 'overloaded', and
   * what its policy throws.
   */
  add(request: EngineRequest): AsyncGenerator<EngineEvent, void, undefined>;
  readonly stats: EngineStats;
  /** Takes no more requests, and waits until those that it has are answered. */
  drain(): Promise<void>;
  /** Takes no more requests, ends those that it has, and waits until they are over. The model stays loaded. */
  close(): Promise<void>;
}

export interface EngineOptions {
  /** Requests that run at once, at most; 8 unless told. */
  readonly lanes?: number | undefined;
  /** Bytes for the caches of all that run; as many as they need unless told. A request that could never fit is refused. */
  readonly memory?: number | undefined;
  /** Requests that wait, at most; any number unless told. More are refused as 'overloaded'. */
  readonly waiting?: number | undefined;
  /** What the caches of requests keep, and how much of it, where these do not say: 'snapkv' and 0.2 unless told. */
  readonly policy?: PolicySpec | CachePolicy | undefined;
  readonly budget?: Budget | undefined;
}

const OPTIONS = ['lanes', 'memory', 'waiting', 'policy', 'budget'];
const LANES = 8;
const LONGEST = 256;
/** Milliseconds of waiting that one more of priority is worth. */
const PER_PRIORITY = 10_000;

/**
 * Makes an engine: it answers many requests at once on one model, each with a cache of its own policy and budget, and each as it would be answered alone.
 * @throws ElasticCacheError 'invalid-option', 'invalid-budget', 'unknown-policy' or 'invalid-policy'
 * @example
 * const engine = await createEngine(await loadElastic(model), { lanes: 8, budget: 0.2 });
 * for await (const event of engine.add({ messages: [{ role: 'user', content: 'Hello' }] }))
 *   if (event.type === 'text') show(event.text);
 */
export async function createEngine(loaded: LoadedModel, options: EngineOptions = {}): Promise<Engine> {
  return new LocalEngine(loaded, options);
}

/** Answers many requests at once on one model. */
class LocalEngine implements Engine {
  readonly #session: ElasticSession;
  readonly #passes: Passes;
  readonly #admission: Admission;
  readonly #ended = new AbortController();
  readonly #serving = new Set<Promise<void>>();
  /** Requests that run or wait, at most. */
  readonly #most: number;
  #closed = false;

  constructor(
    private readonly loaded: LoadedModel,
    private readonly options: EngineOptions = {},
  ) {
    refuseUnknown('createEngine', options, OPTIONS);
    const { lanes = LANES, memory = Number.POSITIVE_INFINITY, waiting = Number.POSITIVE_INFINITY } = options;
    checkNumber('lanes', lanes, 1);
    if (memory !== Number.POSITIVE_INFINITY) checkNumber('memory', memory, 1);
    if (waiting !== Number.POSITIVE_INFINITY) checkNumber('waiting', waiting, 0);
    this.#session = sessionOf(loaded);
    this.#passes = new Passes(this.#session.decoder);
    this.#cacheFor({});
    const shape = checkShape(this.#session.decoder.shape);
    // With a bias for each head, which some policies need.
    const bytesPerRow = bytesPerEntry(shape) + 4 * shape.layers * shape.kvHeads;
    this.#admission = new Admission({ lanes, memory, bytesPerRow });
    this.#most = lanes + waiting;
  }

  add(request: EngineRequest): AsyncGenerator<EngineEvent, void, undefined> {
    const events = new EventQueue<EngineEvent>();
    const left = new AbortController();
    const signals = [left.signal, this.#ended.signal, request.signal].filter(
      (signal) => signal !== undefined,
    );
    const signal = AbortSignal.any(signals);
    const serving = this.#serve({ ...request, signal }, (event) => events.push(event)).then(
      () => events.close(),
      (cause: unknown) => events.fail(cause),
    );
    this.#serving.add(serving);
    void serving.then(() => this.#serving.delete(serving));
    return told(events, left);
  }

  get stats(): EngineStats {
    const { waiting, running, promised } = this.#admission;
    return { waiting, running, bytesPromised: promised, bytesAllocated: this.#passes.bytes };
  }

  async drain(): Promise<void> {
    this.#closed = true;
    await Promise.all(this.#serving);
  }

  async close(): Promise<void> {
    this.#ended.abort();
    await this.drain();
  }

  async #serve(
    request: EngineRequest & { signal: AbortSignal },
    tell: (event: EngineEvent) => void,
  ): Promise<void> {
    refuseUnknown('add', request, REQUEST_OPTIONS);
    if (this.#closed) throw new ElasticCacheError('invalid-option', 'This engine is closed; create another.');
    if (this.#serving.size >= this.#most) {
      throw new ElasticCacheError(
        'overloaded',
        `${this.#most} requests run or wait already; try again later.`,
      );
    }
    const { messages, inputs: given, policy: _policy, budget: _budget, priority = 0, ...settings } = request;
    const start = performance.now();
    const rank = start - priority * PER_PRIORITY;
    const cache = this.#cacheFor(request);
    const inputs = await this.#inputsOf(messages, given);
    const promptTokens = inputs.input_ids.dims[1]!;
    const need = this.#needOf(cache, promptTokens, settings.maxNewTokens ?? LONGEST);
    this.#admission.refuseNever(need);
    let release: () => void;
    try {
      release = await this.#admission.enter(need, rank, settings.signal);
    } catch {
      return tell({ type: 'finish', reason: 'aborted', text: '' });
    }
    const waitedMs = performance.now() - start;
    try {
      this.#session.runBy(cache, this.#passes);
      this.#passes.enter(cache, { rank, rows: need.rows });
      const cachedTokens = cache.seen;
      tell({ type: 'started', promptTokens, cachedTokens });
      const { reply } = await replyTo(this.loaded, inputs, cache, settings, (text) =>
        tell({ type: 'text', text }),
      );
      const stats = cache.stats();
      const { prefillMs, msPerToken, tokens, finishReason: reason, text } = reply;
      const newTokens = tokens.length;
      const usage = { promptTokens, cachedTokens, newTokens, waitedMs, prefillMs, msPerToken, stats };
      tell({ type: 'usage', usage });
      tell({ type: 'finish', reason, text });
    } finally {
      await this.#passes.leave(cache, false);
      release();
    }
  }

  #cacheFor({
    policy = this.options.policy ?? DEFAULT_POLICY,
    budget = this.options.budget ?? 0.2,
  }): KVCache {
    const cache = new KVCache({ policy: typeof policy === 'string' ? createPolicy(policy) : policy, budget });
    const { shape, windows } = this.#session.decoder;
    cache.bind(shape, windows);
    return cache;
  }

  #inputsOf(messages: EngineRequest['messages'], given: Inputs | undefined): Promise<Inputs> {
    if ((messages === undefined) === (given === undefined)) {
      throw new ElasticCacheError(
        'invalid-option',
        'a request is messages or inputs, one of these; give either.',
      );
    }
    return given ? Promise.resolve(given) : messageInputs(this.loaded, messages!);
  }

  #needOf(cache: KVCache, promptTokens: number, newTokens: number): Need {
    const { policy, budget } = cache;
    const entryBytes = bytesPerEntry(checkShape(this.#session.decoder.shape));
    const { entries } = allowance(budget, promptTokens + newTokens, entryBytes, policy.minimum);
    return { kind: kindOf(cache), rows: entries + 1, reading: promptTokens };
  }
}

/** The session of a loaded model's decoder. */
function sessionOf({ model }: LoadedModel): ElasticSession {
  const session = Object.values<unknown>(model.sessions).find((each) => each instanceof ElasticSession);
  if (session) return session;
  throw new ElasticCacheError(
    'invalid-model',
    'an engine runs a model from loadElastic(); load it with that.',
  );
}

function checkNumber(name: string, value: unknown, least: number): void {
  if (Number.isSafeInteger(value) && (value as number) >= least) return;
  throw new ElasticCacheError(
    'invalid-option',
    `${name} is ${String(value)}; it must be a whole number from ${least}.`,
  );
}

async function* told(
  events: EventQueue<EngineEvent>,
  left: AbortController,
): AsyncGenerator<EngineEvent, void, undefined> {
  try {
    yield* events;
  } finally {
    left.abort();
  }
}
