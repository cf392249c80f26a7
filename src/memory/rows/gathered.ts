import type { BlockShape } from './block-shape.js';
import { headroom } from './capacity.js';
import { Layout } from './layout.js';
import { RowBlock } from './row-block.js';

/** What a lane is copied from. */
export interface LaneRows {
  readonly block: RowBlock;
  readonly lane: number;
  /** [kvHeads] rows in use of each head */
  readonly held: readonly number[];
}

/**
 * A block of copies of lanes that lie elsewhere, with room for one more row of each head: packed where one of them is.
 * @param roomFor rows to allocate for so many
 */
export function gathered(
  shape: Omit<BlockShape, 'lanes'>,
  lanes: readonly LaneRows[],
  roomFor: (rows: number) => number,
): RowBlock {
  const all = { ...shape, lanes: lanes.length };
  const rooms = lanes.map(({ held }) => held.map((count) => roomFor(count + 1)));
  const block = new RowBlock(all, isPacked(lanes) ? Layout.packed(all, rooms) : Math.max(...rooms.flat()));
  lanes.forEach(({ block: from, lane, held }, to) => void block.copyLane(to, from, lane, held));
  return block;
}

/** Whether lanes that lie in one block are packed there: where one of them is. */
export function isPacked(lanes: readonly Pick<LaneRows, 'block'>[]): boolean {
  return lanes.some(({ block }) => block.layout.ends);
}

/** Whether each head of each lane has a row to spare. @param held [lanes] of [kvHeads] rows in use */
export function hasRoom({ layout }: RowBlock, held: readonly (readonly number[])[]): boolean {
  return held.every((heads, lane) => heads.every((count, head) => count < layout.room(lane, head)));
}

/** Whether a block has much more room than its lanes need. @param held [lanes] of [kvHeads] rows in use @param slack headrooms that a head may have */
export function isWasteful(
  { layout }: RowBlock,
  held: readonly (readonly number[])[],
  slack: number,
  most = Number.POSITIVE_INFINITY,
): boolean {
  const roomy = (count: number) => count + 1 + slack * headroom(count + 1);
  const lanes = held.map((heads) =>
    layout.ends ? heads.reduce((sum, count) => sum + roomy(count), 0) : Math.max(...heads.map(roomy)),
  );
  return layout.capacity > Math.min(most, Math.max(...lanes));
}
