import type { Allowance } from '../cache/policy.js';
import type { Sequence } from '../cache/sequence.js';
import { receivedBy } from './received.js';
import type { KeySketcher } from './rows/key-sketch.js';
import type { RowBlock } from './rows/row-block.js';
import type { LayerRows } from './shape.js';

/** A sequence that goes on by one token, and the lane that it lies in. */
export interface Stepping {
  readonly sequence: Sequence;
  readonly lane: number;
}

/**
 * Writes the rows of one new token of each sequence behind those it holds.
 * @param layers [layers] keys, values [stepping, kvHeads, 1, headDim]
 */
export function appendStep(
  blocks: readonly RowBlock[],
  stepping: readonly Stepping[],
  layers: readonly LayerRows[],
  roomFor: (rows: number) => number,
): void {
  blocks.forEach((block, layer) => {
    const rows = stepping.reduce((most, { sequence }) => Math.max(most, sequence.held(layer)), 0) + 1;
    if (rows > block.capacity) block.grow(roomFor(rows));
    const size = block.shape.kvHeads * block.shape.headDim;
    const { keys, values } = layers[layer]!;
    stepping.forEach(({ sequence, lane }, index) => {
      const part = (array: Float32Array) => array.subarray(index * size, (index + 1) * size);
      block.append(lane, sequence.held(layer), { keys: part(keys), values: part(values), capacity: 1 }, 0);
    });
  });
}

/**
 * Tells the policy of one sequence what its entries received from its new token, which is among them.
 * @param index its place in `layers`
 * @param fed [layers] rows that were fed
 */
export function observe(
  sequence: Sequence,
  index: number,
  layers: readonly LayerRows[],
  fed: readonly number[],
  kvHeads: number,
): void {
  const received = layers.map(({ attention }, layer) => {
    const size = kvHeads * (fed[layer]! + 1);
    const own = attention!.subarray(index * size, (index + 1) * size);
    const lists = sequence.lists[layer]!.length;
    return receivedBy(own, {
      kvHeads,
      lists,
      capacity: fed[layer]!,
      count: sequence.held(layer) - 1,
      tokens: 1,
    });
  });
  sequence.policy.observe?.(sequence.lists, received);
}

/** Lets a policy bring one sequence down to what is allowed; the last row takes the place of each that goes. */
export function evict(
  blocks: readonly RowBlock[],
  sequence: Sequence,
  lane: number,
  allowed: Allowance,
): void {
  blocks.forEach((block, layer) => {
    const lists = sequence.lists[layer]!;
    lists.forEach((list, head) => {
      const next = () => sequence.policy.evict(list, allowed, layer, head);
      for (let row = next(); row >= 0; row = next()) {
        list.remove(row);
        block.move(lane, list.length, row, lists.length > 1 ? head : undefined);
      }
    });
    block.clear(lane, lists[0]!.length);
  });
}

/** The sketch of the newest token's key, [channels]. */
export function newestSketch(
  sketcher: KeySketcher,
  blocks: readonly RowBlock[],
  sequence: Sequence,
  lane: number,
): Float32Array {
  const key = new Float32Array(blocks[0]!.shape.headDim);
  return sketcher.sketch((layer, head) => {
    blocks[layer]!.read('keys', lane, head, sequence.held(layer) - 1, key);
    return key;
  });
}
