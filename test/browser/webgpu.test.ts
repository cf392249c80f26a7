import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Tensor } from '@huggingface/transformers';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import * as library from '../../src/index.js';
import { FAMILIES, writeTinyFamily } from '../families/tiny-families.js';
import { bundle, ortFolder, root } from './bundles.js';
import { type Given, plays, type Script } from './conversations.js';
import { hasGpu, SOFTWARE_GPU, startBrowser } from './find-browser.js';
import type { GpuCounts } from './gpu-counts.js';
import { type Site, serve } from './serve.js';

/** Of a step of the tiny SmolVLM that evicts nothing; a row of keys and values of its layers is another 2 kB. */
const BYTES_UP = 3000;

let folder: string;
let site: Site;
let browser: Browser;
let page: Page;
const errors: string[] = [];
/** A browser that is not ours may have no GPU made of software. */
let isThere = false;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'webgpu-'));
  for (const name of ['SmolVLM', 'Qwen2-VL']) await writeTinyFamily(join(folder, name), FAMILIES[name]!);
  const { outputFiles } = await bundle({ entryPoints: [join(root, 'test/browser/page.ts')] });
  const html = '<!doctype html><link rel="icon" href="data:,"><script type="module" src="page.js"></script>';
  site = await serve({
    '/': { '': html, 'page.js': outputFiles![0]!.text },
    '/models/': folder,
    '/models/llava-scenes/': join(root, 'demo-model/llava-scenes'),
    '/ort/': ortFolder,
    '/fixtures/': join(root, 'test/graph/fixtures'),
  });
  browser = await startBrowser([...SOFTWARE_GPU, '--js-flags=--expose-gc']);
  page = await browser.newPage();
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('console', (message) => {
    if (message.type() === 'error') errors.push(message.text());
  });
  await page.goto(site.address);
  await page.waitForFunction('window.bridge');
  isThere = await hasGpu(page);
});
afterAll(async () => {
  await browser?.close();
  await site?.close();
  await rm(folder, { recursive: true });
});
beforeEach(({ skip }) => {
  skip(!isThere, 'this browser has no WebGPU');
  errors.length = 0;
});

function largestDifference(one: readonly number[], other: readonly number[]): number {
  return Math.max(...one.map((value, i) => Math.abs(value - other[i]!)));
}

const faults = () => page.evaluate('bridge.faults');

describe('a tiny SmolVLM in a browser, on WebGPU', () => {
  let given: Given;

  beforeAll(async () => {
    if (isThere) await page.evaluate("bridge.load('SmolVLM', [], 'webgpu')");
    const loaded = (await library.loadElastic(join(folder, 'SmolVLM'))) as library.LoadedVisionModel;
    // Pictures are read by a session of transformers.js's, whose kernels take a processor long to compile.
    given = { library, loaded, images: [] };
    return () => loaded.model.dispose();
  });

  const script: Script = {
    prompts: ['w1 w2 w3', 'w4 w5', 'w6'],
    policy: 'snapkv',
    budget: 0.3,
    newTokens: 10,
  };

  it.each([
    // Keys are looked at when a turn is compressed, attention at every step, and each head chooses for itself.
    ...(['elastic-plus', 'h2o'] as const).map((policy) => ['alone', policy] as const),
    ['together', 'h2o'],
    ['engine', 'snapkv'],
  ] as const)('%s, with %s, it says what it says in Node', async (play, policy) => {
    const own = { ...script, policy };
    const played = page.evaluate(([play, script]) => window.bridge.play(play, script), [play, own] as const);
    expect(await played).toEqual(await plays[play](given, own));
    expect(errors).toEqual([]);
    expect(await faults()).toEqual([]);
  });

  it("writes where its past lies, by ONNX Runtime's own attention, and has nothing to say about it", async () => {
    expect(await page.evaluate('bridge.notes()')).toEqual([]);
    const counts = (await page.evaluate('bridge.stepCounts(1, 12, "snapkv")')) as GpuCounts[];
    // Of a whole cache nothing is written there by the host but the embedding, lengths and biases.
    expect(Math.max(...counts.slice(-4, -1).map(({ bytesUp }) => bytesUp))).toBeLessThan(BYTES_UP);
  });

  it('a step waits for the GPU once for its decoder, and takes the same memory whatever is held', async () => {
    const counts = (await page.evaluate('bridge.stepCounts(0.3, 40, "snapkv")')) as GpuCounts[];
    // Not before the budget is what it was and all memory is there.
    const late = counts.slice(20, -1);
    // Where the page was slow to listen, a piece of text is of several steps.
    const waits = Math.min(...late.map(({ maps }) => maps));
    // Once for the decoder and once for the embedding, which is a session of transformers.js's.
    expect(waits).toBe(2);
    const [first, ...rest] = late.filter(({ maps }) => maps === waits);
    expect(rest.length).toBeGreaterThan(5);
    const vocabulary = 4 * given.loaded.tokenizer.get_vocab().size;
    // Logits and new rows.
    expect(first!.bytesDown).toBeLessThan(8 * vocabulary);
    // A row is put into the place of each that goes, by one dispatch a layer, and not in every step one does.
    const least = Math.min(...late.map(({ dispatches }) => dispatches));
    for (const each of rest) {
      const { maps, bytesDown, buffersMade } = first!;
      expect(each).toMatchObject({ maps, bytesDown, buffersMade });
      expect([0, 2]).toContain(each.dispatches - least);
      // Those of a cache that was collected meanwhile may be among them.
      expect(each.buffersGone).toBeGreaterThanOrEqual(buffersMade);
    }
    // Heads that hold different numbers of entries take the same operators, and each new row is put behind the others of its head.
    const unequal = (await page.evaluate('bridge.stepCounts(0.3, 40, "elastic-plus")')) as GpuCounts[];
    const steps = unequal.slice(20, -1).filter(({ maps }) => maps === waits);
    expect(new Set(steps.map(({ dispatches }) => dispatches))).toEqual(new Set([least + 2]));
  });

  it('fifty answers leave no more memory than one, whether their caches are reset or left to the browser', async () => {
    const bytes = (end: 'reset' | 'left', count: number) =>
      page.evaluate(([end, count]) => window.bridge.bytesAfter(end, count), [end, count] as const);
    await bytes('reset', 1);
    expect(await bytes('reset', 25)).toBe(0);
    // Each has 17 kB there, and some of the last may not have been collected.
    expect(await bytes('left', 25)).toBeLessThan(5 * 17_152);
  });
});

