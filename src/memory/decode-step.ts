import type { Allowance } from '../cache/policy.js';
import type { Sequence } from '../cache/sequence.js';
import { receivedBy } from './received.js';
import type { Layout } from './rows/layout.js';
import type { RowBlock } from './rows/row-block.js';
import type { LayerRows, ModelShape } from './shape.js';
import type { KeySketcher } from './turns/key-sketch.js';

/** A sequence that goes on by one token, and the lane that it lies in. */
export interface Stepping {
  readonly sequence: Sequence;
  readonly lane: number;
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

/** What stands for the place of a row that is not kept. */
const NONE = -1;

/**
 * Lets a policy bring one sequence down to what is allowed, and puts its new token in: the last row takes the place of each that goes, and that is the new one, which is only written where it stays.
 * @param index its place in `layers`
 * @param layers [layers] keys, values [stepping, kvHeads, 1, headDim]
 * @param roomFor rows to allocate for so many
 */
export function place(
  blocks: readonly RowBlock[],
  { sequence, lane }: Stepping,
  index: number,
  layers: readonly LayerRows[],
  allowed: Allowance,
  roomFor: (rows: number) => number,
): void {
  blocks.forEach((block, layer) => {
    const { kvHeads, headDim } = block.shape;
    const lists = sequence.lists[layer]!;
    let shrunk = false;
    const places = lists.map((list, head) => {
      const own = lists.length > 1 ? head : undefined;
      const held = list.length - 1;
      let added = held;
      const next = () => sequence.policy.evict(list, allowed, layer, head);
      for (let row = next(); row >= 0; row = next()) {
        list.remove(row);
        const last = list.length;
        const isAdded = row === added;
        if (last === added) added = row;
        else block.move(lane, last, row, own);
        if (isAdded) added = NONE;
      }
      shrunk ||= list.length < held;
      return added;
    });
    const after = sequence.heldBy(layer, kvHeads);
    block.ensure(lane, after, roomFor);
    const { keys, values } = layers[layer]!;
    const size = kvHeads * headDim;
    const part = (array: Float32Array) => array.subarray(index * size, (index + 1) * size);
    const rows = after.map((_, head) => places[lists.length > 1 ? head : 0]!);
    block.append(lane, rows, { keys: part(keys), values: part(values), capacity: 1 }, 0);
    if (shrunk) block.clear(lane, after);
  });
}

/** The sketch of a new token's key, [channels]. @param index its place in `layers` */
export function newestSketch(
  sketcher: KeySketcher,
  layers: readonly LayerRows[],
  index: number,
  { kvHeads, headDim }: Pick<ModelShape, 'kvHeads' | 'headDim'>,
): Float32Array {
  return sketcher.sketch((layer, head) => {
    const start = (index * kvHeads + head) * headDim;
    return layers[layer]!.keys.subarray(start, start + headDim);
  });
}
