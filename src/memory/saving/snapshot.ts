import type { Budget } from '../../cache/budget.js';
import type { PolicyState } from '../../cache/policy.js';
import type { SequenceState } from '../../cache/sequence.js';
import { ElasticCacheError } from '../../errors.js';
import type { Lanes } from '../lanes.js';
import type { Held } from '../rows/formats.js';
import type { StoredRows } from '../rows/row-block.js';
import type { ModelShape } from '../shape.js';
import { decodeTensors, encodeTensors, type StoredArray } from './safetensors.js';
import { withArrays, withoutArrays } from './saved-state.js';

/** Everything that a cache holds and remembers, as plain data. */
export interface Snapshot {
  /** The name of the policy. */
  readonly policy: string;
  /** Options that were given beside its name. */
  readonly options?: Readonly<Record<string, PolicyState>>;
  /** Whether it is a user's own. */
  readonly own?: boolean;
  readonly budget: Budget;
  readonly shape: ModelShape;
  readonly windows: readonly (number | undefined)[];
  readonly padding: number;
  readonly memo: Readonly<Record<string, PolicyState>>;
  /** [batch] */
  readonly sequences: readonly SequenceState[];
  /** [layers] */
  readonly blocks: readonly StoredRows[];
}

type Facts = Pick<Snapshot, 'budget' | 'shape' | 'windows' | 'padding'> & {
  readonly policy: { readonly name: string };
  readonly memo: ReadonlyMap<string, PolicyState>;
};

/** The form of what is written; a later one is refused by name. */
const VERSION = 1;

/** @throws ElasticCacheError 'invalid-policy' when the policy does not say what it remembers */
export function snapshotOf(lanes: Lanes, { policy: { name }, memo, ...facts }: Facts): Snapshot {
  const sequences = lanes.sequences.map((sequence) => {
    const state = sequence.save();
    if (state) return state;
    throw new ElasticCacheError(
      'invalid-policy',
      `policy "${name}" does not say what it remembers, so a cache under it cannot be forked or saved; give what its begin() returns a save().`,
    );
  });
  return {
    ...facts,
    policy: name,
    memo: structuredClone(Object.fromEntries(memo)),
    sequences,
    blocks: lanes.blocks.map((block, layer) => block.stored(lanes.heldBy(layer))),
  };
}

/** A snapshot as a file: safetensors with keys and values by layer, and the rest as JSON in its header. */
export function encodeSnapshot({ blocks, ...rest }: Snapshot): Uint8Array {
  const tensors = new Map<string, StoredArray>();
  const parts = blocks.map(({ capacity, ...arrays }, layer) => {
    for (const [name, array] of Object.entries(arrays)) tensors.set(`layers.${layer}.${name}`, array);
    return { capacity };
  });
  const text = JSON.stringify({ version: VERSION, parts, state: withoutArrays(rest, 'state.', tensors) });
  return encodeTensors({ text, tensors });
}

/** @throws ElasticCacheError 'invalid-data' for bytes that are no saved cache, or one of a later version */
export function decodeSnapshot(bytes: Uint8Array): Snapshot {
  const { text, tensors } = decodeTensors(bytes);
  const { version, parts, state } = JSON.parse(text || '{}');
  if (version !== VERSION) {
    throw new ElasticCacheError(
      'invalid-data',
      `this is a saved cache of version ${version ?? 'unknown'}, and version ${VERSION} is read here; read it with the release that wrote it.`,
    );
  }
  const rest = withArrays(state, tensors) as unknown as Omit<Snapshot, 'blocks'>;
  const blocks = (parts as { capacity: number }[]).map(({ capacity }, layer) => {
    const of = (name: string) => tensors.get(`layers.${layer}.${name}`);
    const scales = { keyScales: of('keyScales'), valueScales: of('valueScales') };
    return {
      keys: of('keys') as Held,
      values: of('values') as Held,
      bias: of('bias') as Float32Array<ArrayBuffer>,
      capacity,
      ...(tensors.has(`layers.${layer}.ends`) && { ends: of('ends') as Int32Array<ArrayBuffer> }),
      ...(scales.keyScales && (scales as Pick<StoredRows, 'keyScales' | 'valueScales'>)),
    };
  });
  return { ...rest, windows: rest.windows.map((window) => window ?? undefined), blocks };
}
