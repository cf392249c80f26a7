import { openFolder } from '#platform/files/folder.js';
import { allowance, DEFAULT_BUDGET } from '../cache/budget.js';
import { ElasticCacheError, shown } from '../errors.js';
import { KVCache } from '../memory/kv-cache.js';
import { kindOf, roomPromised } from '../memory/lane-pool.js';
import { bytesPerEntry, checkShape } from '../memory/shape.js';
import { type Inputs, plainInputs } from '../models/conversation/prepare-inputs.js';
import { longestOf, replyTo } from '../models/conversation/reply.js';
import { decoderSession } from '../models/decoder-session.js';
import { checkTokens } from '../models/generation/checked-inputs.js';
import { contextLength, refuseLonger } from '../models/generation/context-end.js';
import { formOf } from '../models/generation/formatted/response-format.js';
import type { TokenLogprobs } from '../models/generation/log-probabilities.js';
import type { LoadedModel } from '../models/loaded-model.js';
import { checkWhole, refuseUnknown } from '../options.js';
import { DEFAULT_POLICY } from '../policies/registry.js';
import type { ElasticSession } from '../runtime/elastic-session.js';
import { Admission, type Need } from './admission.js';
import { answered } from './answered.js';
import { messageInputs } from './messages.js';
import { NamedPolicies } from './named-policies.js';
import { fingerprintOf } from './parking/fingerprint.js';
import { likeOf, ParkedFiles } from './parking/parked-files.js';
import { Parking } from './parking/parking.js';
import { Passes } from './passes.js';
import {
  ENGINE_OPTIONS,
  type Engine,
  type EngineEvent,
  type EngineOptions,
  type EngineRequest,
  type EngineStats,
  type ModelFacts,
} from './request.js';

const LANES = 8;
const PARK = 128e6;
const PARK_DIR_SIZE = 4e9;
/** Milliseconds of waiting that one more of priority is worth. */
const PER_PRIORITY = 10_000;

/** Answers many requests at once on one model, in this thread. */
export class LocalEngine implements Engine {
  readonly model: ModelFacts;
  readonly ended: Promise<void>;
  #end = () => {};
  readonly #session: ElasticSession;
  readonly #passes: Passes;
  readonly #admission: Admission;
  readonly #parking: Parking;
  readonly #policies = new NamedPolicies();
  readonly #ended = new AbortController();
  readonly #serving = new Set<Promise<void>>();
  /** Requests that run or wait, at most. */
  readonly #most: number;
  #closed = false;

