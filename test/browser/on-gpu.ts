import { env, Tensor } from '@huggingface/transformers';
import fc from 'fast-check';
import type * as library from '../../src/browser.js';
import { KVCache } from '../../src/memory/kv-cache.js';
import { RowBlock } from '../../src/memory/rows/row-block.js';
import { DeviceRows } from '../../src/memory/webgpu/device-rows.js';
import { Downloads } from '../../src/platform/browser/downloads.js';
import { full } from '../../src/policies/full.js';
import type { PolicyName } from '../../src/policies/registry.js';
import { openDecoder } from '../../src/runtime/open-decoder.js';
import type { Given } from './conversations.js';
import { type GpuCounts, gpuCounts } from './gpu-counts.js';

/** What is tried on a GPU alone; it runs in the page. */

type Library = typeof library;

/** Numbers of an embedding in the decoders of the test suite. */
const HIDDEN = 64;

/** What each token of an answer asks of the GPU. */
export async function stepCounts(
  { ElasticCache, chat }: Library,
  { loaded }: Given,
  budget: number,
  newTokens: number,
  policy: PolicyName,
): Promise<GpuCounts[]> {
  const cache = new ElasticCache({ policy, budget });
  const counts: GpuCounts[] = [];
  gpuCounts();
  const question = { prompt: 'w1 w2 w3', maxNewTokens: newTokens, temperature: 0 };
  for await (const event of chat(loaded, { cache }).ask(question)) {
    if (event.type === 'text') counts.push(gpuCounts());
  }
  return counts;
}

/** Bytes of buffers that so many answers leave, each with a cache of its own that is forgotten: by saying so, or by leaving it to the browser. */
export async function bytesAfter(
  { ElasticCache, chat }: Library,
  { loaded }: Given,
  end: 'reset' | 'left',
  answers: number,
): Promise<number> {
  await collected();
  gpuCounts();
  for (let answer = 0; answer < answers; answer++) {
    const cache = new ElasticCache({ policy: 'snapkv', budget: 0.5 });
    const question = { prompt: 'w1 w2 w3', maxNewTokens: 2, temperature: 0 };
    for await (const _ of chat(loaded, { cache }).ask(question));
    if (end === 'reset') cache.reset();
  }
  await collected();
  const { bytesMade, bytesGone } = gpuCounts();
  return bytesMade - bytesGone;
}

