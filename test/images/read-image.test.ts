import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { RawImage } from '@huggingface/transformers';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ImageSource, readImage } from '../../src/models/images/read-image.js';

const WIDTH = 60;
const HEIGHT = 40;

let directory: string;
let png: Buffer;
const at = (name: string) => join(directory, name);

/** A black disc on nothing. */
const disc = (extra = '') =>
  Buffer.from(
    `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="${WIDTH}" height="${HEIGHT}">${extra}<circle cx="30" cy="20" r="15"/></svg>`,
  );

/** Two colours side by side, of noise so that a JPEG of it is long. */
const noise = sharp(
  Uint8Array.from({ length: WIDTH * HEIGHT * 3 }, (_, i) => (i * 7919) % 251),
  { raw: { width: WIDTH, height: HEIGHT, channels: 3 } },
);

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'elastic-cache-images-'));
  png = await noise.clone().png().toBuffer();
  await writeFile(at('noise.png'), png);
});

afterAll(() => rm(directory, { recursive: true }));

function pixel(image: RawImage, x: number, y: number): number[] {
  const start = (y * image.width + x) * 3;
  return [...image.data.slice(start, start + 3)];
}

describe('readImage takes', () => {
  const sources: [name: string, source: () => ImageSource | Promise<ImageSource>][] = [
    ['a path', () => at('noise.png')],
    ['a file: address', () => pathToFileURL(at('noise.png')).href],
    ['a URL', () => pathToFileURL(at('noise.png'))],
    ['a Buffer', () => png],
    ['bytes within other bytes', () => Buffer.concat([Buffer.alloc(7), png]).subarray(7)],
    ['an ArrayBuffer', () => Uint8Array.from(png).buffer],
    ['a Blob', () => new Blob([Uint8Array.from(png)])],
    ['a base64 data: address', () => `data:image/png;base64,${png.toString('base64')}`],
    ['one that names another type', () => `data:text/plain;charset=x;base64,${png.toString('base64')}`],
    ['one in the alphabet for addresses', () => `data:;base64,${png.toString('base64url')}`],
    [
      'one in percent codes',
      () => `data:image/png,${[...png].map((b) => `%${b.toString(16).padStart(2, '0')}`).join('')}`,
    ],
    ['a RawImage', async () => RawImage.read(new Blob([Uint8Array.from(png)]))],
  ];

  it.each(sources)('%s', async (_, source) => {
    const expected = await noise.clone().raw().toBuffer();
    const image = await readImage(await source());
    expect([image.width, image.height, image.channels]).toEqual([WIDTH, HEIGHT, 3]);
    expect(Buffer.from(image.data).equals(expected)).toBe(true);
  });

  it.each<[unknown, RegExp]>([
    [undefined, /^image cannot be read from a value of type undefined; give a path/],
    [null, /cannot be read from null/],
    [7, /of type number/],
    [Buffer.from('no image'), /^image of 8 bytes is not an image that can be read/],
    [new Uint8Array(0), /^image of 0 bytes is empty/],
    ['a\0b.png', /^image a\?b\.png cannot be opened/],
    [Buffer.from(`BM${'\0'.repeat(60)}`), /^image of 62 bytes is a BMP picture, which cannot be read; give/],
    [Buffer.from([0, 0, 1, 0, 1, 0, 16, 16]), /is an icon \(ICO\)/],
    [Buffer.from([0xff, 0x0a, 1, 2, 3]), /is a JPEG XL picture/],
    [Buffer.from('%PDF-1.4'), /is a PDF document/],
    [Buffer.from('\n<!DOCTYPE html><html>'), /is a web page \(HTML\) and not the picture on it/],
    [Buffer.from('version https://git-lfs.github.com/spec/v1'), /is a pointer of Git LFS/],
    [Buffer.from('\0\0\0\x18ftypmp42'), /is a video/],
    [Buffer.from('{"error": "not found"}'), /is JSON, which cannot be read/],
    [new File(['x'], 'photo.png'), /^image photo\.png is not an image/],
    ['data:image/png;base64,***', /^image in a data URL is not whole/],
    ['data:image/png;base64,AAAA', /^image in a data URL is not an image/],
    ['file://elsewhere/a.png', /names no file here|cannot be opened/],
    [new URL('file:///nowhere/a.png'), /cannot be opened/],
  ])('%s in a sentence of its own', async (source, message) => {
    await expect(readImage(source as ImageSource)).rejects.toThrow(message);
  });

  it('a way to ask the web that there is none of', async () => {
    const reading = readImage('http://127.0.0.1:9/a.png', { web: false as never });
    await expect(reading).rejects.toThrow('web is false; choose one of none, public, local, any.');
  });

  it('options that it has, and no others', async () => {
    const reading = readImage(png, { nmae: 'x' } as object);
    await expect(reading).rejects.toThrow(/readImage has no option "nmae"; .* Did you mean "name"\?/);
  });
});

