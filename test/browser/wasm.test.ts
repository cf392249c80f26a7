import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import * as library from '../../src/index.js';
import { FAMILIES, writeTinyFamily } from '../families/tiny-families.js';
import { bundle, ortFolder, root } from './bundles.js';
import { type Given, plays, type Script } from './conversations.js';
import { startBrowser } from './find-browser.js';
import { plain } from './pictures.js';
import { type Site, serve } from './serve.js';

let folder: string;
let site: Site;
let browser: Browser;
let page: Page;
const errors: string[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'browser-'));
  for (const name of ['SmolVLM', 'Qwen2-VL']) await writeTinyFamily(join(folder, name), FAMILIES[name]!);
  const { outputFiles } = await bundle({ entryPoints: [join(root, 'test/browser/page.ts')] });
  const html = '<!doctype html><link rel="icon" href="data:,"><script type="module" src="page.js"></script>';
  site = await serve({
    '/': { '': html, 'page.js': outputFiles![0]!.text },
    '/models/': folder,
    '/hub/tiny/model/resolve/main/': join(folder, 'SmolVLM'),
    '/models/llava-scenes/': join(root, 'demo-model/llava-scenes'),
    '/samples/': join(root, 'demo-model/samples'),
    '/ort/': ortFolder,
  });
  browser = await startBrowser();
  page = await browser.newPage();
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('console', (message) => {
    if (message.type() === 'error') errors.push(message.text());
  });
  await page.goto(site.address);
  await page.waitForFunction('window.bridge');
});
afterAll(async () => {
  await browser?.close();
  await site?.close();
  await rm(folder, { recursive: true });
});

describe.each(['SmolVLM', 'Qwen2-VL'])('a tiny %s in a browser, on WebAssembly', (name) => {
  const images = [plain(200, 40, 90), plain(20, 160, 250)];
  let given: Given;

  beforeAll(async () => {
    const pictures = images.map(({ data, width, height }) => ({ data: Array.from(data), width, height }));
    await page.evaluate(([id, pictures]) => window.bridge.load(id, pictures), [name, pictures] as const);
    const loaded = (await library.loadElastic(join(folder, name))) as library.LoadedVisionModel;
    given = { library, loaded, images };
    return () => loaded.model.dispose();
  });
  beforeEach(() => {
    errors.length = 0;
  });

  const script: Script = {
    prompts: ['w1 w2 w3', 'w4 w5', 'w6'],
    policy: 'snapkv',
    budget: 0.3,
    newTokens: 10,
  };
  const played = (play: keyof typeof plays, script: Script) =>
    page.evaluate(([play, script]) => window.bridge.play(play, script), [play, script] as const);

  it.each([
    ...(['snapkv', 'full', 'elastic', 'elastic-plus', 'h2o', 'pyramidkv'] as const).map(
      (policy) => ['alone', policy] as const,
    ),
    ['ended', 'snapkv'],
    ['together', 'snapkv'],
    ['engine', 'snapkv'],
  ] as const)('%s, with %s, it says what it says in Node', async (play, policy) => {
    const own = { ...script, policy };
    const inNode = await plays[play](given, own);
    expect(await played(play, own)).toEqual(inNode);
    expect(errors).toEqual([]);
    if (play === 'ended') expect(inNode[0]!.reasons).toContain('aborted');
    if (play === 'together') expect(inNode[0]).toEqual((await plays.alone(given, own))[0]);
  });
});

