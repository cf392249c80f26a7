import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { embeddedImage } from '../../src/index.js';
import { Keys } from '../../src/server/limits/keys.js';
import { ask as asked } from '../browser/ask.js';
import { startBrowser } from '../browser/find-browser.js';
import { type Running, serving } from './running-server.js';

let server: Running;
let browser: Browser;
const complaints: string[] = [];

beforeAll(async () => {
  [server, browser] = await Promise.all([serving(), startBrowser()]);
});
afterAll(async () => {
  await browser?.close();
  await server?.stop();
});

const status = async () =>
  (await (await fetch(`${server.url}/status.json`)).json()) as { cachedTokens: number };

async function open(path: string, width = 1200): Promise<Page> {
  const page = await browser.newPage({ viewport: { width, height: 800 } });
  // What a page's own policy forbids is told here too.
  page.on('console', (said) => said.type() === 'error' && complaints.push(said.text()));
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('request', (request) => {
    if (!request.url().startsWith(server.url) && !/^(data|blob):/.test(request.url()))
      complaints.push(request.url());
  });
  await page.goto(server.url + path);
  return page;
}

describe('in a browser', () => {
  it('/ compares two answers of the server, turn by turn, and says what is wrong', async () => {
    const page = await open('/');
    const ready = () => page.waitForSelector('#send:not([disabled])');
    const ask = (question: string) => asked(page, question, () => page.click('#send'));
    await ready();
    expect(await page.isVisible('#model-box')).toBe(false);
    expect(await page.textContent('#device')).toBe('llava-scenes');
    await page.setInputFiles('#file', embeddedImage(1));
    await page.waitForFunction(() => !document.getElementById('canvas')!.ariaLabel?.includes('sample'));
    await ask('How many objects are there?');
    const number = (side: string, what: string) => page.textContent(`#${side} [data-of="${what}"]`);
    expect(await page.textContent('#whole .said')).toBe('5');
    const [held, seen] = (await number('part', 'entries'))!.split(' of ').map(Number) as [number, number];
    expect([held, await number('whole', 'entries')]).toEqual([Math.floor(0.2 * seen), `${seen} of ${seen}`]);
    expect(await number('part', 'bytes')).toMatch(/kB$/);
    const { cachedTokens } = await status();
    await ask('What is printed?');
    expect(await page.locator('#whole .turn').count()).toBe(2);
    expect((await status()).cachedTokens - cachedTokens).toBeGreaterThan(1100);
    await page.fill('#prompt', '<image>');
    await page.click('#send');
    await page.waitForSelector('#error:not([hidden])');
    expect(await page.textContent('#error')).toContain('<image>');
    await page.close();
  });

  it('/ asks for a key where one is needed', async () => {
    const guarded = await serving({ keys: new Keys('sk-secret') });
    const page = await browser.newPage();
    await page.goto(guarded.url);
    await page.waitForSelector('#key-form:not([hidden])');
    await page.fill('#key', 'sk-wrong');
    await page.keyboard.press('Enter');
    await page.waitForSelector('#error:not([hidden])');
    expect(await page.textContent('#error')).toContain('The key is none of this server');
    await page.fill('#key', 'sk-secret');
    await page.keyboard.press('Enter');
    await page.waitForSelector('#send:not([disabled])');
    expect(await page.isVisible('#key-form')).toBe(false);
    await page.close();
    await guarded.stop();
  });

  it('/status shows lanes as they are taken, and left', async () => {
    const page = await open('/status');
    await page.waitForFunction(() => document.querySelectorAll('#lanes .free').length === 4);
    const left = new AbortController();
    const body = JSON.stringify({
      messages: [{ role: 'user', content: 'Go on' }],
      max_tokens: 3900,
      logit_bias: { 2: -100 },
      stream: true,
    });
    await fetch(`${server.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
      signal: left.signal,
    });
    await page.waitForFunction(() => document.querySelectorAll('#lanes .busy').length === 1);
    expect(await page.textContent('#words')).toContain('1 of 4 lanes run');
    left.abort();
    await page.waitForFunction(() => document.querySelectorAll('#lanes .busy').length === 0);
    expect(await page.locator('svg polyline').count()).toBeGreaterThanOrEqual(4);
    await page.close();
  });

  it.each(['/', '/docs', '/status'])(
    '%s is as wide as a telephone, and asks nothing of anybody else',
    async (path) => {
      const page = await open(path, 360);
      await page.waitForTimeout(300);
      expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(360);
      const { headers } = await fetch(server.url + path);
      expect(headers.get('content-security-policy')).toMatch(/default-src 'none'.*script-src '(nonce-|self)/);
      await page.close();
      expect(complaints.filter((text) => !/400 \(Bad Request\)/.test(text))).toEqual([]);
    },
  );
});
