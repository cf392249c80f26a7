import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { Engine, EngineUsage } from '../engine/request.js';

const SECONDS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 120];
const TOKEN_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1];

/** What Prometheus is told. */
export class Metrics {
  readonly registry = new Registry();
  readonly #requests = this.#counter('requests_total', 'Requests by route and status.', ['route', 'status']);
  readonly #errors = this.#counter('errors_total', 'Requests that failed, by code.', ['code']);
  readonly #tokens = this.#counter(
    'tokens_total',
    'Tokens: of prompts that were read, that were held already, and of answers.',
    ['kind'],
  );
  readonly #bytes = this.#counter(
    'cache_bytes_total',
    'Bytes of caches at the end of answers: held, and saved against a full cache.',
    ['kind'],
  );
  readonly #first = this.#histogram(
    'time_to_first_token_seconds',
    'From a request to the first piece of its answer.',
    SECONDS,
  );
  readonly #next = this.#histogram(
    'time_per_output_token_seconds',
    'Between tokens of an answer, its mean.',
    TOKEN_SECONDS,
  );
  readonly #waited = this.#histogram('waiting_seconds', 'From a request until it ran.', SECONDS);
  readonly #took = this.#histogram('request_seconds', 'From a request to its end.', SECONDS);

  /** Since the server began. */
  readonly totals = {
    answers: 0,
    pieces: 0,
    promptTokens: 0,
    cachedTokens: 0,
    newTokens: 0,
    bytesHeld: 0,
    bytesFull: 0,
  };

  constructor(engine: Pick<Engine, 'stats'>, lanes: number) {
    this.#gauge('lanes', 'Answers that can run at once.', () => lanes);
    this.#gauge('running', 'Answers that run.', () => engine.stats.running);
    this.#gauge('waiting', 'Answers that wait for a lane.', () => engine.stats.waiting);
    this.#gauge(
      'cache_bytes_allocated',
      'Bytes allocated for caches of what runs.',
      () => engine.stats.bytesAllocated,
    );
    this.#gauge(
      'cache_bytes_promised',
      'Bytes that caches of what runs may come to take.',
      () => engine.stats.bytesPromised,
    );
    this.#gauge(
      'cache_bytes_parked',
      'Bytes of answered conversations that are kept.',
      () => engine.stats.bytesParked,
    );
    this.#gauge(
      'cache_bytes_on_disk',
      'Bytes of answered conversations in files.',
      () => engine.stats.bytesOnDisk,
    );
    collectDefaultMetrics({ register: this.registry });
  }

  request(route: string, status: number, seconds: number): void {
    this.#requests.inc({ route, status });
    this.#took.observe(seconds);
  }

  error(code: string): void {
    this.#errors.inc({ code });
  }

  firstPiece(seconds: number): void {
    this.#first.observe(seconds);
  }

  answered({ promptTokens, cachedTokens, newTokens, waitedMs, msPerToken, stats }: EngineUsage): void {
    const { totals } = this;
    totals.answers++;
    totals.promptTokens += promptTokens;
    totals.cachedTokens += cachedTokens;
    totals.newTokens += newTokens;
    totals.bytesHeld += stats.bytesHeld;
    totals.bytesFull += stats.bytesFull;
    this.#tokens.inc({ kind: 'prompt' }, promptTokens - cachedTokens);
    this.#tokens.inc({ kind: 'cached' }, cachedTokens);
    this.#tokens.inc({ kind: 'answer' }, newTokens);
    this.#bytes.inc({ kind: 'held' }, stats.bytesHeld);
    this.#bytes.inc({ kind: 'saved' }, Math.max(0, stats.bytesFull - stats.bytesHeld));
    this.#waited.observe(waitedMs / 1000);
    if (msPerToken !== null) this.#next.observe(msPerToken / 1000);
  }

  #counter(name: string, help: string, labelNames: string[]): Counter {
    return new Counter({ name: `elastic_cache_${name}`, help, labelNames, registers: [this.registry] });
  }

  #histogram(name: string, help: string, buckets: number[]): Histogram {
    return new Histogram({ name: `elastic_cache_${name}`, help, buckets, registers: [this.registry] });
  }

  #gauge(name: string, help: string, value: () => number): void {
    new Gauge({
      name: `elastic_cache_${name}`,
      help,
      registers: [this.registry],
      collect() {
        this.set(value());
      },
    });
  }
}