describe('in a browser', () => {
  const refusal = (task: string) => page.evaluate(`bridge.refusal(async () => { ${task} })`);
  const pixels = (source: string) =>
    page.evaluate(
      `bridge.library.readImage(${source}).then(({ width, height, channels, data }) => [width, height, channels, ...data.slice(0, 3)])`,
    );

  it('a model of the Hub is fetched once into the cache of transformers.js', async () => {
    const weights = ['decoder_model_merged', 'embed_tokens', 'vision_encoder'].map(
      (name) => `/hub/tiny/model/resolve/main/onnx/${name}.onnx`,
    );
    await page.evaluate(
      `Object.assign(bridge.env, { remoteHost: '${site.address}hub/', allowRemoteModels: true, allowLocalModels: false })`,
    );
    try {
      for (const fetched of [1, 0]) {
        site.asked.length = 0;
        await page.evaluate("bridge.load('tiny/model', [])");
        expect(weights.map((file) => site.asked.filter((path) => path === file).length)).toEqual(
          weights.map(() => fetched),
        );
      }
      const kept = await page.evaluate(
        "caches.open('transformers-cache').then((cache) => cache.keys()).then((keys) => keys.map(({ url }) => new URL(url).pathname))",
      );
      expect(kept).toEqual(expect.arrayContaining(weights));
      expect(kept).not.toContainEqual(expect.stringContaining('elastic-cache'));
      expect(await refusal("await bridge.library.loadElastic('tiny/none')")).toMatch(
        /^missing-file: config\.json of tiny\/none|^(missing-file|download-failed): tiny\/none/,
      );
    } finally {
      await page.evaluate('Object.assign(bridge.env, { allowRemoteModels: false, allowLocalModels: true })');
    }
  });

  it('pictures are read from addresses, bytes and blobs, what is transparent on white', async () => {
    const red = [1, 1, 3, 255, 0, 0];
    expect(await pixels("'samples/01.png'")).toEqual([
      336,
      336,
      3,
      expect.any(Number),
      expect.any(Number),
      expect.any(Number),
    ]);
    const drawn = (fill: string) =>
      `(async () => { const canvas = new OffscreenCanvas(1, 1); const context = canvas.getContext('2d'); context.fillStyle = '${fill}'; context.fillRect(0, 0, 1, 1); return canvas.convertToBlob(); })()`;
    const read = (fill: string, as: string) =>
      page.evaluate(
        `${drawn(fill)}.then(async (blob) => bridge.library.readImage(${as})).then(({ width, height, channels, data }) => [width, height, channels, ...data])`,
      );
    expect(await read('#f00', 'blob')).toEqual(red);
    expect(await read('#f00', 'new Uint8Array(await blob.arrayBuffer())')).toEqual(red);
    expect(await read('rgba(0, 0, 0, 0)', 'blob')).toEqual([1, 1, 3, 255, 255, 255]);
    expect(await refusal('await bridge.library.readImage(new Uint8Array(4))')).toMatch(
      /^invalid-image: image of 4 bytes is not an image/,
    );
    expect(await refusal("await bridge.library.readImage('file:///etc/passwd')")).toMatch(
      /^missing-file: .* is a file, which no page may read/,
    );
    expect(await refusal("await bridge.library.readImage('samples/nothing.png')")).toMatch(
      /^download-failed: .* status 404/,
    );
  });

  it('what a page cannot do is refused in one sentence', async () => {
    const load = (options: string) => refusal(`await bridge.library.loadElastic('SmolVLM', ${options})`);
    // This one knows WebGPU, and is told of no GPU.
    expect(await load("{ device: 'webgpu' }")).toMatch(
      /^invalid-option: This browser knows WebGPU and has no GPU for it here; load the model with device "wasm"/,
    );
    expect(await load("{ device: 'cuda' }")).toMatch(
      /^invalid-option: Device "cuda" is not one that a decoder runs on here; use one of: wasm/,
    );
    expect(await load('{ threads: 2 }')).toMatch(
      /^invalid-option: In a browser all models share their threads/,
    );
    expect(await refusal("await bridge.library.createEngine('SmolVLM')")).toMatch(
      /^invalid-option: In a browser an engine takes a model that is loaded/,
    );
    expect(await refusal("await bridge.library.loadElastic('./models/x')")).toMatch(
      /^missing-file: "\.\/models\/x" is no model id/,
    );
  });

  it('a run that fails stops no other', async () => {
    await page.evaluate("bridge.load('SmolVLM', [])");
    const wrong =
      "const { model, tokenizer } = bridge.given().loaded; const inputs = tokenizer('w1 w2'); inputs.input_ids.data.fill(9999n); await model.generate({ ...inputs, max_new_tokens: 2 });";
    expect(await refusal(wrong)).toMatch(/^invalid-prompt: /);
    expect(await refusal(wrong.replace('inputs.input_ids.data.fill(9999n);', ''))).toBe('nothing was thrown');
  });
});