it('a tiny Qwen2-VL, whose positions are three for each token, says on WebGPU what it says in Node', async () => {
  await page.evaluate("bridge.load('Qwen2-VL', [], 'webgpu')");
  const loaded = (await library.loadElastic(join(folder, 'Qwen2-VL'))) as library.LoadedVisionModel;
  const script: Script = { prompts: ['w1 w2 w3', 'w4 w5'], policy: 'pyramidkv', budget: 0.3, newTokens: 8 };
  const played = page.evaluate((script) => window.bridge.play('together', script), script);
  expect(await played).toEqual(await plays.together({ library, loaded, images: [] }, script));
  await loaded.model.dispose();
  expect(await page.evaluate('bridge.notes()')).toEqual([]);
  expect(await faults()).toEqual([]);
});

describe('on WebGPU', () => {
  it("where ONNX Runtime's attention is wrong, steps attend in single operators, and the model says so", async () => {
    const other = await browser.newPage();
    await other.goto(`${site.address}?spoilt`);
    await other.waitForFunction('window.bridge');
    const run = (device: string) =>
      other.evaluate(
        (device) => window.bridge.runFixture('fixtures/genai-grouped.onnx', device, [21, 1]),
        device,
      );
    const { logits, notes } = await run('webgpu');
    expect(notes).toEqual([
      expect.stringMatching(
        /^ONNX Runtime's own attention is off by [\d.]+% on this GPU, so steps attend in single operators/,
      ),
    ]);
    expect(largestDifference(logits, (await run('wasm')).logits)).toBeLessThan(1e-4);
    await other.close();
  });

  it('rows are on the GPU what they are on the host, whatever happens to them', async () => {
    await page.evaluate('bridge.copiesAreEqual(60)');
    expect(await faults()).toEqual([]);
  });

  it('what is more than a buffer takes comes down in pieces', async () => {
    expect(await page.evaluate('bridge.comesDown([10, 3, 7, 25, 1, 2], 80)')).toBe(3);
    expect(await page.evaluate('bridge.comesDown([10, 3, 7, 25, 1, 2], 1000)')).toBe(1);
  });

  it('numbers that this GPU does not take are refused by name', async () => {
    const refusal = (task: string) => page.evaluate(`bridge.refusal(() => ${task})`);
    // Its inputs and outputs are floats of 32 bits: what is within counts.
    expect(await refusal("bridge.openDecoder('fixtures/quantised-half.onnx')")).toMatch(
      /^invalid-option: .*-half\.onnx computes in half precision, which this GPU has not \(shader-f16\); load dtype "q4" or "fp32"/,
    );
    expect(
      await refusal("bridge.library.loadElastic('SmolVLM', { device: 'webgpu', kvFormat: 'int8' })"),
    ).toMatch(/^invalid-option: kvFormat "int8" is for the host: WebGPU reads no numbers of 8 bits/);
  });

  it('a file of ONNX Runtime that knows no GPU is named', async () => {
    const other = await browser.newPage();
    await other.goto(site.address);
    await other.waitForFunction('window.bridge');
    const file = '/ort/ort-wasm-simd-threaded';
    await other.evaluate(
      `bridge.env.backends.onnx.wasm.wasmPaths = { mjs: '${file}.mjs', wasm: '${file}.wasm' }`,
    );
    const load = (device: string) =>
      other.evaluate(`bridge.refusal(() => bridge.load('SmolVLM', [], '${device}'))`);
    expect(await load('webgpu')).toMatch(
      /^invalid-option: env\.backends\.onnx\.wasm\.wasmPaths names a file of ONNX Runtime's that runs nothing on a GPU/,
    );
    expect(await load('wasm')).toBe('nothing was thrown');
    await other.close();
  });

  it('the embedded model says what it says in Node, and goes on without the GPU when that is taken away', async () => {
    const loaded = await library.loadElastic(join(root, 'demo-model/llava-scenes'));
    const cache = new library.ElasticCache({ policy: 'snapkv', budget: 0.5 });
    const prompts = [
      'USER: What is in the picture? ASSISTANT:',
      ' USER: And what colour is it? ASSISTANT:',
    ].map((text) => Array.from(loaded.tokenizer(text).input_ids.data as BigInt64Array, Number));
    let text: number[] = [];
    for (const prompt of prompts) {
      text = [...text, ...prompt];
      const input_ids = new Tensor('int64', BigInt64Array.from(text, BigInt), [1, text.length]);
      const all = await loaded.model.generate({
        ...{ input_ids, past_key_values: cache },
        ...{ max_new_tokens: 8, do_sample: false },
      });
      text = Array.from(all.data as BigInt64Array, Number);
    }
    await loaded.model.dispose();
    const { thrown, tokens } = await page.evaluate((all) => window.bridge.afterLoss(all), prompts);
    expect(thrown).toMatch(/^device-lost: The browser has taken the GPU away/);
    expect(tokens).toEqual(text);
  });
});
