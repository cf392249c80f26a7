/** As WebGPU's specification numbers them. */
export const USAGE = { COPY_SRC: 0x4, COPY_DST: 0x8, UNIFORM: 0x40, STORAGE: 0x80 } as const;

/** Invocations of a group. */
const GROUP = 64;
/** Where uniforms of a binding may begin. */
const ALIGNMENT = 256;

/**
 * Writes rows of keys and values to their places, word by word, whatever numbers they are. What is written to a layer lies in `rows`: [layers] of where its part starts and how
 * many rows it has; a part is [count] places, then [count, 2, width] the words of key and value.
 */
const CODE = `
@group(0) @binding(0) var<storage, read_write> keys: array<u32>;
@group(0) @binding(1) var<storage, read_write> values: array<u32>;
@group(0) @binding(2) var<storage, read> rows: array<u32>;
@group(0) @binding(3) var<uniform> layer: vec4<u32>;

@compute @workgroup_size(${GROUP})
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let start = rows[2 * layer.x];
  let count = rows[2 * layer.x + 1];
  let width = layer.y;
  let row = id.x / width;
  let word = id.x % width;
  if (row >= count) { return; }
  let place = rows[start + row] * width + word;
  let source = start + count + 2 * row * width + word;
  keys[place] = rows[source];
  values[place] = rows[source + width];
}`;

/** Rows that go to places of one layer: [count] places, and the words of the key and the value of each, [count, 2, width]. */
export interface Placed {
  readonly places: readonly number[];
  readonly words: Uint32Array;
}

/** Where a layer's keys and values lie on the GPU. */
export interface LayerBuffers {
  readonly keys: GPUBuffer;
  readonly values: GPUBuffer;
}

/** Writes single rows into the memory of the layers of a model: all of them by one transfer, with one dispatch for each layer that has any. */
export class RowPlacer {
  readonly #pipeline: GPUComputePipeline;
  readonly #layers: GPUBuffer;
  #rows: GPUBuffer | undefined;
  #groups: { buffers: LayerBuffers; group: GPUBindGroup }[] = [];

  /** @param width words of a key of one head */
  constructor(
    private readonly device: GPUDevice,
    private readonly layers: number,
    private readonly width: number,
  ) {
    const module = device.createShaderModule({ code: CODE });
    this.#pipeline = device.createComputePipeline({
      layout: 'auto',
      compute: { module, entryPoint: 'main' },
    });
    this.#layers = device.createBuffer({ size: layers * ALIGNMENT, usage: USAGE.UNIFORM | USAGE.COPY_DST });
    const numbers = new Uint32Array((layers * ALIGNMENT) / 4);
    for (let layer = 0; layer < layers; layer++) numbers.set([layer, width], (layer * ALIGNMENT) / 4);
    device.queue.writeBuffer(this.#layers, 0, numbers);
  }

  /** Words that rows need in transfer. */
  static words(placed: readonly Placed[]): number {
    return placed.reduce((sum, { places, words }) => sum + 2 + places.length + words.length, 0);
  }

  /** @param placed [layers] @param buffers [layers] */
  write(placed: readonly Placed[], buffers: readonly LayerBuffers[]): void {
    if (placed.every(({ places }) => places.length === 0)) return;
    const all = new Uint32Array(RowPlacer.words(placed));
    let at = 2 * this.layers;
    placed.forEach(({ places, words }, layer) => {
      all.set([at, places.length], 2 * layer);
      all.set(places, at);
      all.set(words, at + places.length);
      at += places.length + words.length;
    });
    const rows = this.#roomFor(all.byteLength);
    this.device.queue.writeBuffer(rows, 0, all);
    const encoder = this.device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(this.#pipeline);
    placed.forEach(({ places }, layer) => {
      if (places.length === 0) return;
      pass.setBindGroup(0, this.#group(layer, buffers[layer]!, rows));
      pass.dispatchWorkgroups(Math.ceil((places.length * this.width) / GROUP));
    });
    pass.end();
    this.device.queue.submit([encoder.finish()]);
  }

  release(): void {
    this.#rows?.destroy();
    this.#layers.destroy();
  }

  #roomFor(bytes: number): GPUBuffer {
    if (this.#rows && this.#rows.size >= bytes) return this.#rows;
    this.#rows?.destroy();
    this.#groups = [];
    this.#rows = this.device.createBuffer({ size: 2 * bytes, usage: USAGE.STORAGE | USAGE.COPY_DST });
    return this.#rows;
  }

  #group(layer: number, buffers: LayerBuffers, rows: GPUBuffer): GPUBindGroup {
    const known = this.#groups[layer];
    if (known && known.buffers.keys === buffers.keys && known.buffers.values === buffers.values)
      return known.group;
    const bindings = [
      { buffer: buffers.keys },
      { buffer: buffers.values },
      { buffer: rows },
      { buffer: this.#layers, offset: layer * ALIGNMENT, size: 16 },
    ];
    const entries = bindings.map((resource, binding) => ({ binding, resource }));
    const group = this.device.createBindGroup({ layout: this.#pipeline.getBindGroupLayout(0), entries });
    this.#groups[layer] = { buffers, group };
    return group;
  }
}
