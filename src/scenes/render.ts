import sharp from 'sharp';
import { Random } from '../random.js';
import type { Scene } from './scene.js';
import { sceneSvg } from './svg.js';
import { IMAGE_SIZE } from './vocabulary.js';

/** Bytes of one image: [336, 336, 3], RGB, row-major. */
export const IMAGE_BYTES = IMAGE_SIZE * IMAGE_SIZE * 3;

// Bell-shaped noise, read from a random place in every row: a draw a pixel would cost more than the drawing.
const NOISE = (() => {
  const random = new Random(0, 3);
  const draw = () => random.next() + random.next() + random.next() + random.next() - 2;
  return Float32Array.from({ length: 1 << 15 }, () => draw() * 7);
})();

/** Exposure, a light falling off to one side and sensor noise, all of the scene's seed, over [336, 336, 3]. */
function expose(pixels: Uint8Array, seed: number): void {
  const random = new Random(seed, 4);
  const clamped = new Uint8ClampedArray(pixels.buffer, pixels.byteOffset, pixels.length);
  const gain = random.range(0.95, 1.04);
  const [across, down] = [random.range(-0.08, 0.08), random.range(-0.08, 0.08)];
  for (let y = 0, i = 0; y < IMAGE_SIZE; y++) {
    let light = gain - across / 2 + down * (y / IMAGE_SIZE - 0.5);
    let at = random.int(0, NOISE.length - 3 * IMAGE_SIZE - 1);
    for (let x = 0; x < IMAGE_SIZE; x++, light += across / IMAGE_SIZE) {
      for (let channel = 0; channel < 3; channel++, i++, at++) {
        clamped[i] = (clamped[i] as number) * light + (NOISE[at] as number);
      }
    }
  }
}

/** The picture of a scene: RGB bytes [336, 336, 3]. */
export async function renderScene(scene: Scene): Promise<Uint8Array> {
  const pixels = await sharp(Buffer.from(sceneSvg(scene)))
    .removeAlpha()
    .raw()
    .toBuffer();
  expose(pixels, scene.seed);
  return pixels;
}

/** The same picture as a PNG file's bytes. */
export async function renderPng(scene: Scene): Promise<Uint8Array> {
  const raw = { width: IMAGE_SIZE, height: IMAGE_SIZE, channels: 3 } as const;
  return sharp(await renderScene(scene), { raw })
    .png()
    .toBuffer();
}
