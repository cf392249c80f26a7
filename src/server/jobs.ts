import { randomUUID } from 'node:crypto';
import type { EngineRequest } from '../engine/request.js';
import type { Job } from './answering/answer.js';
import { refuseLongText } from './limits/text.js';
import { ChatChunks, chatCompletion, type Head } from './openai/chat-answer.js';
import { ChatRequest, conversationOf, likelihoodsAsked } from './openai/chat-request.js';
import { CompletionChunks, completion } from './openai/completion-answer.js';
import { CompletionRequest, promptsOf } from './openai/completion-request.js';
import { type CacheHeaders, engineSettings } from './openai/engine-settings.js';
import { RequestError } from './openai/errors.js';
import { parseBody } from './openai/request-fields.js';
import { readImages } from './read-images.js';
import type { ServerSettings } from './settings.js';

/** A request that is checked: how many answers it asks for, and what becomes of it once it is let in. */
export interface Checked {
  readonly answers: number;
  readonly prepare: (signal: AbortSignal) => Promise<Job>;
}

/** What a body of `POST /v1/chat/completions` asks for. @throws ElasticCacheError, RequestError */
export function chatJob(body: unknown, headers: CacheHeaders, settings: ServerSettings): Checked {
  const asked = parseBody(ChatRequest, body);
  refuseOtherModel(asked.model, settings.model);
  const messages = conversationOf(asked);
  refuseLongText(
    messages.map(({ content }) => content),
    settings.engine.model.contextLength,
  );
  const logprobs = likelihoodsAsked(asked);
  const requests = engineSettings(asked, settings.longest, headers);
  const head = headOf('chatcmpl', settings);
  return {
    answers: requests.length,
    async prepare(signal) {
      const addresses = messages.flatMap(({ images = [] }) => images);
      const images = await readImages(addresses, settings.images, settings.decoder, signal);
      const read = messages.map((message) => {
        const { images: own, ...rest } = message;
        return own ? { ...rest, images: images.splice(0, own.length) } : rest;
      });
      return {
        requests: requests.map(
          (request) => ({ ...request, messages: read, logprobs }) satisfies EngineRequest,
        ),
        isStream: asked.stream ?? false,
        whole: (answers) => chatCompletion(head, answers),
        chunks: new ChatChunks(head, requests.length, asked.stream_options?.include_usage ?? false),
      };
    },
  };
}

/** What a body of `POST /v1/completions` asks for. @throws ElasticCacheError, RequestError */
export function completionJob(body: unknown, headers: CacheHeaders, settings: ServerSettings): Checked {
  const asked = parseBody(CompletionRequest, body);
  refuseOtherModel(asked.model, settings.model);
  const prompts = promptsOf(asked);
  refuseLongText(
    prompts.filter((prompt) => typeof prompt === 'string'),
    settings.engine.model.contextLength,
  );
  const { n = 1, echo = false, logprobs } = asked;
  const own = engineSettings(asked, settings.longest, headers);
  const requests = prompts.flatMap((prompt) => own.map((each) => ({ ...each, prompt, logprobs })));
  const echoed = echo ? requests.map(({ prompt }) => String(prompt)) : [];
  const head = headOf('cmpl', settings);
  const includeUsage = asked.stream_options?.include_usage ?? false;
  const job: Job = {
    requests,
    isStream: asked.stream ?? false,
    whole: (answers) => completion(head, answers, n, echoed),
    chunks: new CompletionChunks(head, requests.length, n, includeUsage, echoed),
  };
  return { answers: requests.length, prepare: async () => job };
}

function headOf(kind: string, { model }: ServerSettings): Head {
  return { id: `${kind}-${randomUUID().replaceAll('-', '')}`, created: Math.floor(Date.now() / 1000), model };
}

function refuseOtherModel(asked: string | undefined, model: string): void {
  if (asked === undefined || asked === model) return;
  throw new RequestError(
    404,
    'model_not_found',
    `There is no model "${asked.slice(0, 200)}" here; this server has "${model}".`,
    {
      param: 'model',
    },
  );
}