describe('what is transparent', () => {
  const formats: Record<string, () => Promise<Buffer> | Buffer> = {
    'SVG without a ground': () => disc(),
    PNG: () => sharp(disc()).png().toBuffer(),
    'PNG with a palette': () => sharp(disc()).png({ palette: true }).toBuffer(),
    'PNG, grey': () => sharp(disc()).toColourspace('b-w').png().toBuffer(),
    'PNG of 16 bits': () => sharp(disc()).toColourspace('rgb16').png().toBuffer(),
    WebP: () => sharp(disc()).webp().toBuffer(),
    GIF: () => sharp(disc()).gif().toBuffer(),
    AVIF: () => sharp(disc()).avif({ lossless: true }).toBuffer(),
    TIFF: () => sharp(disc()).tiff({ compression: 'lzw' }).toBuffer(),
  };

  it.each(Object.entries(formats))('is white: %s', async (_, make) => {
    const image = await readImage(await make());
    expect(Math.min(...pixel(image, 2, 2))).toBeGreaterThan(250);
    expect(Math.max(...pixel(image, 30, 20))).toBeLessThan(12);
  });

  it('is white in pixels as well, and half of it half', async () => {
    const rgba = new RawImage(Uint8ClampedArray.of(9, 9, 9, 0, 100, 0, 0, 255, 0, 0, 0, 128), 3, 1, 4);
    expect([...(await readImage(rgba)).data]).toEqual([255, 255, 255, 100, 0, 0, 127, 127, 127]);
    const grey = new RawImage(Uint8ClampedArray.of(7, 200), 2, 1, 1);
    expect([...(await readImage(grey)).data]).toEqual([7, 7, 7, 200, 200, 200]);
  });
});

describe('an SVG', () => {
  it.each(['noise.png', './noise.png', 'file:noise.png'])('draws no file beside it: %s', async (href) => {
    const picture = `<image xlink:href="${href}" href="${href}" width="${WIDTH}" height="${HEIGHT}"/>`;
    await writeFile(at('drawing.svg'), disc(picture));
    const image = await readImage(at('drawing.svg'));
    expect(pixel(image, 2, 2)).toEqual([255, 255, 255]);
  });

  it('draws a picture inside it', async () => {
    const href = `data:image/png;base64,${png.toString('base64')}`;
    const image = await readImage(disc(`<image href="${href}" width="${WIDTH}" height="${HEIGHT}"/>`));
    expect(pixel(image, 2, 2)).not.toEqual([255, 255, 255]);
  });
});

describe('a file that is not quite right', () => {
  const jpeg = (options = {}) =>
    noise
      .clone()
      .jpeg({ quality: 95, ...options })
      .toBuffer();

  it('is read where viewers show all of it', async () => {
    const [plain, progressive] = [await jpeg(), await jpeg({ progressive: true })];
    const files = {
      'without its end': plain.subarray(0, -2),
      'progressive, without its end': progressive.subarray(0, -2),
      'with something behind it': Buffer.concat([plain, Buffer.alloc(50, 65)]),
      'with bytes between its parts': Buffer.concat([
        plain.subarray(0, 2),
        Buffer.alloc(3),
        plain.subarray(2),
      ]),
    };
    for (const [name, bytes] of Object.entries(files)) {
      const image = await readImage(bytes).catch((error: Error) => error);
      expect(image, name).toMatchObject({ width: WIDTH, height: HEIGHT });
    }
  });

  it('is refused where it breaks off', async () => {
    for (const bytes of [await jpeg(), await jpeg({ progressive: true }), png]) {
      const half = bytes.subarray(0, bytes.length / 2);
      await expect(readImage(half, { name: 'half' })).rejects.toThrow(/^half is damaged/);
    }
  });

  it('is told to be HEIC where it is', async () => {
    const header = Buffer.from('\0\0\0\u0018ftypheic\0\0\0\0mif1heic\0\0\0\u0008free', 'latin1');
    await expect(readImage(header)).rejects.toThrow(/is a HEIC picture.* convert it to JPEG or PNG\.$/);
  });
});
