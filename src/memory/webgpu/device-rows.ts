import type { RowBlock } from '../rows/row-block.js';
import { type LayerBuffers, type Placed, RowPlacer, USAGE } from './place-rows.js';

/** How many times larger than what lies in it memory is before it is given back. */
const WASTEFUL = 2;

/** The fewest bytes of a binding that holds a number. */
const LEAST = 16;

/** A layer's rows on the GPU, as its block has them. */
export interface DeviceLayer extends LayerBuffers {
  /** float32 [lanes, biases, capacity] */
  readonly bias: GPUBuffer;
  /** int32 [1], rows in use, where a pass is to write the next */
  readonly held: GPUBuffer;
}

interface Copy extends DeviceLayer {
  readonly block: RowBlock;
  readonly numbers: { readonly keys: object; readonly values: object };
  /** What the block noted since. */
  readonly written: Set<number>;
  /** Biases as they are there. */
  readonly known: Float32Array;
  /** What {@link DeviceLayer.held} is. */
  rows: number | undefined;
  /** Places of the row that a pass writes. */
  next: readonly number[];
}

/**
 * A copy of a cache's rows in the memory of a GPU, for graphs that run there: one buffer of keys, one of values and one of biases for each layer. What is held stays on the host as well, where
 * policies, forks and files find it, and where it outlives the GPU; a step only writes the rows that changed, which is one for each layer once the budget is reached. A layer that was
 * made anew, by a turn or by growing, is written whole. A row that a pass wrote there itself is not written again.
 */
export class DeviceRows {
  readonly #placer: RowPlacer;
  #copies: Copy[] = [];

  /** @param words of a key of one head, 4 bytes each */
  constructor(
    private readonly device: GPUDevice,
    layers: number,
    private readonly words: number,
  ) {
    this.#placer = new RowPlacer(device, layers, words);
  }

  /** Bytes of the GPU's memory that are taken. */
  get bytes(): number {
    return this.#copies.flatMap(buffersOf).reduce((sum, { size }) => sum + size, 0);
  }

  /**
   * Brings the copy up to date.
   * @param blocks [layers] with a row at least; the same each time while they are what the cache holds
   * @param held [layers] rows in use, where a pass of one lane is to write one more behind them, which has no bias
   */
  update(blocks: readonly RowBlock[], held: readonly (number | undefined)[] = []): readonly DeviceLayer[] {
    const placed: Placed[] = [];
    this.#copies = blocks.map((block, layer) => {
      const known = this.#copies[layer];
      const places = known && changedIn(known, block);
      const copy = places ? known : this.#whole(block, known);
      placed[layer] = this.#placed(block, places ?? []);
      copy.written.clear();
      this.#writeBias(copy, biasesOf(block, held[layer]));
      this.#writeHeld(copy, block, held[layer]);
      return copy;
    });
    this.#placer.write(placed, this.#copies);
    return this.#copies;
  }

  /** Tells that the host has the row as well that a pass wrote since the last update. */
  appended(): void {
    for (const copy of this.#copies) {
      for (const place of copy.next) copy.written.delete(place);
      copy.next = [];
    }
  }

  release(): void {
    for (const copy of this.#copies) {
      if (copy.block.written === copy.written) copy.block.written = undefined;
      for (const buffer of buffersOf(copy)) buffer.destroy();
    }
    this.#copies = [];
    this.#placer.release();
  }

  #whole(block: RowBlock, before: Copy | undefined): Copy {
    if (before && before.block !== block && before.block.written === before.written)
      before.block.written = undefined;
    const [keys, values, bias] = (['keys', 'values', 'bias'] as const).map((name) => {
      const numbers = name === 'bias' ? block.bias : block[name].numbers;
      const buffer = this.#bufferFor(numbers.byteLength, before?.[name]);
      this.device.queue.writeBuffer(buffer, 0, numbers);
      return buffer;
    }) as [GPUBuffer, GPUBuffer, GPUBuffer];
    block.written = new Set();
    const numbers = { keys: block.keys.numbers, values: block.values.numbers };
    const held = before?.held ?? this.#buffer(Int32Array.BYTES_PER_ELEMENT);
    const own = { block, numbers, written: block.written, known: block.bias.slice() };
    return { ...own, keys, values, bias, held, rows: before?.rows, next: [] };
  }

  /** The memory that is there, where it is large enough and not much too large. */
  #bufferFor(bytes: number, before: GPUBuffer | undefined): GPUBuffer {
    if (before && before.size >= bytes && before.size <= WASTEFUL * bytes) return before;
    before?.destroy();
    return this.#buffer(bytes);
  }

  #buffer(bytes: number): GPUBuffer {
    const usage = USAGE.STORAGE | USAGE.COPY_DST | USAGE.COPY_SRC;
    return this.device.createBuffer({ size: Math.max(LEAST, bytes), usage });
  }

  /** Writes the biases from the first that is another to the last. */
  #writeBias({ known, bias }: Copy, wanted: Float32Array<ArrayBuffer>): void {
    let start = 0;
    let end = known.length;
    while (start < end && known[start] === wanted[start]) start++;
    while (end > start && known[end - 1] === wanted[end - 1]) end--;
    if (start === end) return;
    const part = wanted.subarray(start, end);
    known.set(part, start);
    this.device.queue.writeBuffer(bias, start * part.BYTES_PER_ELEMENT, part);
  }

  #writeHeld(copy: Copy, { shape, capacity }: RowBlock, held: number | undefined): void {
    copy.next =
      held === undefined ? [] : Array.from({ length: shape.kvHeads }, (_, head) => head * capacity + held);
    if (held === undefined || held === copy.rows) return;
    copy.rows = held;
    this.device.queue.writeBuffer(copy.held, 0, Int32Array.of(held));
  }

  #placed(block: RowBlock, places: readonly number[]): Placed {
    const width = this.words;
    const [keys, values] = [wordsOf(block.keys.numbers), wordsOf(block.values.numbers)];
    const words = new Uint32Array(2 * places.length * width);
    places.forEach((place, index) => {
      words.set(keys.subarray(place * width, (place + 1) * width), 2 * index * width);
      words.set(values.subarray(place * width, (place + 1) * width), (2 * index + 1) * width);
    });
    return { places, words };
  }
}

function buffersOf({ keys, values, bias, held }: DeviceLayer): GPUBuffer[] {
  return [keys, values, bias, held];
}

/** Biases of a block, where that of the row behind those held is none. */
function biasesOf({ bias, capacity }: RowBlock, held: number | undefined): Float32Array<ArrayBuffer> {
  if (held === undefined) return bias;
  const open = bias.slice();
  for (let row = held; row < open.length; row += capacity) open[row] = 0;
  return open;
}

/** The places of a block that are not as they were copied; undefined where it is to be copied whole. */
function changedIn(copy: Copy, block: RowBlock): readonly number[] | undefined {
  const { numbers, written, known } = copy;
  const same =
    copy.block === block &&
    block.written === written &&
    block.keys.numbers === numbers.keys &&
    block.values.numbers === numbers.values &&
    block.bias.length === known.length;
  if (!same || 2 * written.size > block.shape.lanes * block.layout.rows) return undefined;
  return Array.from(written);
}

function wordsOf({ buffer, byteOffset, byteLength }: ArrayBufferView<ArrayBuffer>): Uint32Array {
  return new Uint32Array(buffer, byteOffset, byteLength / 4);
}
