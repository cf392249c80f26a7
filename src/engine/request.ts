import type { Budget } from '../cache/budget.js';
import type { CachePolicy } from '../cache/policy.js';
import type { CacheStats } from '../memory/stats.js';
import type { Inputs } from '../models/conversation/prepare-inputs.js';
import { type FinishReason, REPLY_SETTINGS, type ReplySettings } from '../models/conversation/reply.js';
import type { PolicySpec } from '../policies/registry.js';
import type { Message } from './messages.js';

/** What an engine is asked: a conversation that ends with a user's turn, a text to go on with, or a model's inputs. */
export interface EngineRequest extends ReplySettings {
  readonly messages?: readonly Message[] | undefined;
  /** Instead of messages: a text that the model goes on with as it stands, without a chat template, or the ids of its tokens. */
  readonly prompt?: string | readonly number[] | undefined;
  /** Instead of messages: what `prepareInputs()` makes. */
  readonly inputs?: Inputs | undefined;
  /** Tells how likely each new token was, and so many of the likeliest instead: 0 to 20. Nothing is told without it. */
  readonly logprobs?: number | undefined;
  /** What its cache keeps, and how much of it: the engine's own unless told. */
  readonly policy?: PolicySpec | CachePolicy | undefined;
  readonly budget?: Budget | undefined;
  /** Who comes first: the higher; 0 unless told. One more is worth ten seconds of waiting, so that everybody comes in. */
  readonly priority?: number | undefined;
}

export const REQUEST_OPTIONS = [
  'messages',
  'prompt',
  'inputs',
  'policy',
  'budget',
  'priority',
  'logprobs',
  ...REPLY_SETTINGS,
];

/** What comes of a request: that it runs; text, piece by piece; what it cost; last how it ended. */
export type EngineEvent =
  | { type: 'started'; promptTokens: number; cachedTokens: number }
  | { type: 'text'; text: string }
  /** Of one new token, before its text; each with what it is as text. */
  | { type: 'logprobs'; token: Likelihood; top: readonly Likelihood[] }
  | { type: 'usage'; usage: EngineUsage }
  | { type: 'finish'; reason: FinishReason; text: string };

/** A token, what it is as text, and the natural logarithm of its probability by the model's own scores. */
export interface Likelihood {
  readonly id: number;
  readonly text: string;
  readonly logprob: number;
}

export interface EngineUsage {
  /** Tokens of the prompt, the conversation before it included. */
  promptTokens: number;
  /** How many of these were held already, which took no time. */
  cachedTokens: number;
  newTokens: number;
  /** From the request until it ran. */
  waitedMs: number;
  /** From then to the first new token; null when there is none. */
  prefillMs: number | null;
  /** Mean over the new tokens after the first; null when there is no second. */
  msPerToken: number | null;
  /** What its cache held at the end. */
  stats: CacheStats;
}

/** What an engine does at the moment. */
export interface EngineStats {
  readonly waiting: number;
  readonly running: number;
  /** Bytes that those who run may come to hold, and those allocated for them while they are answered. */
  readonly bytesPromised: number;
  readonly bytesAllocated: number;
  /** Bytes of sequences that were answered and are kept. */
  readonly bytesParked: number;
  /** Of these, in files beside them. */
  readonly bytesOnDisk: number;
  /** Passes over the model since it was loaded, each a new token for all that are answered, or a part of a prompt. */
  readonly steps: number;
}

/** What is known of the model that an engine runs. */
export interface ModelFacts {
  /** As its config names it, such as `llava`. */
  readonly type: string;
  readonly readsImages: boolean;
  /** The longest text that it takes, in tokens; undefined where its config does not say. */
  readonly contextLength: number | undefined;
}

export interface Engine {
  /**
   * Takes a request, and tells what comes of it. It runs when its turn has come, whether somebody listens or not; who stops listening ends it, as its signal does.
   *
   * Throws ElasticCacheError to who listens: 'invalid-prompt', 'invalid-image', 'invalid-option', 'context-full', 'out-of-memory' for a request that could never run, 'overloaded', and
   * what its policy throws.
   */
  add(request: EngineRequest): AsyncGenerator<EngineEvent, void, undefined>;
  readonly stats: EngineStats;
  readonly model: ModelFacts;
  /** Settled when it answers no more: well after it was closed, and with what went wrong where its model was lost and could not be loaded again. */
  readonly ended: Promise<void>;
  /** Takes no more requests, and waits until those that it has are answered. */
  drain(): Promise<void>;
  /** Takes no more requests, ends those that it has, and waits until they are over. A model that it loaded itself is let go; one that it was given stays loaded. */
  close(): Promise<void>;
}

export interface EngineOptions {
  /** Requests that run at once, at most; 8 unless told. */
  readonly lanes?: number | undefined;
  /** Bytes for the caches of all that run; as many as they need unless told. A request that could never fit is refused. */
  readonly memory?: number | undefined;
  /** Bytes for sequences that were answered, beside those for what runs: a prompt that goes on from one need not be read again. 128 MB unless told; 0 for none. */
  readonly park?: number | undefined;
  /** A folder for those that there is no room for, and for all of them when the engine is closed: an engine of the same model goes on from them later. None unless told, and in Node alone. */
  readonly parkDir?: string | undefined;
  /** Bytes of files in it; 4 GB unless told. */
  readonly parkDirSize?: number | undefined;
  /** Told what went wrong that nobody waits for, such as a file that could not be written. */
  readonly onWarning?: ((message: string) => void) | undefined;
  /** Milliseconds in which a worker that has requests must make a step, or it is taken for dead; five minutes unless told. Long pictures and prompts on slow machines take their time. */
  readonly patience?: number | undefined;
  /** Requests that wait, at most; any number unless told. More are refused as 'overloaded'. */
  readonly waiting?: number | undefined;
  /** What the caches of requests keep, and how much of it, where these do not say: 'elastic-plus' and a fifth, but 128 tokens at least, unless told. */
  readonly policy?: PolicySpec | CachePolicy | undefined;
  readonly budget?: Budget | undefined;
}

export const ENGINE_OPTIONS = [
  ...[
    'lanes',
    'memory',
    'park',
    'parkDir',
    'parkDirSize',
    'onWarning',
    'patience',
    'waiting',
    'policy',
    'budget',
  ],
];
