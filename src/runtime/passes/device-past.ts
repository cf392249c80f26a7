import type { DecoderSignature } from '../../graph/decoder.js';
import { contractNames as names } from '../../graph/decoder.js';
import type { Batch } from '../../memory/lane-pool.js';
import { formatOf } from '../../memory/rows/formats.js';
import type { RowBlock } from '../../memory/rows/row-block.js';
import { DeviceRows } from '../../memory/webgpu/device-rows.js';
import type { Gpu, Tensor } from '../../platform/ort.js';

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

  /** Past keys, values and biases for a step of all sequences; undefined where a layer holds nothing yet, or lanes that others lie in as well. */
  feeds(cache: Batch): Record<string, Tensor> | undefined {
    const { layers, past: type } = this.signature;
    const blocks: RowBlock[] = [];
    for (const { index } of layers) {
      const { whole, capacity } = cache.past(index);
      if (!whole || capacity === 0) return undefined;
      blocks.push(whole);
    }
    const feeds: Record<string, Tensor> = {};
    this.rowsOf(cache)
      .update(blocks)
      .forEach(({ keys, values, bias }, layer) => {
        const { lanes, headDim, biases } = blocks[layer]!.shape;
        const { capacity, heads } = blocks[layer]!.layout;
        const { index } = layers[layer]!;
        const dims = [lanes, heads, capacity, headDim];
        feeds[names.pastKey(index)] = this.gpu.tensorOf(keys, type, dims);
        feeds[names.pastValue(index)] = this.gpu.tensorOf(values, type, dims);
        feeds[names.pastBias(index)] = this.gpu.tensorOf(bias, 'float32', [lanes, biases, 1, capacity]);
      });
    return feeds;
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
