import type { RowBlock } from '../rows/row-block.js';
import { type LayerBuffers, type Placed, RowPlacer, USAGE } from './place-rows.js';

/** How many times larger than what lies in it memory is before it is given back. */
const WASTEFUL = 2;

/** The fewest bytes of a binding that holds a number. */
const LEAST = 16;

/**
 * Where a pass of one lane writes the rows of its token: behind so many of each head, or, where heads hold different numbers, 'packed': all rows of a block lie as one head's, and the new ones, one of each head, behind
 * them.
 */
export type Next = number | 'packed';

/** A layer's rows on the GPU, [lanes, heads, capacity, headDim]: as its block has them, or packed. */
export interface DeviceLayer extends LayerBuffers {
  readonly heads: number;
  readonly capacity: number;
  /** float32 [lanes, biases, capacity] */
  readonly bias: GPUBuffer;
  /** int32 [1], rows in use after a pass that writes there, the last left out */
  readonly held: GPUBuffer;
  /** Rows in use after a pass that writes there. */
  readonly used: number | undefined;
}

interface Copy extends DeviceLayer {
  used: number | undefined;
  readonly block: RowBlock;
  readonly numbers: { readonly keys: object; readonly values: object };
  /** What the block noted since. */
  readonly written: Set<number>;
  /** [lanes, biases] of [capacity], biases as they are there. */
  readonly known: readonly Float32Array[];
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
   * @param next [layers] where a pass of one lane is to write rows, which have no bias; undefined where it does not
   */
  update(blocks: readonly RowBlock[], next: readonly (Next | undefined)[] = []): readonly DeviceLayer[] {
    const placed: Placed[] = [];
    this.#copies = blocks.map((block, layer) => {
      const known = this.#copies[layer];
      const own = next[layer];
      const frame = frameOf(block, own === 'packed');
      const places = known && changedIn(known, block, frame);
      const copy = places ? known : this.#whole(block, frame, known);
      placed[layer] = this.#placed(block, places ?? []);
      copy.written.clear();
      this.#writeBiases(copy, own === 'packed' ? biasesPacked(block, frame) : biasesOf(block, own));
      this.#writeHeld(copy, own);
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

  #whole(block: RowBlock, frame: Frame, before: Copy | undefined): Copy {
    if (before && before.block !== block && before.block.written === before.written)
      before.block.written = undefined;
    const { lanes, biases, headDim } = block.shape;
    const places = lanes * frame.heads * frame.capacity;
    const [keys, values] = (['keys', 'values'] as const).map((name) => {
      const { numbers } = block[name];
      const bytes = places * headDim * numbers.BYTES_PER_ELEMENT;
      const buffer = this.#bufferFor(bytes, before?.[name]);
      this.device.queue.writeBuffer(buffer, 0, numbers);
      return buffer;
    }) as [GPUBuffer, GPUBuffer];
    const count = lanes * biases;
    const bias = this.#bufferFor(count * frame.capacity * Float32Array.BYTES_PER_ELEMENT, before?.bias);
    // What is in the buffer is no bias yet.
    const known = Array.from({ length: count }, () => new Float32Array(frame.capacity).fill(Number.NaN));
    block.written = new Set();
    const numbers = { keys: block.keys.numbers, values: block.values.numbers };
    const held = before?.held ?? this.#buffer(Int32Array.BYTES_PER_ELEMENT);
    const own = { block, numbers, written: block.written, known };
    return { ...own, ...frame, keys, values, bias, held, rows: before?.rows, used: undefined, next: [] };
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

  /** Writes the biases of each head from the first that is another to the last. @param wanted [lanes, biases] of [capacity] */
  #writeBiases({ known, bias, capacity }: Copy, wanted: readonly Float32Array<ArrayBuffer>[]): void {
    known.forEach((there, head) => {
      const own = wanted[head]!;
      let start = 0;
      let end = capacity;
      while (start < end && there[start] === own[start]) start++;
      while (end > start && there[end - 1] === own[end - 1]) end--;
      if (start === end) return;
      const part = own.subarray(start, end);
      there.set(part, start);
      this.device.queue.writeBuffer(bias, (head * capacity + start) * part.BYTES_PER_ELEMENT, part);
    });
  }

  #writeHeld(copy: Copy, next: Next | undefined): void {
    const { block, capacity } = copy;
    const { kvHeads } = block.shape;
    copy.used = next === 'packed' ? capacity : next === undefined ? undefined : next + 1;
    copy.next =
      typeof next === 'number' ? Array.from({ length: kvHeads }, (_, head) => head * capacity + next) : [];
    const held = copy.used === undefined ? undefined : copy.used - 1;
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

/** How the rows of a layer lie on the GPU. */
type Frame = Pick<DeviceLayer, 'heads' | 'capacity'>;

function frameOf({ layout, shape }: RowBlock, packed: boolean): Frame {
  if (!packed) return { heads: layout.heads, capacity: layout.capacity };
  return { heads: 1, capacity: layout.rows + shape.kvHeads };
}

/** [lanes, biases] of [capacity], biases of a block, where that of the row behind those held is none. */
function biasesOf(
  { bias, capacity, shape }: RowBlock,
  held: number | undefined,
): readonly Float32Array<ArrayBuffer>[] {
  return Array.from({ length: shape.lanes * shape.biases }, (_, at) => {
    const own = bias.subarray(at * capacity, (at + 1) * capacity);
    return held === undefined ? own : own.slice().fill(0, held, held + 1);
  });
}

/** [biases] of [capacity], those of a block of one lane whose heads all lie as one: each is shown its own rows, and the last of them behind the others'. */
function biasesPacked(block: RowBlock, { capacity }: Frame): readonly Float32Array<ArrayBuffer>[] {
  const { layout, shape } = block;
  return Array.from({ length: shape.kvHeads }, (_, head) => {
    const shown = new Float32Array(capacity).fill(Number.NEGATIVE_INFINITY);
    shown.set(block.biasOf(0, head), layout.start(0, head));
    shown[layout.rows + head] = 0;
    return shown;
  });
}

/** The places of a block that are not as they were copied; undefined where it is to be copied whole. */
function changedIn(copy: Copy, block: RowBlock, { heads, capacity }: Frame): readonly number[] | undefined {
  const { numbers, written } = copy;
  const same =
    copy.block === block &&
    block.written === written &&
    block.keys.numbers === numbers.keys &&
    block.values.numbers === numbers.values &&
    copy.heads === heads &&
    copy.capacity === capacity;
  if (!same || 2 * written.size > block.shape.lanes * block.layout.rows) return undefined;
  return Array.from(written);
}

function wordsOf({ buffer, byteOffset, byteLength }: ArrayBufferView<ArrayBuffer>): Uint32Array {
  return new Uint32Array(buffer, byteOffset, byteLength / 4);
}
