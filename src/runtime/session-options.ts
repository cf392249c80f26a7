import { DEFAULT_DEVICE, devices, type SessionOptions, threadOptions } from '#platform/ort.js';
import { ElasticCacheError, shown } from '../errors.js';

/** How the sessions of a model run. */
export interface SessionSettings {
  /** Execution provider of ONNX Runtime. Default: `cpu` in Node, `wasm` in a browser. */
  device?: string;
  /** Threads of one operator. Default: ONNX Runtime's, one per core. */
  threads?: number;
  /** Anything else ONNX Runtime takes; wins over the settings above. */
  session_options?: SessionOptions;
}

/**
 * Settings as ONNX Runtime's session options.
 * Throws `invalid-option` for a device this machine's ONNX Runtime has not, and for `auto` and `gpu`, which
 * would leave open what the model runs on; and for a thread count that is not a whole number from 1.
 */
export function sessionOptions(settings: SessionSettings): SessionOptions {
  const { device = DEFAULT_DEVICE, threads, session_options } = settings;
  const supported = devices();
  if (!supported.includes(device)) {
    throw new ElasticCacheError(
      'invalid-option',
      `Device ${shown(device)} is not one that a decoder runs on here; use one of: ${supported.join(', ')}.`,
    );
  }
  if (threads !== undefined && !(Number.isInteger(threads) && threads >= 1)) {
    throw new ElasticCacheError(
      'invalid-option',
      `threads must be a whole number from 1, but is ${shown(threads)}; leave it out to use every core.`,
    );
  }
  return {
    executionProviders: [device],
    // What goes wrong is thrown; ONNX Runtime's own lines on stderr would only say it twice.
    logSeverityLevel: 4,
    ...(threads === undefined ? {} : threadOptions(threads)),
    ...session_options,
  };
}
