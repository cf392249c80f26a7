import { ElasticCacheError } from '../../errors.js';
import { portable } from '../../models/portable.js';
import { answered } from '../answered.js';
import type { Engine, EngineEvent, EngineRequest, EngineStats, ModelFacts } from '../request.js';
import { errorOf, type Opening, type Report, type WorkerPort } from './protocol.js';
import { Watch } from './watch.js';

/** Workers that one request may take down before it is refused. */
const MOST_DEATHS = 2;
/** Workers in a row that may die while they load the model, after one that had it, before the engine ends. */
const MOST_STARTS = 3;

/** Milliseconds without a step until a worker is taken for dead. */
const PATIENCE = 300_000;

/** A request that is not over. */
interface Pending {
  readonly id: number;
  readonly request: EngineRequest;
  readonly tell: (event: EngineEvent) => void;
  readonly end: (error?: Error) => void;
  /** Whether it is with the worker, is ready to run there, and runs. */
  state: 'kept' | 'sent' | 'prepared' | 'started';
  /** Workers that died while they prepared it. */
  deaths: number;
}

/**
 * An engine whose model runs in a worker. When the worker dies, a new one is made: requests that ran get an error of their own, since part of their answer may have been told, and those
 * that waited go on. A request that two workers died of before it ran is refused.
 */
