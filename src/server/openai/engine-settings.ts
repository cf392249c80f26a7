import type { z } from 'zod';
import { parseBudget } from '../../cache/budget-name.js';
import type { EngineRequest } from '../../engine/request.js';
import { refuseDeep } from '../../models/generation/formatted/response-format.js';
import type { SHARED_FIELDS } from './request-fields.js';

type Shared = z.infer<z.ZodObject<typeof SHARED_FIELDS>> & { max_completion_tokens?: number | undefined };

/** What the cache of a request is asked to be, by its headers. */
export interface CacheHeaders {
  readonly policy?: string | undefined;
  readonly budget?: string | undefined;
}

/** As the engine takes it. */
function formatOf(asked: Shared['response_format']): EngineRequest['responseFormat'] {
  if (asked === undefined || asked.type === 'text') return undefined;
  if (asked.type === 'json_object') return asked;
  const { schema } = asked.json_schema;
  refuseDeep(schema);
  return { type: asked.type, schema };
}

/**
 * The settings of an engine's request, one for each answer that is asked for: these differ in their seeds alone.
 * @param longest tokens of an answer where nothing is said
 * @throws ElasticCacheError 'invalid-budget'
 */
export function engineSettings(
  body: Shared,
  longest: number,
  headers: CacheHeaders = {},
): Omit<EngineRequest, 'messages' | 'prompt' | 'inputs'>[] {
  const policy = body.elastic?.policy ?? headers.policy;
  const budget = body.elastic?.budget ?? headers.budget;
  const settings = {
    maxNewTokens: body.max_completion_tokens ?? body.max_tokens ?? longest,
    temperature: body.temperature,
    topP: body.top_p,
    topK: body.top_k === undefined ? undefined : Math.max(0, body.top_k),
    minP: body.min_p,
    repetitionPenalty: body.repetition_penalty,
    presencePenalty: body.presence_penalty,
    frequencyPenalty: body.frequency_penalty,
    logitBias: body.logit_bias,
    stop: body.stop,
    responseFormat: formatOf(body.response_format),
    policy,
    budget: budget === undefined ? undefined : parseBudget(String(budget)).budget,
  };
  const given = Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined));
  return Array.from({ length: body.n ?? 1 }, (_, choice) => ({
    ...given,
    // 32 bits, as seeds of any size are drawn from.
    ...(body.seed !== undefined && { seed: (body.seed + choice) >>> 0 }),
  }));
}
