import { ElasticCacheError, type ErrorCode } from '../../errors.js';

/** What a request is refused with that no engine has a part in. */
export class RequestError extends Error {
  constructor(
    readonly status: number,
    /** For programs. */
    readonly code: string,
    message: string,
    readonly more: {
      readonly retryAfter?: number;
      readonly param?: string;
      readonly headers?: Record<string, string>;
    } = {},
  ) {
    super(message);
  }
}

/** An error as OpenAI's API has it. */
export interface ErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string;
  };
}

export interface ErrorAnswer {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly body: ErrorBody;
  /** What went wrong, where it is this server's fault: for its log, and for nobody else. */
  readonly cause: unknown;
}

/** The statuses of the engine's errors; the rest are faults of this server. */
const STATUSES: Partial<Record<ErrorCode, number>> = {
  'invalid-option': 400,
  'invalid-prompt': 400,
  'invalid-image': 400,
  'invalid-budget': 400,
  'invalid-policy': 400,
  'unknown-policy': 400,
  'unsupported-model': 400,
  'download-failed': 400,
  'context-full': 400,
  'out-of-memory': 400,
  'fatal-request': 400,
  'prompt-mismatch': 400,
  overloaded: 429,
  aborted: 499,
  'worker-died': 503,
};

/** Names that clients of OpenAI's API know. */
const CODES: Partial<Record<ErrorCode, string>> = {
  'context-full': 'context_length_exceeded',
  'invalid-image': 'invalid_image',
  'download-failed': 'invalid_image_url',
  'unknown-policy': 'unknown_policy',
  'invalid-option': 'invalid_value',
  'invalid-prompt': 'invalid_prompt',
};

/** Seconds after which a request that found no room, or whose worker died, is worth another try. */
const RETRY = 5;

export function errorAnswer(cause: unknown): ErrorAnswer {
  if (cause instanceof RequestError) {
    const { status, code, message, more } = cause;
    const headers = {
      ...more.headers,
      ...(more.retryAfter !== undefined && { 'retry-after': String(more.retryAfter) }),
    };
    return { status, headers, body: bodyOf(status, message, code, more.param), cause: undefined };
  }
  const status = cause instanceof ElasticCacheError ? STATUSES[cause.code] : undefined;
  if (!(cause instanceof ElasticCacheError) || status === undefined) {
    const message = 'This server failed at the request, for a reason that its log tells.';
    return { status: 500, headers: {}, body: bodyOf(500, message, 'internal_error'), cause };
  }
  const code = CODES[cause.code] ?? cause.code.replaceAll('-', '_');
  const headers: Record<string, string> =
    status === 429 || status === 503 ? { 'retry-after': String(RETRY) } : {};
  return { status, headers, body: bodyOf(status, cause.message, code), cause: undefined };
}

function bodyOf(status: number, message: string, code: string, param: string | null = null): ErrorBody {
  return { error: { message, type: typeOf(status), param, code } };
}

function typeOf(status: number): string {
  if (status === 401) return 'authentication_error';
  if (status === 403) return 'permission_error';
  if (status === 404) return 'not_found_error';
  if (status === 429) return 'rate_limit_error';
  return status >= 500 ? 'server_error' : 'invalid_request_error';
}
