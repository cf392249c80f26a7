import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RawImage } from '@huggingface/transformers';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import * as library from '../../src/index.js';
import { FAMILIES, writeTinyFamily } from '../families/tiny-families.js';
import { bundle, ortFolder, root } from './bundles.js';
import { type Given, plays, type Script } from './conversations.js';
import { startBrowser } from './find-browser.js';
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

/** A picture of one colour: how it is scaled, which browsers do otherwise, makes no difference. */
function plain(...colour: [number, number, number]): RawImage {
  const data = Uint8ClampedArray.from({ length: 32 * 32 * 3 }, (_, i) => colour[i % 3]!);
  return new RawImage(data, 32, 32, 3);
}

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
