import type { PatchGrid } from '../../src/explain/prompt/patch-grid.js';

/** What goes between the page and what answers: the worker that its model runs in, or the server that it came from. */

/** The two answers that are compared: of the whole cache, and of a part of it. */
export type Side = 'whole' | 'part';

/** What a model runs on. */
export type Device = 'wasm' | 'webgpu';

/** What it came to run on. */
export interface RunningOn {
  readonly device: Device;
  /** Of WebAssembly. */
  readonly threads: number;
  /** What the GPU calls itself. */
  readonly gpu: string | undefined;
}

/** A model of the server. */
export interface OnServer {
  readonly server: string;
}

/** How a model is loaded. */
export interface Opening {
  /** The embedded one, or a model on the Hub. */
  readonly id: string;
  /** undefined for the model's own choice */
  readonly dtype: string | undefined;
  readonly device: Device;
  /** The address that the page's files lie under. */
  readonly base: string;
}

/** How a conversation is held; another one begins with the next question where it is another. */
export interface Settings {
  readonly policy: string;
  /** Share of the tokens that is kept. */
  readonly budget: number;
}

export type Command =
  | ({ type: 'open' } & Opening)
  | { type: 'ask'; prompt: string; image: Blob | undefined; newTokens: number; settings: Settings }
  | { type: 'stop' }
  | { type: 'forget' };

/** What a cache holds. */
export interface Held {
  readonly bytes: number;
  /** What the whole cache would hold. */
  readonly bytesWhole: number;
  readonly entries: number;
  readonly tokens: number;
}

/** What is kept of one image. */
export interface Kept {
  /** Where its tokens lie on it; undefined where that is not known, with the reason. */
  readonly grid: PatchGrid | undefined;
  readonly reason: string | undefined;
  /** [layers] of [rows x columns] the share of the heads that hold a patch */
  readonly shares: readonly Float32Array[];
}

export type Report =
  | { type: 'progress'; loaded: number; total: number }
  | {
      type: 'opened';
      readsImages: boolean;
      on: RunningOn | OnServer;
      layers: number;
      loadMs: number;
      /** What runs otherwise than it is meant to. */
      notes: readonly string[];
    }
  | { type: 'reading'; side: Side }
  | { type: 'text'; side: Side; text: string; held: Held | undefined; perSecond: number | undefined }
  | {
      type: 'answered';
      side: Side;
      held: Held | undefined;
      prefillMs: number | null;
      msPerToken: number | null;
      tokens: number;
      reason: string;
    }
  | { type: 'kept'; images: readonly Kept[] }
  /** Whether the next question goes on from here: an answer that was stopped before the other began leaves nothing to compare. */
  | { type: 'done'; goesOn: boolean }
  | { type: 'failed'; while: 'opening' | 'answering'; message: string; needsKey?: boolean };
