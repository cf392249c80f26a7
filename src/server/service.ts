import { type Asked, answer, type Job } from './answering/answer.js';
import { ClientLeft, waitedTooLong } from './answering/run.js';
import type { Checked } from './jobs.js';
import { Gate } from './limits/gate.js';
import type { Key } from './limits/keys.js';
import { Bodies } from './limits/read-body.js';
import { Metrics } from './metrics.js';
import type { CacheHeaders } from './openai/engine-settings.js';
import { RequestError } from './openai/errors.js';
import type { Status } from './pages/status.js';
import type { ServerSettings } from './settings.js';

/** What a body of a kind of request asks for. @throws ElasticCacheError, RequestError */
export type Check = (body: unknown, headers: CacheHeaders, settings: ServerSettings) => Checked;

/** Answers requests for completions, and knows how the server is. */
export class Service {
  readonly metrics: Metrics;
  readonly #gate: Gate;
  readonly #bodies: Bodies;
  readonly #began = performance.now();
  #state: Status['state'] = 'ready';

  constructor(private readonly settings: ServerSettings) {
    const { engine, lanes, waiting, body } = settings;
    this.metrics = new Metrics(engine, lanes);
    this.#gate = new Gate(lanes, lanes + waiting);
    this.#bodies = new Bodies(body);
    engine.ended.catch(() => {
      this.#state = 'failed';
    });
  }

  get state(): Status['state'] {
    return this.#state;
  }

  get status(): Status {
    const { model, version, lanes, waiting: mostWaiting, engine } = this.settings;
    const uptime = Math.round(performance.now() - this.#began) / 1000;
    return {
      model,
      version,
      uptime,
      state: this.#state,
      lanes,
      mostWaiting,
      ...engine.stats,
      ...this.metrics.totals,
    };
  }

  /** @throws ElasticCacheError, RequestError, ClientLeft, before anything is told */
  async answer(
    request: Request,
    key: Key | undefined,
    check: Check,
    asked: Pick<Asked, 'start' | 'onEnd'>,
  ): Promise<{ response: Response; isStream: boolean }> {
    this.#refuseClosed();
    this.#gate.ask(key);
    const body = await this.#bodies.json(request);
    this.#refuseClosed();
    const headers = {
      policy: request.headers.get('x-elastic-policy') ?? undefined,
      budget: request.headers.get('x-elastic-budget') ?? undefined,
    };
    const { answers, prepare } = check(body, headers, this.settings);
    const onOver = this.#gate.enter(answers, key);
    const { signal } = request;
    const job = await this.#prepared(prepare, signal).catch((cause: unknown) => {
      onOver();
      throw cause;
    });
    const response = await answer(job, { ...asked, signal, onOver }, this.settings, this.metrics);
    return { response, isStream: job.isStream };
  }

  /** Refuses what is new from now on, and waits until what is in hand is answered. */
  async drain(): Promise<void> {
    this.#state = 'draining';
    await this.#gate.empty();
    await this.settings.engine.drain();
  }

  /** Images may take as long as a request may wait. */
  async #prepared(prepare: Checked['prepare'], signal: AbortSignal): Promise<Job> {
    const { waitingMs } = this.settings;
    const late = AbortSignal.timeout(waitingMs);
    const either = AbortSignal.any([signal, late]);
    const ended = new Promise<never>((_, reject) => {
      either.addEventListener('abort', () =>
        reject(late.aborted ? waitedTooLong(waitingMs) : new ClientLeft()),
      );
    });
    return Promise.race([prepare(either), ended]);
  }

  #refuseClosed(): void {
    if (this.#state === 'ready') return;
    const [code, message] =
      this.#state === 'draining'
        ? ['shutting_down', 'This server is about to stop; ask another, or later.']
        : ['model_lost', 'This server has lost its model, and could not load it again.'];
    throw new RequestError(503, code!, message!, { retryAfter: 5, headers: { connection: 'close' } });
  }
}
