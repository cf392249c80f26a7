import type { Allowance } from '../cache/policy.js';
import type { Sequence } from '../cache/sequence.js';
import { receivedBy } from './received.js';
import type { Layout } from './rows/layout.js';
import type { RowBlock } from './rows/row-block.js';
import type { LayerRows } from './shape.js';
import type { KeySketcher } from './turns/key-sketch.js';

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
    const { kvHeads, headDim } = block.shape;
    const size = kvHeads * headDim;
    const { keys, values } = layers[layer]!;
    stepping.forEach(({ sequence, lane }, index) => {
      const held = sequence.heldBy(layer, kvHeads);
      const needed = held.map((rows) => rows + 1);
      block.ensure(lane, needed, roomFor);
      const part = (array: Float32Array) => array.subarray(index * size, (index + 1) * size);
      block.append(lane, held, { keys: part(keys), values: part(values), capacity: 1 }, 0);
    });
  });
}

/**
 * Tells the policy of one sequence what its entries received from its new token, which is among them.
 * @param index its place in `layers`
 * @param fed [layers] how the rows lay that were fed
 */
export function observe(
  { sequence, lane }: Stepping,
  index: number,
  layers: readonly LayerRows[],
  fed: readonly Layout[],
  kvHeads: number,
): void {
  const received = layers.map(({ attention }, layer) => {
    const layout = fed[layer]!;
    const size = kvHeads * (layout.capacity + 1);
    const own = attention!.subarray(index * size, (index + 1) * size);
    const held = sequence.heldBy(layer, kvHeads).map((count) => count - 1);
    const lists = sequence.lists[layer]!.length;
    return receivedBy(own, { layout, lane, held, tokens: 1, lists });
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
    block.clear(lane, sequence.heldBy(layer, block.shape.kvHeads));
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
    blocks[layer]!.read('keys', lane, head, sequence.listOf(layer, head).length - 1, key);
    return key;
  });
}
