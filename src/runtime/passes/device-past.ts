import { Tensor } from '#platform/ort.js';
import { headsMayDiffer } from '../../cache/policy.js';
import type { DecoderLayer, DecoderSignature } from '../../graph/decoder.js';
import { contractNames as names } from '../../graph/decoder.js';
import type { Batch } from '../../memory/lane-pool.js';
import { formatOf } from '../../memory/rows/formats.js';
import type { RowBlock } from '../../memory/rows/row-block.js';
import { DeviceRows, type Next } from '../../memory/webgpu/device-rows.js';
import type { Gpu } from '../../platform/ort.js';
import { inPlaceFeeds } from './in-place.js';

/** What a pass is fed, and what memory its outputs are written to. */
export interface Fed {
  readonly feeds: Record<string, Tensor>;
  readonly bound: Record<string, Tensor>;
}

/**
 * What caches hold, as a GPU is fed with it: each cache that takes a step has a copy of its rows there. It is let go with {@link release}, when the cache forgets what it holds, and, since nobody
 * has to say so, when the cache itself is no more.
 */
export class DevicePast {
  private readonly rows = new WeakMap<Batch, DeviceRows>();
  /** All there are, for the end. */
  private readonly all = new Set<DeviceRows>();
  private readonly forgotten = new FinalizationRegistry((rows: DeviceRows) => this.end(rows));

  constructor(
    private readonly gpu: Gpu,
    private readonly signature: Pick<DecoderSignature, 'layers' | 'past'>,
  ) {}

  /** What a step of all sequences is fed; undefined where a layer holds nothing yet, or lanes that others lie in as well. @param mayWrite whether it may write its row where the past lies */
  fed(cache: Batch, mayWrite: boolean): Fed | undefined {
    const { layers, past: type } = this.signature;
    const blocks: RowBlock[] = [];
    for (const { index } of layers) {
      const { whole, capacity } = cache.past(index);
      if (!whole || capacity === 0) return undefined;
      blocks.push(whole);
    }
    const next = mayWrite ? nextRows(cache, blocks, layers) : undefined;
    const pass = next && { packed: next.includes('packed'), biased: blocks.some(isBiased) };
    const feeds: Record<string, Tensor> = pass ? inPlaceFeeds(layers, pass) : {};
    const bound: Record<string, Tensor> = {};
    const rows = this.rowsOf(cache).update(blocks, next);
    rows.forEach((own, layer) => {
      const { lanes, biases, headDim } = blocks[layer]!.shape;
      const { index, inPlace, window } = layers[layer]!;
      const { heads, capacity, used } = own;
      const dims = [lanes, heads, capacity, headDim];
      const [keys, values] = [own.keys, own.values].map((buffer) => this.gpu.tensorOf(buffer, type, dims));
      feeds[names.pastKey(index)] = keys!;
      feeds[names.pastValue(index)] = values!;
      feeds[names.pastBias(index)] = this.gpu.tensorOf(own.bias, 'float32', [lanes, biases, 1, capacity]);
      if (!inPlace || used === undefined) return;
      if (pass?.packed && window !== undefined)
        feeds[names.pastPosition(index)] = positionsPacked(cache, index, blocks[layer]!, capacity);
      bound[names.presentKey(index)] = this.gpu.tensorOf(own.keys, type, dims);
      bound[names.presentValue(index)] = this.gpu.tensorOf(own.values, type, dims);
      feeds[names.held(index)] = this.gpu.tensorOf(own.held, 'int32', [1]);
      feeds[names.total(index)] = new Tensor('int64', [BigInt(used)], [1]);
    });
    return { feeds, bound };
  }

  /** Tells that a cache has the row that its last step wrote where the past lies. */
  appended(cache: Batch): void {
    this.rows.get(cache)?.appended();
  }

  /** Lets the copies of all caches go. */
  release(): void {
    for (const rows of this.all) this.end(rows);
  }

  private rowsOf(cache: Batch): DeviceRows {
    const known = this.rows.get(cache);
    if (known) return known;
    const { layers, past } = this.signature;
    const words = (layers[0]!.headDim * formatOf(past).bytes) / Uint32Array.BYTES_PER_ELEMENT;
    const rows = new DeviceRows(this.gpu.device, layers.length, words);
    this.rows.set(cache, rows);
    this.all.add(rows);
    this.forgotten.register(cache, rows, rows);
    cache.forgotten.add(() => {
      this.rows.delete(cache);
      this.end(rows);
    });
    return rows;
  }

  private end(rows: DeviceRows): void {
    if (!this.all.delete(rows)) return;
    this.forgotten.unregister(rows);
    rows.release();
  }
}

/** [layers] where a layer that writes in place puts the rows of one new token, undefined for one that does not; undefined for several sequences, and where one cannot, or has no room. */
function nextRows(
  cache: Batch,
  blocks: readonly RowBlock[],
  layers: readonly DecoderLayer[],
): (Next | undefined)[] | undefined {
  if (cache.batch !== 1) return undefined;
  const { heads, attention } = cache.policy;
  const differ = (layer: number) => {
    const { kvHeads } = blocks[layer]!.shape;
    return kvHeads > 1 && headsMayDiffer({ heads }, kvHeads);
  };
  const takes = layers.every(({ index, inPlace, packs }, layer) => {
    if (!inPlace) return true;
    return differ(layer) ? packs && attention !== 'always' : cache.held(index) < blocks[layer]!.capacity;
  });
  if (!takes) return undefined;
  return layers.map(({ index, inPlace }, layer) => {
    if (!inPlace) return undefined;
    return differ(layer) ? 'packed' : cache.held(index);
  });
}

/** [1, kvHeads, capacity] where in the text the rows stand that a head is shown, where those of all lie as one's: what is hidden from it may stand anywhere, and new rows stand where the text goes on. */
function positionsPacked(cache: Batch, index: number, { layout, shape }: RowBlock, capacity: number): Tensor {
  const { kvHeads } = shape;
  const own = cache.positions(index);
  const shown = new Int32Array(kvHeads * capacity).fill(cache.seenBy(0));
  for (let head = 0; head < kvHeads; head++) {
    const start = head * layout.capacity + layout.offset(0, head);
    const rows = own.subarray(start, start + layout.room(0, head));
    shown.set(rows, head * capacity + layout.start(0, head));
  }
  return new Tensor('int32', shown, [1, kvHeads, capacity]);
}

function isBiased({ bias }: RowBlock): boolean {
  return bias.some((value) => value !== 0 && value !== Number.NEGATIVE_INFINITY);
}