export class RemoteEngine implements Engine {
  readonly ended: Promise<void>;
  readonly #pending = new Map<number, Pending>();
  readonly #serving = new Set<Promise<void>>();
  #port!: WorkerPort;
  #closed = false;
  /** Whether the worker has the model and takes requests. */
  #isOpen = false;
  /** Workers made since one had the model. */
  #starts = 0;
  #opened!: { resolve: () => void; reject: (error: Error) => void };
  #closing: (() => void) | undefined;
  /** What closing it comes to, once it was asked for. */
  #over: Promise<void> | undefined;
  #end!: { resolve: () => void; reject: (error: Error) => void };
  #model!: ModelFacts;
  #last: EngineStats = {
    waiting: 0,
    running: 0,
    bytesPromised: 0,
    bytesAllocated: 0,
    bytesParked: 0,
    bytesOnDisk: 0,
    steps: 0,
  };
  #next = 0;
  readonly #watch: Watch;

  private constructor(
    private readonly spawn: () => WorkerPort,
    private readonly opening: Opening,
  ) {
    const { patience = PATIENCE } = opening.options;
    const giveUp = () => void this.#giveUp(patience);
    this.#watch = new Watch(patience, () => this.#isBusy, giveUp);
    this.ended = new Promise((resolve, reject) => {
      this.#end = { resolve, reject };
    });
    // Who does not ask is told by the requests that fail.
    this.ended.catch(() => {});
  }

  get model(): ModelFacts {
    return this.#model;
  }

  /** @throws ElasticCacheError what loading the model throws, and making the engine */
  static async open(spawn: () => WorkerPort, opening: Opening): Promise<RemoteEngine> {
    const engine = new RemoteEngine(spawn, opening);
    await engine.#begin();
    return engine;
  }

  add(given: EngineRequest): AsyncGenerator<EngineEvent, void, undefined> {
    return answered(given, async (signal, tell) => {
      if (this.#closed)
        throw new ElasticCacheError('invalid-option', 'This engine is closed; create another.');
      const { signal: _signal, ...request } = given;
      const id = this.#next++;
      const abort = () => this.#abort(id);
      const over = new Promise<void>((resolve, reject) => {
        const end = (error?: Error) => {
          signal.removeEventListener('abort', abort);
          this.#pending.delete(id);
          if (this.#pending.size === 0) this.#port.keep(false);
          if (error) reject(error);
          else resolve();
        };
        const plain = portable(request) as EngineRequest;
        const pending: Pending = { id, request: plain, tell, end, state: 'kept', deaths: 0 };
        this.#pending.set(id, pending);
        this.#port.keep(true);
        signal.addEventListener('abort', abort);
        this.#send(pending);
        if (signal.aborted) abort();
      });
      this.#serving.add(over);
      await over.finally(() => this.#serving.delete(over));
    });
  }

  get stats(): EngineStats {
    const running = [...this.#pending.values()].filter(({ state }) => state === 'started').length;
    return { ...this.#last, running, waiting: this.#pending.size - running };
  }

  async drain(): Promise<void> {
    this.#closed = true;
    await Promise.allSettled(this.#serving);
  }

  close(): Promise<void> {
    this.#over ??= this.#close();
    return this.#over;
  }

  async #close(): Promise<void> {
    this.#closed = true;
    for (const { id } of this.#pending.values()) this.#abort(id);
    await this.drain();
    if (this.#isOpen) {
      const closed = new Promise<void>((resolve) => {
        this.#closing = resolve;
      });
      this.#port.keep(true);
      this.#port.send({ type: 'close' });
      await closed;
    }
    this.#watch.stop();
    await this.#port.end();
    this.#end.resolve();
  }

  /** Makes a worker, and has it load the model. */
  #begin(): Promise<void> {
    this.#isOpen = false;
    this.#starts++;
    this.#port = this.spawn();
    this.#port.listen((report) => this.#hear(report));
    this.#port.onDeath((reason) => void this.#mourn(reason));
    const { progress_callback: _told, ...load } = this.opening.load ?? {};
    const { onWarning: _warned, ...options } = this.opening.options;
    const opened = new Promise<void>((resolve, reject) => {
      this.#opened = { resolve, reject };
    });
    try {
      this.#port.send({ type: 'open', ...this.opening, load, options });
    } catch (cause) {
      void this.#port.end();
      throw cause;
    }
    return opened;
  }

  #hear(report: Report): void {
    if (report.type === 'progress') this.opening.load?.progress_callback?.(report.event as never);
    else if (report.type === 'warning') this.opening.options.onWarning?.(report.message);
    else if (report.type === 'failed') {
      void this.#port.end();
      this.#opened.reject(errorOf(report.error));
    } else if (report.type === 'opened') {
      this.#isOpen = true;
      this.#starts = 0;
      this.#model = report.model;
      this.#opened.resolve();
      this.#watch.start();
      if (this.#pending.size === 0) this.#port.keep(false);
      for (const pending of this.#pending.values()) this.#send(pending);
    } else if (report.type === 'closed') this.#closing?.();
    else if (report.type === 'alive') this.#note(report.stats);
    else this.#hearOf(report);
  }

  #hearOf(report: Extract<Report, { id: number }>): void {
    const pending = this.#pending.get(report.id);
    this.#watch.moved();
    if (report.type !== 'prepared') this.#last = report.stats;
    if (!pending) return;
    if (report.type === 'prepared') pending.state = 'prepared';
    else if (report.type === 'event') {
      if (report.event.type === 'started') pending.state = 'started';
      pending.tell(report.event);
    } else pending.end(report.error && errorOf(report.error));
  }

  #note(stats: EngineStats): void {
    if (stats.steps !== this.#last.steps) this.#watch.moved();
    this.#last = stats;
  }

  /** Whether the worker has something to do. */
  get #isBusy(): boolean {
    return this.#isOpen && [...this.#pending.values()].some(({ state }) => state !== 'kept');
  }

  /** Ends a worker that does nothing of what it has to do. */
  async #giveUp(patience: number): Promise<void> {
    await this.#port.end();
    await this.#mourn(`it made no step in ${patience / 1000} seconds`);
  }

  #send(pending: Pending): void {
    if (!this.#isOpen || pending.state !== 'kept') return;
    pending.state = 'sent';
    const { id, request } = pending;
    try {
      this.#port.send({ type: 'add', id, request });
    } catch (cause) {
      pending.end(cause as Error);
    }
  }

  #abort(id: number): void {
    const pending = this.#pending.get(id);
    if (pending?.state === 'kept') {
      pending.tell({ type: 'finish', reason: 'aborted', text: '' });
      pending.end();
    } else if (pending) this.#port.send({ type: 'abort', id });
  }

  /** The worker is no more. */
  async #mourn(reason: string): Promise<void> {
    this.#watch.stop();
    const wasOpen = this.#isOpen;
    for (const pending of [...this.#pending.values()]) {
      if (pending.state === 'sent') pending.deaths++;
      const isLast = pending.deaths >= MOST_DEATHS;
      if (pending.state === 'started' || isLast) pending.end(died(reason, isLast));
      else pending.state = 'kept';
    }
    this.#closing?.();
    const failure = died(reason, false);
    // The first that dies before it has its model would die again; a later one loads what was loaded before, and may be in bad luck.
    if (!wasOpen && (!this.#model || this.#starts >= MOST_STARTS)) return this.#fail(failure);
    this.#isOpen = false;
    if (this.#closed && this.#pending.size === 0) return;
    await this.#begin().catch((cause: Error) => this.#fail(cause));
  }

  #fail(error: Error): void {
    this.#closed = true;
    this.#isOpen = false;
    this.#opened.reject(error);
    this.#end.reject(error);
    for (const { end } of [...this.#pending.values()]) end(error);
  }
}

function died(reason: string, byRequest: boolean): ElasticCacheError {
  return new ElasticCacheError(
    byRequest ? 'fatal-request' : 'worker-died',
    byRequest
      ? `Two workers died while they prepared this request (${reason}); it is not tried again.`
      : `The worker that the model ran in died (${reason}); ask again.`,
  );
}
