import { z } from 'zod';
import { ChatRequest } from '../openai/chat-request.js';
import { CompletionRequest } from '../openai/completion-request.js';

export interface Operation {
  readonly summary: string;
  readonly description?: string;
  readonly requestBody?: {
    readonly required: true;
    readonly content: { 'application/json': { schema: object; example: object } };
  };
  readonly responses: Record<string, object>;
  readonly security?: readonly [];
}

/** As OpenAPI 3.1 has it. */
export interface ApiDocument {
  readonly openapi: '3.1.0';
  readonly info: { readonly title: string; readonly version: string; readonly description: string };
  readonly paths: Record<string, Partial<Record<'get' | 'post', Operation>>>;
  readonly components: object;
  readonly security: readonly object[];
}

/** 16 by 16 pixels, so that the example can be sent as it stands. */
const RED =
  'data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAABAAAAAQAQMAAAAlPW0iAAAAA1BMVEXMAAA/z1L+AAAACXBIWXMAAAPoAAAD6AG1e1JrAAAADElEQVQImWNgIA0AAAAwAAFDlLdnAAAAAElFTkSuQmCC';

/** What this server answers. @param withKeys whether it asks for a key */
export function apiDocument(model: string, version: string, withKeys: boolean): ApiDocument {
  const open = { security: [] as const };
  const failures = {
    400: error('What is wrong with the request, in one sentence; `code` says it for programs.'),
    ...(withKeys && { 401: error('No key, or one that this server does not know.') }),
    429: error('No room: ask again after as many seconds as the header Retry-After says.'),
    503: error('The process that the model ran in died, or the server is about to stop; ask again.'),
  };
  const streamed =
    'With `stream`, server-sent events: chunks of the answer, then `data: [DONE]`. What goes wrong after the first is an event with `error`.';
  return {
    openapi: '3.1.0',
    info: {
      title: 'Elastic Cache',
      version,
      description: `OpenAI's API for \`${model}\`, whose answers each have a key-value cache of a size that you choose.`,
    },
    paths: {
      '/v1/chat/completions': {
        post: {
          summary: 'Answers a conversation, with images or without',
          description: `A conversation that comes back with another message goes on from its cache: \`usage.prompt_tokens_details.cached_tokens\` were not read again. An image stands before the text of its message. ${streamed}`,
          requestBody: json(ChatRequest, {
            model,
            messages: [
              {
                role: 'user',
                content: [
                  { type: 'text', text: 'Describe the image.' },
                  { type: 'image_url', image_url: { url: RED } },
                ],
              },
            ],
            max_tokens: 200,
          }),
          responses: { 200: { description: 'The answer.' }, ...failures },
        },
      },
      '/v1/completions': {
        post: {
          summary: 'Goes on with a text, without a chat template',
          description: streamed,
          requestBody: json(CompletionRequest, { model, prompt: 'The image shows', max_tokens: 20 }),
          responses: { 200: { description: 'The answer.' }, ...failures },
        },
      },
      '/v1/models': {
        get: {
          summary: 'The model of this server, its longest text, and whether it reads images',
          responses: { 200: { description: 'A list of one.' } },
        },
      },
      '/v1/embeddings': {
        post: { summary: 'Refused: the model writes text', responses: { 400: failures[400] } },
      },
      '/health': {
        get: {
          summary: 'Whether the server is worth keeping',
          responses: { 200: { description: 'It is.' }, 503: { description: 'Its model is lost.' } },
          ...open,
        },
      },
      '/ready': {
        get: {
          summary: 'Whether it takes requests',
          responses: { 200: { description: 'It does.' }, 503: { description: 'It is about to stop.' } },
          ...open,
        },
      },
      '/metrics': { get: { summary: 'What Prometheus reads', responses: { 200: { description: 'Text.' } } } },
      '/status.json': {
        get: {
          summary: 'Lanes, queue and bytes of caches at the moment',
          responses: { 200: { description: 'JSON.' } },
        },
      },
    },
    components: { securitySchemes: { key: { type: 'http', scheme: 'bearer' } } },
    security: withKeys ? [{ key: [] }] : [],
  };
}

function json(schema: z.ZodType, example: object): Operation['requestBody'] {
  const { $schema: _draft, ...own } = z.toJSONSchema(schema);
  return { required: true, content: { 'application/json': { schema: own, example } } };
}

function error(description: string) {
  const text = { type: 'string' };
  const properties = { message: text, type: text, code: text, param: { type: ['string', 'null'] } };
  const schema = { type: 'object', properties: { error: { type: 'object', properties } } };
  return { description, content: { 'application/json': { schema } } };
}
