import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readImage, type WebAccess } from '../../src/models/images/read-image.js';
import { allowedAddresses, checkedLookup } from '../../src/platform/node/images/web-address.js';

let server: Server;
let origin: string;
let png: Buffer;
const asked: string[] = [];

const answers: Record<string, RequestListener> = {
  '/image.png': (_, response) => response.end(png),
  '/moved': (_, response) => response.writeHead(302, { location: '/image.png' }).end(),
  '/metadata': (_, response) => response.writeHead(302, { location: 'http://169.254.169.254/latest' }).end(),
  '/file': (_, response) => response.writeHead(301, { location: 'file:///etc/hostname' }).end(),
  '/round': (_, response) => response.writeHead(307, { location: '/round' }).end(),
  '/told-large': (_, response) => response.writeHead(200, { 'content-length': 60e6 }).write('x'),
  '/large': (_, response) => {
    const send = () => {
      while (!response.destroyed && response.write(Buffer.alloc(1e6)));
      if (!response.destroyed) response.once('drain', send);
    };
    send();
  },
};

beforeAll(async () => {
  png = await sharp({ create: { width: 8, height: 6, channels: 3, background: 'teal' } })
    .png()
    .toBuffer();
  server = createServer((request, response) => {
    asked.push(request.url!);
    const known = answers[request.url!];
    if (known) known(request, response);
    else response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterAll(() => {
  server.closeAllConnections();
  server.close();
});

const read = (path: string, web?: WebAccess) => readImage(`${origin}${path}`, web ? { web } : {});

describe('an image from the web', () => {
  it('is read', async () => {
    expect(await read('/image.png')).toMatchObject({ width: 8, height: 6 });
    expect(await readImage(new URL(`${origin}/image.png`), { web: 'any' })).toMatchObject({ width: 8 });
    expect(await read('/moved', 'any')).toMatchObject({ width: 8 });
  });

  it.each<[string, WebAccess, RegExp]>([
    ['/nothing', 'local', /cannot be fetched: the server answers with status 404/],
    ['/round', 'any', /leads on more than 5 times/],
    ['/told-large', 'local', /more than 50\.0 MB/],
    ['/large', 'local', /more than 50\.0 MB/],
    ['/file', 'any', /leads to file: instead of http: or https:/],
  ])('%s is refused in a sentence', async (path, web, message) => {
    await expect(read(path, web)).rejects.toMatchObject({
      code: 'download-failed',
      message: expect.stringMatching(message),
    });
  });

  it.each<[string, WebAccess]>([
    ['/metadata', 'local'],
    // Where it is another who names this machine.
    ['/moved', 'local'],
    ['/image.png', 'public'],
    ['/image.png', 'none'],
  ])('%s is not asked for with "%s"', async (path, web) => {
    const before = asked.length;
    await expect(read(path, web)).rejects.toMatchObject({ code: 'download-failed' });
    expect(asked.slice(before)).toEqual(path === '/image.png' ? [] : [path]);
  });

  it('tells nobody the password that stands in its address', async () => {
    const address = `${origin.replace('//', '//me:secret@')}/nothing`;
    await expect(readImage(address)).rejects.toThrow(/^image http:\/\/127\.0\.0\.1/);
  });
});

describe('addresses', () => {
  const inside = [
    ...['127.0.0.1', '127.8.9.1', '10.1.2.3', '172.16.0.1', '192.168.1.1', '169.254.169.254', '100.64.0.1'],
    ...['0.0.0.0', '255.255.255.255', '224.0.0.1', '::1', '::', 'fe80::1', 'fd00::1', 'ff02::1'],
    ...['::ffff:127.0.0.1', '::ffff:10.0.0.1', '::127.0.0.1', '64:ff9b::7f00:1', '2002:7f00:1::'],
  ];
  const outside = ['93.184.216.34', '8.8.8.8', '172.32.0.1', '2606:4700::1111', '::ffff:8.8.8.8'];

  it('of the internet and of networks inside are told apart', () => {
    const allowed = allowedAddresses(new URL('http://example.com'), 'public', true);
    expect(inside.filter(allowed)).toEqual([]);
    expect(outside.filter(allowed)).toEqual(outside);
  });

  it('of this machine are allowed where they are named, and by nobody else', () => {
    for (const host of ['localhost', '127.0.0.1', '[::1]', '0x7f.1']) {
      const url = new URL(`http://${host}:80/`);
      expect(allowedAddresses(url, 'local', true)('127.0.0.1')).toBe(true);
      expect(allowedAddresses(url, 'local', false)('127.0.0.1')).toBe(false);
      expect(allowedAddresses(url, 'public', true)('127.0.0.1')).toBe(false);
    }
    expect(allowedAddresses(new URL('http://example.com'), 'local', true)('127.0.0.1')).toBe(false);
    expect(allowedAddresses(new URL('http://192.168.1.1'), 'local', true)('192.168.1.1')).toBe(false);
  });

  it('are looked at before a connection is made to them', async () => {
    const found = (allowed: boolean) =>
      new Promise((resolve) => {
        checkedLookup(() => allowed)('localhost', { all: true }, (error, addresses) =>
          resolve(error ?? addresses),
        );
      });
    expect(await found(false)).toMatchObject({
      message: expect.stringMatching(/^localhost leads to (127|::1)/),
    });
    expect(await found(true)).toContainEqual(expect.objectContaining({ address: expect.any(String) }));
  });
});
