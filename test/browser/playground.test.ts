import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { FAMILIES, writeTinyFamily } from '../families/tiny-families.js';
import { ask as asked } from './ask.js';
import { root } from './bundles.js';
import { hasGpu, SOFTWARE_GPU, startBrowser } from './find-browser.js';

const cli = join(root, 'dist/cli/main.js');
/** Where models are that are loaded by name; what stands for it here is a folder. */
const HUB = 'https://huggingface.co';
const QUESTION = 'What do you see in the middle left?';

let server: ChildProcess;
let address: string;
let browser: Browser;
let page: Page;
let isOpen = false;
/** Whatever went wrong in the page, or was asked of another machine. */
const wrong: string[] = [];

beforeAll(async () => {
  server = spawn(process.execPath, [cli, 'playground', '--port', '0'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  address = await new Promise<string>((resolve) => {
    server.stderr!.on('data', (text) => {
      const found = /http:\/\/127\.0\.0\.1:\d+\//.exec(String(text));
      if (found) resolve(found[0]);
    });
  });
  browser = await startBrowser();
});
afterAll(async () => {
  await browser?.close();
  server?.kill();
});
afterEach(async () => {
  if (isOpen) await page.context().close();
  isOpen = false;
});

async function openPage(options: BrowserContextOptions = {}, within = browser): Promise<void> {
  wrong.length = 0;
  const context = await within.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  page = await context.newPage();
  isOpen = true;
  page.on('pageerror', (error) => wrong.push(String(error)));
  page.on('console', (message) => {
    if (message.type() === 'error') wrong.push(message.text());
  });
  page.on('request', (request) => {
    if (!request.url().startsWith(address) && !/^(data|blob):/.test(request.url())) wrong.push(request.url());
  });
  await page.goto(address);
  await ready();
}

const ready = () => page.waitForSelector('#send:not([disabled])', { timeout: 60_000 });
const textOf = (selector: string) => page.textContent(selector);
const numberOf = (side: string, what: string) => textOf(`#${side} [data-of="${what}"]`);

const ask = (question: string) => asked(page, question, () => page.keyboard.press('Enter'));

describe('the playground', () => {
  it('compares two answers, turn by turn, and shows what is kept of the picture', async () => {
    await openPage();
    await ask(QUESTION);
    expect(await textOf('#whole .turn:last-child .said')).toBe('a large brown striped diamond');
    expect(await textOf('#part .turn:last-child .said')).not.toBe('');
    // A fifth of the entries, in a fifth of the bytes.
    const [held, seen] = (await numberOf('part', 'entries'))!.split(' of ').map(Number) as [number, number];
    expect(held).toBe(Math.floor(0.2 * seen));
    expect(await numberOf('whole', 'entries')).toBe(`${seen} of ${seen}`);
    expect(await numberOf('part', 'bytes')).toMatch(/kB$/);
    expect(await numberOf('whole', 'bytes')).toMatch(/MB$/);
    expect(await numberOf('part', 'speed')).toMatch(/^[\d.]+ tokens\/s$/);
    const kept = await textOf('#kept');
    expect(kept).toMatch(/^\d+ % of its 576 patches are held over all layers\./);
    await page.selectOption('#layer', '1');
    expect(await textOf('#kept')).toMatch(/held in layer 1\./);

    await ask('What word is printed?');
    expect(await page.locator('#whole .turn').count()).toBe(2);
    expect(await textOf('#whole .turn:last-child .said')).toBe('BOX');

    // What is kept is another: the conversation begins anew, with the picture that is there.
    await page.locator('#budget').fill('50');
    expect(await textOf('#part-title')).toBe('50 % of the cache');
    expect(await page.locator('.turn').count()).toBe(0);
    await page.selectOption('#policy', 'snapkv');
    await ask(QUESTION);
    const [half, all] = (await numberOf('part', 'entries'))!.split(' of ').map(Number) as [number, number];
    expect(half).toBe(Math.floor(0.5 * all));
    expect(wrong).toEqual([]);
  });

  it('is used by keyboard alone, stops an answer, and takes a picture of the user', async () => {
    await openPage({ viewport: { width: 390, height: 844 }, colorScheme: 'dark' });
    // By its file, as one is chosen; a scene with another word.
    await page.setInputFiles('#file', join(root, 'demo-model/samples/03.png'));
    await expect.poll(() => page.getAttribute('#canvas', 'aria-label')).toContain('03.png');
    await page.focus('#prompt');
    await page.keyboard.press('Control+A');
    await page.keyboard.type('Describe the image in detail.');
    await page.keyboard.press('Tab');
    expect(await page.evaluate('document.activeElement.id')).toBe('send');
    await page.keyboard.press('Enter');
    await expect
      .poll(async () => (await textOf('#part .said'))!.length, { timeout: 60_000 })
      .toBeGreaterThan(20);
    await page.click('#stop');
    await ready();
    expect(await textOf('#status')).toMatch(/^(Stopped|Both have answered)/);
    expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true);
    // A file that is none says so, and the page goes on.
    await page.setInputFiles('#file', {
      name: 'no.png',
      mimeType: 'image/png',
      buffer: Buffer.from('no picture'),
    });
    await expect.poll(() => textOf('#error')).toContain('no.png');
    expect(wrong).toEqual([]);
  });

  it('runs a model of the Hub by its name, and fetches it once', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'hub-'));
    try {
      await writeTinyFamily(folder, FAMILIES.SmolVLM!);
      await openPage();
      const asked: string[] = [];
      await page.context().route(`${HUB}/**`, async (route) => {
        const path = new URL(route.request().url()).pathname;
        const found = /^\/tiny\/model\/resolve\/main\/(.+)$/.exec(path)?.[1];
        // A request for one byte asks whether a file is there.
        if (!route.request().headers().range) asked.push(found ?? path);
        const body = found && (await readFile(join(folder, found)).catch(() => undefined));
        const headers = { 'access-control-allow-origin': '*', 'access-control-expose-headers': '*' };
        await route.fulfill(body ? { status: 200, headers, body } : { status: 404, headers });
      });
      const load = async (id: string) => {
        await page.fill('#model', id);
        await page.click('#model-form button[type=submit]');
      };
      await page.click('summary');
      await load('tiny/model');
      await page.waitForSelector('#error:not([hidden])');
      expect(await textOf('#error')).toMatch(/^tiny\/model has no .*; set dtype to one it has: fp32/);
      await page.selectOption('#dtype', 'fp32');
      for (const times of [1, 0]) {
        asked.length = 0;
        await load('tiny/model');
        expect(await textOf('#status')).toBe('Loading tiny/model.');
        await expect.poll(() => textOf('#status'), { timeout: 60_000 }).toBe('The model is loaded.');
        expect(await textOf('#model-name')).toBe('tiny/model');
        const weights = asked.filter((each) => each === 'onnx/decoder_model_merged.onnx');
        expect(weights.length).toBe(times);
      }
      await ask('w1 w2 w3');
      for (const side of ['part', 'whole']) expect(await numberOf(side, 'entries')).toMatch(/^\d+ of \d+$/);
      expect(await textOf('#kept')).toMatch(/patches are held over all layers/);
      await load('tiny/other');
      await page.waitForSelector('#error:not([hidden])');
      expect(await textOf('#error')).toMatch(/tiny\/other/);
      // It says words until its tables end, and some files it has not.
      const expected = [HUB, 'status of 404', 'position_ids value 128'];
      expect(wrong.filter((each) => !expected.some((part) => each.includes(part)))).toEqual([]);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('says in a sentence what is wrong with a model', async () => {
    await openPage();
    await page.click('summary');
    await page.fill('#model', '../nothing');
    await page.click('#model-form button[type=submit]');
    await page.waitForSelector('#error:not([hidden])');
    expect(await textOf('#error')).toMatch(/is no model id of the form owner\/name/);
    expect(await textOf('#model-box summary')).toBe('Model: none is loaded');
    expect(await page.isHidden('#device')).toBe(true);
    // On a narrow page it is far from what was pressed.
    await page.setViewportSize({ width: 390, height: 700 });
    await page.fill('#model', '../nothing more');
    await page.click('#model-form button[type=submit]');
    await expect.poll(() => textOf('#error')).toContain('nothing more');
    const { top, bottom } = (await page.evaluate(
      "document.querySelector('#error').getBoundingClientRect().toJSON()",
    )) as DOMRect;
    expect([top >= 0, bottom <= 700]).toEqual([true, true]);
    expect(wrong).toEqual([]);
  });

  it('runs a model on the GPU where it is asked to, and says what it runs on', async ({ skip }) => {
    await openPage();
    expect(await textOf('#device')).toMatch(/^WebAssembly, \d+ threads?$/);
    expect(await textOf('#runs-on-hint')).toMatch(/^This browser has WebGPU, and no GPU for it/);
    expect(await page.isDisabled('#runs-on option[value=webgpu]')).toBe(true);
    await page.context().close();
    const withGpu = await startBrowser(SOFTWARE_GPU);
    try {
      await openPage({}, withGpu);
      skip(!(await hasGpu(page)), 'this browser has no WebGPU');
      await expect.poll(() => textOf('#runs-on-hint')).toMatch(/^WebGPU is there: google swiftshader/);
      // It is made of software, so nothing runs there unless asked to.
      expect(await page.inputValue('#runs-on')).toBe('wasm');
      await page.click('summary');
      await page.selectOption('#runs-on', 'webgpu');
      await page.click('#embedded');
      await expect.poll(() => textOf('#device'), { timeout: 60_000 }).toBe('WebGPU, google swiftshader');
      expect(wrong).toEqual([]);
    } finally {
      isOpen = false;
      await withGpu.close();
    }
  });

  it('is written as static files', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'site-'));
    try {
      const code = await new Promise((resolve) =>
        spawn(process.execPath, [cli, 'playground', '--out', join(folder, 'site')], { stdio: 'ignore' }).on(
          'exit',
          resolve,
        ),
      );
      expect(code).toBe(0);
      const files = await readdir(join(folder, 'site'));
      expect(files.sort()).toEqual(['assets', 'index.html', 'models', 'ort', 'samples']);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