  constructor(
    private readonly loaded: LoadedModel,
    private readonly options: EngineOptions = {},
  ) {
    refuseUnknown('createEngine', options, ENGINE_OPTIONS);
    const {
      lanes = LANES,
      memory = Number.POSITIVE_INFINITY,
      waiting = Number.POSITIVE_INFINITY,
      park = PARK,
    } = options;
    checkWhole('lanes', lanes, 1);
    if (memory !== Number.POSITIVE_INFINITY) checkWhole('memory', memory, 1);
    if (waiting !== Number.POSITIVE_INFINITY) checkWhole('waiting', waiting, 0);
    checkWhole('park', park, 0);
    if (options.patience !== undefined) checkWhole('patience', options.patience, 1);
    checkWhole('parkDirSize', options.parkDirSize ?? PARK_DIR_SIZE, 1);
    this.#session = sessionOf(loaded);
    const { config } = loaded.model;
    this.model = {
      type: String(config.model_type),
      readsImages: loaded.processor !== undefined,
      contextLength: contextLength(config, this.#session.decoder.signature.longestText),
    };
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    this.#parking = new Parking(loaded, park);
    this.#passes = new Passes(this.#session.decoder);
    this.#cacheFor({});
    const shape = checkShape(this.#session.decoder.shape);
    // With a bias for each head, which some policies need.
    const bytesPerRow = bytesPerEntry(shape) + 4 * shape.layers * shape.kvHeads;
    this.#admission = new Admission({ lanes, memory, bytesPerRow });
    this.#most = lanes + waiting;
  }

  /** An engine that goes on from what is in its folder as well. @throws ElasticCacheError as the constructor, and 'invalid-option' for a folder that cannot be used */
  static async open(loaded: LoadedModel, options: EngineOptions = {}): Promise<LocalEngine> {
    const engine = new LocalEngine(loaded, options);
    const { parkDir, parkDirSize = PARK_DIR_SIZE, onWarning = () => {} } = options;
    if (parkDir === undefined) return engine;
    const folder = await openFolder(parkDir);
    const files = await ParkedFiles.open(folder, await fingerprintOf(loaded), parkDirSize, onWarning);
    const likeness = ({ policy, budget }: KVCache) => likeOf(engine.#policies.nameOf(policy), budget);
    engine.#parking.onDisk = { files, likeOf: likeness };
    return engine;
  }

  /** @param onPrepared called when nothing is left to do before it runs */
  add(
    request: EngineRequest,
    onPrepared: () => void = () => {},
  ): AsyncGenerator<EngineEvent, void, undefined> {
    return answered(request, (signal, tell) => {
      const serving = this.#serve(
        { ...request, signal: AbortSignal.any([signal, this.#ended.signal]) },
        tell,
        onPrepared,
      );
      const over = serving.then(
        () => {},
        () => {},
      );
      this.#serving.add(over);
      void over.then(() => this.#serving.delete(over));
      return serving;
    });
  }

  get stats(): EngineStats {
    const { waiting, running, promised } = this.#admission;
    return {
      waiting,
      running,
      bytesPromised: promised,
      bytesAllocated: this.#passes.bytes,
      bytesParked: this.#parking.bytes,
      bytesOnDisk: this.#parking.bytesOnDisk,
      steps: this.#passes.steps,
    };
  }

  async drain(): Promise<void> {
    this.#closed = true;
    await Promise.all(this.#serving);
  }

  async close(): Promise<void> {
    this.#ended.abort();
    await this.drain();
    await this.#parking.close();
    this.#end();
  }

  async #serve(
    request: EngineRequest & { signal: AbortSignal },
    tell: (event: EngineEvent) => void,
    onPrepared: () => void,
  ): Promise<void> {
    if (this.#closed) throw new ElasticCacheError('invalid-option', 'This engine is closed; create another.');
    if (this.#serving.size >= this.#most) {
      throw new ElasticCacheError(
        'overloaded',
        `${this.#most} requests run or wait already; try again later.`,
      );
    }
    const {
      messages,
      prompt,
      inputs: given,
      policy: _policy,
      budget: _budget,
      priority = 0,
      logprobs,
      ...settings
    } = request;
    if (!Number.isFinite(priority)) {
      throw new ElasticCacheError('invalid-option', `priority is ${shown(priority)}; it must be a number.`);
    }
    const start = performance.now();
    const rank = start - priority * PER_PRIORITY;
    const fresh = this.#cacheFor(request);
    // A form that cannot be is refused before anybody waits for it.
    formOf(settings.responseFormat, this.loaded.tokenizer);
    const inputs = await this.#inputsOf(messages, prompt, given);
    const promptTokens = inputs.input_ids.dims[1]!;
    refuseLonger(promptTokens, this.model.contextLength);
    const need = this.#needOf(fresh, promptTokens, longestOf(settings));
    this.#admission.refuseNever(need);
    onPrepared();
    let release: () => void;
    try {
      release = await this.#admission.enter(need, rank, settings.signal);
    } catch {
      return tell({ type: 'finish', reason: 'aborted', text: '' });
    }
    const waitedMs = performance.now() - start;
    let cache = fresh;
    try {
      cache = (await this.#parking.forkFor(inputs, fresh)) ?? fresh;
      this.#session.runBy(cache, this.#passes);
      this.#passes.enter(cache, { rank, rows: need.entries });
      const cachedTokens = cache.seen;
      tell({ type: 'started', promptTokens, cachedTokens });
      const likely = logprobs === undefined ? undefined : { top: logprobs, onToken: this.#likelihoods(tell) };
      const onText = (text: string) => tell({ type: 'text', text });
      const { reply, said } = await replyTo(this.loaded, inputs, cache, settings, {
        onText,
        likely,
        withSpace: prompt !== undefined,
      });
      const stats = cache.stats();
      const { prefillMs, msPerToken, tokens, finishReason: reason, text } = reply;
      const newTokens = tokens.length;
      const usage = { promptTokens, cachedTokens, newTokens, waitedMs, prefillMs, msPerToken, stats };
      // Before the end is told: what goes on from here may be asked at once.
      if (newTokens > 0 && this.#parking.takes(cache)) {
        await this.#passes.leave(cache, true);
        this.#parking.park(cache, messages && { messages, text, said });
      }
      tell({ type: 'usage', usage });
      tell({ type: 'finish', reason, text });
    } finally {
      await this.#passes.leave(cache, false);
      release();
    }
  }

  #cacheFor({
    policy = this.options.policy ?? DEFAULT_POLICY,
    budget = this.options.budget ?? DEFAULT_BUDGET,
  }): KVCache {
    const cache = new KVCache({
      policy: typeof policy === 'string' ? this.#policies.of(policy) : policy,
      budget,
    });
    const { shape, windows } = this.#session.decoder;
    cache.bind(shape, windows);
    return cache;
  }

  async #inputsOf(
    messages: EngineRequest['messages'],
    prompt: EngineRequest['prompt'],
    given: Inputs | undefined,
  ): Promise<Inputs> {
    if ([messages, prompt, given].filter((each) => each !== undefined).length !== 1) {
      throw new ElasticCacheError(
        'invalid-option',
        'a request is messages, a prompt or inputs, one of these; give one.',
      );
    }
    if (given !== undefined) {
      checkTokens(Object(given));
      return given;
    }
    if (prompt !== undefined) return plainInputs(this.loaded, prompt);
    return messageInputs(this.loaded, messages!, (before, text) => this.#parking.saidTo(before, text));
  }

  #likelihoods(tell: (event: EngineEvent) => void): (logprobs: TokenLogprobs) => void {
    const { tokenizer } = this.loaded;
    const likelihood = ({ token, logprob }: Pick<TokenLogprobs, 'token' | 'logprob'>) => ({
      id: token,
      text: tokenizer.decode([token], { skip_special_tokens: false }),
      logprob,
    });
    return (logprobs) =>
      tell({ type: 'logprobs', token: likelihood(logprobs), top: logprobs.top.map(likelihood) });
  }

  #needOf(cache: KVCache, promptTokens: number, newTokens: number): Need {
    const { policy, budget } = cache;
    const entryBytes = bytesPerEntry(checkShape(this.#session.decoder.shape));
    const { entries } = allowance(budget, promptTokens + newTokens, entryBytes, policy.minimum);
    const { peak, chunk } = this.#session.decoder;
    return {
      kind: kindOf(cache),
      entries: entries + 1,
      rows: roomPromised(policy, entries + 1),
      reading: peak === 'bounded' ? Math.min(promptTokens, entries + chunk) : promptTokens,
    };
  }
}

/** The session of a loaded model's decoder. */
function sessionOf(loaded: LoadedModel): ElasticSession {
  const session = decoderSession(Object(loaded).model);
  if (session) return session;
  throw new ElasticCacheError(
    'invalid-model',
    `an engine runs a model from loadElastic(), and ${shown(loaded)} is none; load it with that, or give its directory or its id on the Hub.`,
  );
}
