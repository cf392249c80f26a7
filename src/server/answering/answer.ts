import type { EngineEvent, EngineRequest } from '../../engine/request.js';
import type { Metrics } from '../metrics.js';
import { errorAnswer } from '../openai/errors.js';
import { Heard } from '../openai/heard.js';
import type { ServerSettings } from '../settings.js';
import { ClientLeft, run, type Told } from './run.js';
import { begun, eventStream } from './sse.js';

/** What a request comes to: the engine's requests, and how their answers are told. */
export interface Job {
  readonly requests: readonly EngineRequest[];
  readonly isStream: boolean;
  readonly whole: (answers: readonly Heard[]) => object;
  readonly chunks: {
    of(index: number, event: EngineEvent): object[];
    end(): object[];
  };
}

export interface Asked {
  /** Ends when who asked leaves. */
  readonly signal: AbortSignal;
  /** When it came, as `performance.now()` has it. */
  readonly start: number;
  /** Called once, when its lanes are free. */
  readonly onOver: () => void;
  /** Called once, when all is told or cannot be, with what it came to: for the log. */
  readonly onEnd: (fields: object) => void;
}

/** Answers a request. @throws what goes wrong before anything is told */
export async function answer(
  job: Job,
  asked: Asked,
  settings: ServerSettings,
  metrics: Metrics,
): Promise<Response> {
  const left = new AbortController();
  const signal = AbortSignal.any([asked.signal, left.signal]);
  const told = observed(run(settings.engine, job.requests, settings, signal, asked.onOver), asked, metrics);
  if (!job.isStream) {
    const answers = job.requests.map(() => new Heard());
    for await (const { index, event } of told) answers[index]!.hear(event);
    return Response.json(job.whole(answers));
  }
  const events = await begun(told);
  return new Response(
    eventStream(chunksOf(job, events), () => left.abort()),
    {
      headers: {
        'content-type': 'text/event-stream; charset=utf-8',
        'cache-control': 'no-cache',
        'x-accel-buffering': 'no',
      },
    },
  );
}

/** Notes what answers take, on their way. */
async function* observed(
  told: AsyncIterable<Told>,
  { start, onEnd }: Asked,
  metrics: Metrics,
): AsyncGenerator<Told, void, undefined> {
  let isFirst = true;
  let [promptTokens, cachedTokens, newTokens] = [0, 0, 0];
  let error: string | undefined = 'client_left';
  try {
    for await (const each of told) {
      const { event } = each;
      if (event.type === 'text') {
        metrics.totals.pieces++;
        if (isFirst) metrics.firstPiece((performance.now() - start) / 1000);
        isFirst = false;
      } else if (event.type === 'usage') {
        metrics.answered(event.usage);
        promptTokens += event.usage.promptTokens;
        cachedTokens += event.usage.cachedTokens;
        newTokens += event.usage.newTokens;
      }
      yield each;
    }
    error = undefined;
  } catch (cause) {
    if (!(cause instanceof ClientLeft)) error = errorAnswer(cause).body.error.code;
    throw cause;
  } finally {
    onEnd({ promptTokens, cachedTokens, newTokens, ...(error !== undefined && { error }) });
  }
}

/** The data of a stream's events. What goes wrong becomes the last of them, since the status is told already. */
async function* chunksOf(
  { chunks }: Job,
  told: AsyncIterable<Told>,
): AsyncGenerator<string, void, undefined> {
  try {
    for await (const { index, event } of told) {
      for (const chunk of chunks.of(index, event)) yield JSON.stringify(chunk);
    }
    for (const chunk of chunks.end()) yield JSON.stringify(chunk);
    yield '[DONE]';
  } catch (cause) {
    yield JSON.stringify(errorAnswer(cause).body);
  }
}
