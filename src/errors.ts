/** What went wrong, for programs; the message says it for people. */
export type ErrorCode =
  | 'aborted'
  | 'context-full'
  | 'device-lost'
  | 'download-failed'
  | 'fatal-request'
  | 'invalid-budget'
  | 'invalid-checkpoint'
  | 'invalid-data'
  | 'invalid-image'
  | 'invalid-model'
  | 'invalid-option'
  | 'invalid-policy'
  | 'invalid-prompt'
  | 'invalid-shape'
  | 'missing-file'
  | 'model-mismatch'
  | 'non-finite'
  | 'out-of-memory'
  | 'out-of-space'
  | 'overloaded'
  | 'prompt-mismatch'
  | 'unknown-policy'
  | 'unsupported-graph'
  | 'unsupported-model'
  | 'worker-died';

/** The one error class of this library: a sentence that names the thing and the way out, and a code. */
export class ElasticCacheError extends Error {
  override readonly name = 'ElasticCacheError';

  constructor(
    readonly code: ErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(inOneLine(message), options);
  }
}

/** What others say has line breaks, and pieces of broken files have characters that a terminal obeys. */
function inOneLine(text: string): string {
  return text.replaceAll(/\s*[\r\n]\s*/g, ' ').replaceAll(/\p{Cc}/gu, '\uFFFD');
}

/** What to throw when a signal ends something. */
export function abortedBy(signal: AbortSignal | null | undefined): ElasticCacheError {
  return new ElasticCacheError('aborted', 'The generation was aborted by its signal.', {
    cause: signal?.reason,
  });
}

/** A signal that ends when either does. @param given by somebody else, or not given @throws ElasticCacheError 'invalid-option' for what is no signal */
export function eitherSignal(own: AbortSignal, given: unknown): AbortSignal {
  if (given === undefined || given === null) return own;
  if (given instanceof AbortSignal) return AbortSignal.any([own, given]);
  throw new ElasticCacheError('invalid-option', `signal is ${shown(given)}; it must be an AbortSignal.`);
}

/** @throws ElasticCacheError 'aborted' when a signal says so */
export function refuseAborted(signal: AbortSignal | null | undefined): void {
  if (signal?.aborted) throw abortedBy(signal);
}

/** What an error says. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

const LONGEST_SHOWN = 60;

/** How a message calls a value that somebody gave: one line, however long or odd the value is. */
export function shown(value: unknown): string {
  if (typeof value === 'string') {
    return value.length > LONGEST_SHOWN ? `a text of ${value.length} characters` : JSON.stringify(value);
  }
  if (ArrayBuffer.isView(value)) {
    return `a ${value.constructor.name} of ${(value as Uint8Array).length ?? value.byteLength}`;
  }
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === 'function') return 'a function';
  if (typeof value !== 'object' || value === null) return String(value);
  const name: unknown = value.constructor?.name;
  return typeof name === 'string' && name !== 'Object' ? `an object of class ${name}` : 'an object';
}

/** What the file system says, without the path: `EACCES: permission denied`. */
export function diskReason(error: unknown): string {
  return reasonOf(error).split(',', 1)[0]!;
}

/** Whether an error of the file system is that there is no room left for what is written. */
export function isDiskFull(error: unknown): boolean {
  const { code = '' } = Object(error) as { code?: string };
  return ['ENOSPC', 'EDQUOT', 'EFBIG'].includes(code);
}
