import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { embeddedImage } from '../../src/index.js';
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

async function open(path: string, width = 1200): Promise<Page> {
  const page = await browser.newPage({ viewport: { width, height: 800 } });
  // What a page's own policy forbids is told here too.
  page.on('console', (said) => said.type() === 'error' && complaints.push(said.text()));
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('request', (request) => {
    if (!request.url().startsWith(server.url) && !request.url().startsWith('data:'))
      complaints.push(request.url());
  });
  await page.goto(server.url + path);
  return page;
}

describe('in a browser', () => {
  it('/ asks about a picture, and shows what the cache held', async () => {
    const page = await open('/');
    await page.setInputFiles('#file', embeddedImage(1));
    await page.fill('#prompt', 'How many objects are there?');
    await page.selectOption('#budget', '0.5');
    await page.click('button');
    await page.waitForFunction(() => document.getElementById('took')!.textContent !== '');
    expect(await page.textContent('#answer')).toBe('5');
    expect(await page.textContent('#took')).toMatch(
      /^\d+ tokens asked, \d+ answered, 29\d of 5\d\d held in [\d.]+ MB of [\d.]+$/,
    );
    await page.fill('#prompt', '<image>');
    await page.click('button');
    await page.waitForSelector('#answer.wrong');
    expect(await page.textContent('#answer')).toContain('<image>');
    await page.close();
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
      expect(headers.get('content-security-policy')).toMatch(/default-src 'none'.*script-src 'nonce-/);
      await page.close();
      expect(complaints.filter((text) => !/400 \(Bad Request\)/.test(text))).toEqual([]);
    },
  );
});