/** What nobody holds any more is gone, and who wanted to hear of it has heard. */
async function collected(): Promise<void> {
  const { gc } = globalThis as unknown as { gc: () => void };
  for (let times = 0; times < 3; times++) {
    gc();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** What may happen to a block, by numbers that say to which row. */
const change = fc.oneof(
  fc.record({ type: fc.constant('append' as const), lane: fc.nat(), value: fc.float({ noNaN: true }) }),
  fc.record({
    type: fc.constant('move' as const),
    lane: fc.nat(),
    from: fc.nat(),
    to: fc.nat(),
    head: fc.nat(3),
  }),
  fc.record({ type: fc.constant('grow' as const), by: fc.integer({ min: 1, max: 20 }) }),
  fc.record({ type: fc.constantFrom('update' as const, 'packed' as const) }),
  fc.record({
    type: fc.constant('step' as const),
    value: fc.float({ noNaN: true }),
    to: fc.nat(),
    fails: fc.boolean(),
  }),
  fc.record({ type: fc.constant('another' as const) }),
);

/** Blocks of rows that are appended, moved, grown and replaced, copied to the GPU now and then, are there what they are here. */
export async function copiesAreEqual(runs: number): Promise<void> {
  const adapter = await navigator.gpu.requestAdapter();
  const device = await adapter!.requestDevice();
  const shapes = fc.record({
    lanes: fc.integer({ min: 1, max: 2 }),
    kvHeads: fc.integer({ min: 1, max: 3 }),
    headDim: fc.constantFrom(2, 8),
    each: fc.boolean(),
    format: fc.constantFrom('float32' as const, 'float16' as const),
  });
  const property = fc.asyncProperty(
    shapes,
    fc.array(change, { maxLength: 40 }),
    async ({ each: own, ...sizes }, changes) => {
      const shape = { ...sizes, biases: own ? sizes.kvHeads : 1 };
      const made = () => new RowBlock(shape, 16);
      const blocks = [made(), made()];
      const words = (shape.headDim * (shape.format === 'float32' ? 4 : 2)) / 4;
      const rows = new DeviceRows(device, blocks.length, words);
      let held = 0;
      for (const each of [...changes, { type: 'update' as const }]) {
        const at = held % blocks.length;
        const block = blocks[at]!;
        const row = (number: number) => number % block.capacity;
        if (each.type === 'append') {
          const own = new Float32Array(shape.kvHeads * shape.headDim).fill(each.value);
          const lane = each.lane % shape.lanes;
          block.append(
            lane,
            Array(shape.kvHeads).fill(row(held)),
            { keys: own, values: own.map((x, i) => x + i), capacity: 1 },
            0,
          );
          held++;
        } else if (each.type === 'move') {
          const head = each.head < shape.kvHeads ? each.head : undefined;
          // As one of several caches in one block does it.
          block.view(each.lane % shape.lanes).move(0, row(each.from), row(each.to), head);
          block.clear(each.lane % shape.lanes, Array(shape.kvHeads).fill(row(each.from)));
        } else if (each.type === 'step') {
          // A pass writes a row there. The host appends that, or, where the pass failed, what another pass gives it; and puts it in the place of another.
          if (shape.lanes !== 1 || held >= Math.min(...blocks.map(({ capacity }) => capacity))) continue;
          const copies = rows.update(
            blocks,
            blocks.map(() => held),
          );
          for (const [layer, { keys, values }] of copies.entries()) {
            const written = new RowBlock(blocks[layer]!.shape, blocks[layer]!.capacity);
            const own = new Float32Array(shape.kvHeads * shape.headDim).fill(each.value);
            const last = Array(shape.kvHeads).fill(held);
            written.append(0, last, { keys: own, values: own, capacity: 1 }, 0);
            for (let head = 0; head < shape.kvHeads; head++) {
              const start = (head * written.capacity + held) * shape.headDim;
              const part = (numbers: typeof written.keys.numbers) =>
                numbers.slice(start, start + shape.headDim) as Float32Array<ArrayBuffer>;
              const at = start * written.keys.numbers.BYTES_PER_ELEMENT;
              device.queue.writeBuffer(keys, at, part(written.keys.numbers));
              device.queue.writeBuffer(values, at, part(written.values.numbers));
            }
            const given = each.fails ? own.map((_, i) => i) : own;
            blocks[layer]!.append(0, last, { keys: given, values: given, capacity: 1 }, 0);
            blocks[layer]!.move(0, held, each.to % (held + 1));
          }
          if (!each.fails) rows.appended();
          held++;
        } else if (each.type === 'grow') block.grow(block.capacity + each.by);
        else if (each.type === 'another') blocks[at] = made();
        else if (each.type === 'update') await compare(device, rows, blocks, undefined);
        else if (shape.lanes === 1 && own) await compare(device, rows, blocks, 'packed');
      }
      rows.release();
    },
  );
  await fc.assert(property, { numRuns: runs });
  device.destroy();
}

async function compare(
  device: GPUDevice,
  rows: DeviceRows,
  blocks: readonly RowBlock[],
  next: 'packed' | undefined,
): Promise<void> {
  const copies = rows.update(
    blocks,
    blocks.map(() => next),
  );
  for (const [layer, block] of blocks.entries()) {
    const { keys, values, bias } = copies[layer]!;
    const pairs = [
      [keys, block.keys.numbers],
      [values, block.values.numbers],
      [bias, next === 'packed' ? asOneHead(block) : block.bias],
    ] as const;
    for (const [buffer, { buffer: from, byteOffset, byteLength }] of pairs) {
      const here = new Uint32Array(from, byteOffset, byteLength / 4);
      const there = await wordsOf(device, buffer, byteLength);
      const wrong = here.findIndex((word, index) => word !== there[index]);
      if (wrong >= 0)
        throw new Error(`Word ${wrong} of layer ${layer} is ${there[wrong]}, not ${here[wrong]}.`);
    }
  }
}

/** Biases of an even block's rows, all of them shown to each head with a new one of each behind them: hidden but for its own. */
function asOneHead({ bias, capacity, shape: { kvHeads } }: RowBlock): Float32Array<ArrayBuffer> {
  const rows = kvHeads * capacity;
  return Float32Array.from({ length: kvHeads * (rows + kvHeads) }, (_, i) => {
    const [head, row] = [Math.floor(i / (rows + kvHeads)), i % (rows + kvHeads)];
    if (row >= rows) return row - rows === head ? 0 : Number.NEGATIVE_INFINITY;
    return Math.floor(row / capacity) === head
      ? bias[head * capacity + (row % capacity)]!
      : Number.NEGATIVE_INFINITY;
  });
}

async function wordsOf(device: GPUDevice, buffer: GPUBuffer, bytes: number): Promise<Uint32Array> {
  const staging = device.createBuffer({ size: bytes, usage: 0x1 | 0x8 });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(buffer, 0, staging, 0, bytes);
  device.queue.submit([encoder.finish()]);
  await staging.mapAsync(1);
  const words = new Uint32Array(staging.getMappedRange().slice(0));
  staging.destroy();
  return words;
}

/** Bytes that come down in pieces of `most`, one after the other, are those that are there; returns how many pieces it took. */
export async function comesDown(lengths: readonly number[], most: number): Promise<number> {
  const adapter = await navigator.gpu.requestAdapter();
  const device = await adapter!.requestDevice();
  const { ort_tensor } = new Tensor('float32', new Float32Array(1), [1]);
  const TensorClass = ort_tensor.constructor as typeof ort_tensor.constructor & {
    new (): typeof ort_tensor;
    fromGpuBuffer(buffer: GPUBuffer, options: object): typeof ort_tensor;
  };
  const numbers = lengths.map((length, index) => Float32Array.from({ length }, (_, i) => index + i / length));
  const entries = numbers.map((each, index) => {
    const buffer = device.createBuffer({ size: Math.max(16, each.byteLength), usage: 0x4 | 0x8 });
    device.queue.writeBuffer(buffer, 0, each);
    const options = { dataType: 'float32', dims: [each.length] };
    return [String(index), TensorClass.fromGpuBuffer(buffer, options)] as const;
  });
  gpuCounts();
  const outputs = await new Downloads(device, TensorClass, most).of(Object.fromEntries(entries));
  numbers.forEach((each, index) => {
    const got = outputs[index]!.data as Float32Array;
    if (got.join() !== each.join()) throw new Error(`Tensor ${index} is ${got}, not ${each}.`);
    if (got.buffer.byteLength !== each.byteLength) throw new Error(`Tensor ${index} shares its memory.`);
  });
  device.destroy();
  return gpuCounts().maps;
}

/** A text goes on with its cache after the GPU is gone: first says what is thrown, then what comes on WebAssembly. */
export async function afterLoss(
  { ElasticCache, loadElastic }: Library,
  id: string,
  prompts: readonly number[][],
): Promise<{ thrown: string; tokens: number[] }> {
  const cache = new ElasticCache({ policy: 'snapkv', budget: 0.5 });
  const asked = prompts.map((prompt) => prompt.map(BigInt));
  const generated = async (model: library.ElasticModel, tokens: readonly bigint[]) => {
    const input_ids = new Tensor('int64', BigInt64Array.from(tokens), [1, tokens.length]);
    const all = await model.generate({
      input_ids,
      past_key_values: cache,
      max_new_tokens: 8,
      do_sample: false,
    });
    return Array.from(all.data as BigInt64Array);
  };
  const onGpu = await loadElastic(id, { dtype: 'fp32', device: 'webgpu' });
  const first = await generated(onGpu.model, asked[0]!);
  const { device } = env.backends.onnx.webgpu as unknown as { device: Promise<GPUDevice> };
  (await device).destroy();
  const text = [...first, ...asked[1]!];
  const thrown = await generated(onGpu.model, text).then(
    () => 'nothing',
    (error: library.ElasticCacheError) => `${error.code}: ${error.message}`,
  );
  const onWasm = await loadElastic(id, { dtype: 'fp32', device: 'wasm' });
  return { thrown, tokens: (await generated(onWasm.model, text)).map(Number) };
}

/** Logits of passes over a decoder that holds everything, and what there is to say of how it runs. */
export async function runFixture(
  address: string,
  device: string,
  passes: readonly number[],
): Promise<{ logits: number[]; notes: readonly string[] }> {
  const decoder = await openDecoder(address, { device });
  const cache = new KVCache({ policy: full(), budget: 1 });
  cache.bind({ ...decoder.shape, batch: 1 }, decoder.windows);
  const logits: number[] = [];
  for (const [pass, tokens] of passes.entries()) {
    const embeds = Float32Array.from({ length: tokens * HIDDEN }, (_, i) => Math.sin(13 * i + pass));
    const positions = BigInt64Array.from({ length: tokens }, (_, i) => BigInt(cache.seen + i));
    const given = await decoder.run(cache, {
      newTokens: new Tensor('float32', embeds, [1, tokens, HIDDEN]).ort_tensor,
      positionIds: new Tensor('int64', positions, [1, tokens]).ort_tensor,
      logits: 'all',
    });
    logits.push(...(given.data as Float32Array));
  }
  await decoder.release();
  return { logits, notes: decoder.notes };
}
