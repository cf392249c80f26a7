import type { KVCache } from '../../src/memory/kv-cache.js';
import type { LayerRows } from '../../src/memory/shape.js';
import type { Given, Playable, PlayedShape } from './play.js';

/** What an empty row is given: nothing may come of it. */
const NOTHING = 1e9;

/** The cache as the decoder drives it: attention in the order of rows, for each key head, as the graph gives it. */
export function driven(cache: KVCache, shape: PlayedShape): Playable {
  const { kvHeads } = shape;
  const peak = cache.policy.peak === true;
  const layers = (make: (layer: number) => LayerRows) =>
    Array.from({ length: shape.layers }, (_, layer) => make(layer));
  const attention = (given: Given, layer: number, tokens: number, row: number, alone: boolean) => {
    const start = cache.seenBy(row);
    const fed = fedTo(cache, layer, row, alone);
    return attentionOf(given, fed, layer, { start, end: start + tokens }, { kvHeads, peak });
  };
  return {
    noteImage: (image, row) => cache.noteImage(image, row),
    entries: (layer, row, head) => cache.entries(layer, row, head),
    turn(tokens, given, { attended, continues }, row) {
      const rows = layers((layer) => ({
        ...newRows([given], [cache.seenBy(row)], layer, tokens, shape),
        ...(attended && { attention: attention(given, layer, tokens, row, true) }),
      }));
      cache.appendTurn(rows, tokens, { turnContinues: continues }, row);
    },
    step(given) {
      const seen = given.map((_, row) => cache.seenBy(row));
      const rows = layers((layer) => ({
        ...newRows(given, seen, layer, 1, shape),
        attention: Float32Array.from(given.flatMap((own, row) => [...attention(own, layer, 1, row, false)])),
      }));
      cache.appendStep(rows);
    },
  };
}

/** [sequences, kvHeads, tokens, headDim] */
function newRows(
  given: readonly Given[],
  seen: readonly number[],
  layer: number,
  tokens: number,
  shape: PlayedShape,
) {
  const { kvHeads, headDim } = shape;
  const rows = (name: 'keys' | 'values') =>
    Float32Array.from({ length: given.length * kvHeads * tokens * headDim }, (_, index) => {
      const i = index % headDim;
      const token = Math.floor(index / headDim) % tokens;
      const head = Math.floor(index / headDim / tokens) % kvHeads;
      const row = Math.floor(index / headDim / tokens / kvHeads);
      return given[row]!.at(name, layer, head, seen[row]! + token, i);
    });
  return { keys: rows('keys'), values: rows('values') };
}

/** Where a layer's rows stand, and whether they are in use: [lists] and [biases] of [capacity]. */
interface Fed {
  readonly capacity: number;
  readonly positions: Int32Array;
  readonly bias: Float32Array;
}

/** What a sequence is fed with, alone or beside the others. */
function fedTo(cache: KVCache, layer: number, row: number, alone: boolean): Fed {
  const { bias, capacity } = alone ? cache.past(layer, row) : cache.past(layer);
  const positions = alone ? cache.positions(layer, row) : cache.positions(layer);
  const lane = <Numbers extends Int32Array | Float32Array>(all: Numbers): Numbers => {
    const size = all.length / cache.batch;
    return (alone ? all : all.subarray(row * size, (row + 1) * size)) as Numbers;
  };
  return { capacity, positions: lane(positions), bias: lane(bias) };
}

/** [kvHeads, P + tokens] by row: the sums over the new queries, or the most of one that is not the token itself where the policy asks for that. */
function attentionOf(
  given: Given,
  { capacity, positions, bias }: Fed,
  layer: number,
  queries: { start: number; end: number },
  { kvHeads, peak }: { kvHeads: number; peak: boolean },
): Float32Array {
  const width = capacity + queries.end - queries.start;
  const attention = new Float32Array(kvHeads * width);
  for (let head = 0; head < kvHeads; head++) {
    const from = given.attention(layer, head);
    const of = (numbers: Int32Array | Float32Array) => (numbers.length > capacity ? head * capacity : 0);
    for (let index = 0; index < width; index++) {
      const held = index < capacity;
      if (held && bias[of(bias) + index] === Number.NEGATIVE_INFINITY) {
        attention[head * width + index] = NOTHING;
        continue;
      }
      const key = held ? positions[of(positions) + index]! : queries.start + index - capacity;
      let received = 0;
      for (let query = Math.max(key, queries.start); query < queries.end; query++) {
        if (!peak) received += from(query, key);
        else if (query !== key) received = Math.max(received, from(query, key));
      }
      attention[head * width + index] = received;
    }
  }
  return attention;
}
