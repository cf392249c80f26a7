import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, it, describe as suite } from 'vitest';
import { Random } from '../../src/random.js';
import { GLYPHS } from '../../src/scenes/glyphs.js';
import { IMAGE_BYTES, renderScene } from '../../src/scenes/render.js';
import { isHeldOut, makeScene, objectsOf, textsOf } from '../../src/scenes/scene.js';
import { IMAGE_SIZE, WORDS } from '../../src/scenes/vocabulary.js';
import { exportScenes } from './export.js';

const seeds = fc.integer({ min: 0, max: 2_000_000_000 });
const sha256 = (data: Uint8Array | string) => createHash('sha256').update(data).digest('hex');

suite('Random', () => {
  it('gives the numbers of mulberry32 from the mixed seed', () => {
    const random = new Random(1);
    expect([random.uint32(), random.uint32()]).toEqual([4183302221, 1560575760]);
  });

  it('tells streams and neighbouring seeds apart', () => {
    const first = [new Random(1), new Random(2), new Random(1, 1)].map((random) => random.uint32());
    expect(new Set(first).size).toBe(3);
  });
});

suite('makeScene', () => {
  it('is the same scene for the same seed', () => {
    const digest = sha256(JSON.stringify(Array.from({ length: 20 }, (_, seed) => makeScene(seed))));
    expect(digest).toBe(sha256(JSON.stringify(Array.from({ length: 20 }, (_, seed) => makeScene(seed)))));
    expect(digest).toBe('918624cc187c59e8cc4250b93571f9932f2ebb82bf76ad96be11cc0817bb888d');
  });

  it('keeps every item in its own cell and inside the image', () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        const { items } = makeScene(seed);
        expect(new Set(items.map((item) => item.cell)).size).toBe(items.length);
        for (const { bbox } of items) {
          expect(bbox.x).toBeGreaterThan(0);
          expect(bbox.y).toBeGreaterThan(0);
          expect(bbox.x + bbox.w).toBeLessThan(IMAGE_SIZE);
          expect(bbox.y + bbox.h).toBeLessThan(IMAGE_SIZE);
        }
        for (const [i, { bbox: a }] of items.entries()) {
          for (const { bbox: b } of items.slice(i + 1)) {
            const apart = a.x + a.w < b.x || b.x + b.w < a.x || a.y + a.h < b.y || b.y + b.h < a.y;
            expect(apart).toBe(true);
          }
        }
      }),
    );
  });

  it('has 3 to 9 objects that all look different, and up to 2 texts, 9 items at most', () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        const scene = makeScene(seed);
        const looks = objectsOf(scene).map((o) => `${o.size} ${o.color} ${o.texture} ${o.shape}`);
        expect(new Set(looks).size).toBe(looks.length);
        expect(looks.length).toBeGreaterThanOrEqual(3);
        expect(textsOf(scene).length).toBeLessThanOrEqual(2);
        expect(scene.items.length).toBeLessThanOrEqual(9);
      }),
    );
  });

  it('boxes every character inside the box of its text, left to right', () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        for (const text of textsOf(makeScene(seed))) {
          expect(text.chars.map((box) => box.char).join('')).toBe(text.text);
          expect(text.bbox.w).toBeLessThanOrEqual(108);
          let x = text.bbox.x - 0.1;
          for (const box of text.chars) {
            expect(box.x).toBeGreaterThan(x);
            x = box.x + box.w;
          }
          expect(x).toBeLessThan(text.bbox.x + text.bbox.w + 0.1);
        }
      }),
    );
  });

  it('draws sizes clearly apart', () => {
    const range = { small: [35, 48], medium: [56, 79], large: [83, 110] } as const;
    fc.assert(
      fc.property(seeds, (seed) => {
        for (const { size, bbox } of objectsOf(makeScene(seed))) {
          const longest = Math.max(bbox.w, bbox.h);
          expect(longest).toBeGreaterThan(range[size][0] - 4);
          expect(longest).toBeLessThan(range[size][1]);
        }
      }),
    );
  });

  it('holds out the seeds below 100 000', () => {
    expect([0, 99_999, 100_000, 1_000_000].map(isHeldOut)).toEqual([true, true, false, false]);
  });

  it('has 40 words, all in the glyphs of the font', () => {
    expect(new Set(WORDS).size).toBe(40);
    for (const word of WORDS) expect([...word].filter((char) => !GLYPHS[char])).toEqual([]);
  });
});

suite('renderScene', () => {
  it('gives the same [336, 336, 3] bytes for the same seed and others for another', async () => {
    const [a, b, c] = await Promise.all([7, 7, 8].map((seed) => renderScene(makeScene(seed))));
    expect(a?.length).toBe(IMAGE_BYTES);
    expect(sha256(a as Uint8Array)).toBe(sha256(b as Uint8Array));
    expect(sha256(a as Uint8Array)).not.toBe(sha256(c as Uint8Array));
  });
});

suite('exportScenes', () => {
  it('writes as many images as records, in the order of the seeds', async () => {
    const out = await mkdtemp(join(tmpdir(), 'scenes-'));
    try {
      await exportScenes(40, 35, 12, out);
      const images = await readFile(join(out, 'images.u8'));
      const records = (await readFile(join(out, 'scenes.jsonl'), 'utf8')).trim().split('\n');
      expect(images.length).toBe(35 * IMAGE_BYTES);
      expect(records.map((line) => JSON.parse(line).seed)).toEqual(
        Array.from({ length: 35 }, (_, i) => 40 + i),
      );
      const last = await renderScene(makeScene(74));
      expect(sha256(images.subarray(34 * IMAGE_BYTES))).toBe(sha256(last));
    } finally {
      await rm(out, { recursive: true });
    }
  });
});
