import { cornerOf, extentOf } from '../../src/explain/prompt/patch-grid.js';
import type { Kept } from './messages.js';

/** Longest side of the drawing, in pixels: small pictures are drawn larger than they are. */
const LONGEST = 672;

/** How much of each patch is held: in one layer, or on average. */
function sharesOf({ shares }: Kept, layer: number | undefined): Float32Array {
  if (layer !== undefined) return shares[layer] ?? new Float32Array(0);
  return (shares[0] ?? new Float32Array(0)).map(
    (_, patch) => shares.reduce((sum, each) => sum + each[patch]!, 0) / shares.length,
  );
}

/** The share of an image's patches that is held. */
export function keptShare(kept: Kept, layer: number | undefined): number {
  const shares = sharesOf(kept, layer);
  return shares.length === 0 ? 0 : shares.reduce((sum, share) => sum + share, 0) / shares.length;
}

/** Draws a picture, and a veil over what is no longer held of it: the thicker, the fewer heads hold the patch. */
export function drawPicture(
  canvas: HTMLCanvasElement,
  bitmap: ImageBitmap | undefined,
  kept: Kept | undefined,
  layer: number | undefined,
): void {
  const context = canvas.getContext('2d')!;
  if (!bitmap) {
    context.clearRect(0, 0, canvas.width, canvas.height);
    return;
  }
  const isThumb = canvas.width < 100;
  if (isThumb) {
    const side = Math.min(bitmap.width, bitmap.height);
    const [left, top] = [(bitmap.width - side) / 2, (bitmap.height - side) / 2];
    context.drawImage(bitmap, left, top, side, side, 0, 0, canvas.width, canvas.height);
    return;
  }
  const scale = LONGEST / Math.max(bitmap.width, bitmap.height);
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  context.imageSmoothingQuality = 'high';
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  if (kept?.grid) drawVeil(context, kept, sharesOf(kept, layer), scale);
}

function drawVeil(
  context: CanvasRenderingContext2D,
  { grid }: Kept,
  shares: Float32Array,
  scale: number,
): void {
  const { box, rows, columns } = grid!;
  const [across, down] = extentOf(grid!);
  const [width, height] = [(box.width * scale) / across, (box.height * scale) / down];
  const veil = getComputedStyle(context.canvas).getPropertyValue('--veil').trim() || '#ffffff';
  context.fillStyle = veil;
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const share = shares[row * columns + column] ?? 0;
      const [x, y] = cornerOf(grid!, row, column);
      context.globalAlpha = 0.9 * (1 - Math.sqrt(share));
      // Whole pixels, so that no seams show.
      const [left, top] = [Math.round(box.x * scale + x * width), Math.round(box.y * scale + y * height)];
      const right = Math.round(box.x * scale + (x + 1) * width);
      const bottom = Math.round(box.y * scale + (y + 1) * height);
      context.fillRect(left, top, right - left, bottom - top);
    }
  }
  context.globalAlpha = 1;
}
