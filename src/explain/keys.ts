import type { Photo } from './canvas.js';
import type { Block } from './layout.js';
import { GROUP_COLORS, type PatchFate } from './merge-groups.js';
import { OUTLINE } from './panels.js';
import type { PatchGrid } from './patch-grid.js';
import { tag, text } from './svg.js';

/** A small square and what it means. */
interface Key {
  readonly fill: string;
  readonly stroke?: string;
  readonly words: string;
}

/** The fill of a square that stands for the bare photo. */
const CLEAR = 'none';
const ROW = 20;

/** Keys in columns of `width`, as many as `room` has space for. */
export function keys(x: number, y: number, items: readonly Key[], width: number, room = width): Block {
  const columns = Math.max(1, Math.floor(room / width));
  const drawn = items.map(({ fill, stroke = '#94a3b8', words }, index) => {
    const left = x + (index % columns) * width;
    const top = y + Math.floor(index / columns) * ROW;
    const line = { fill, stroke, 'stroke-width': fill === CLEAR ? 1.6 : 0.8 };
    return (
      tag('rect', { x: left + 1, y: top + 1, width: 11, height: 11, ...line }) +
      text(left + 20, top + 11, words, { 'font-size': 12, fill: '#475569' })
    );
  });
  return { markup: drawn.join(''), height: Math.ceil(items.length / columns) * ROW };
}

/** What the patches of a panel of what stayed mean, as far as they occur. */
export function keptKeys(fates: readonly PatchFate[], grid: PatchGrid, photo: Photo): Key[] {
  return [
    { fill: CLEAR, stroke: OUTLINE, words: 'clear, outlined: stayed' },
    ...(fates.some(({ fate }) => fate !== 'anchor') ? [{ fill: '#fff', words: 'veiled: did not stay' }] : []),
    ...cutKeys(grid, photo),
  ];
}

/** What the stripes mean, where there are any. */
export function cutKeys({ box }: PatchGrid, photo: Photo): Key[] {
  const cut = box.width < photo.width - 1 || box.height < photo.height - 1;
  return cut ? [{ fill: 'url(#unseen)', words: 'striped: cut away before the model sees it' }] : [];
}

/** What the colours of a merge panel mean, as far as they occur. */
export function mergeKeys(fates: readonly PatchFate[]): Key[] {
  const has = (fate: PatchFate['fate']) => fates.some((patch) => patch.fate === fate);
  const color = GROUP_COLORS[0]!;
  return [
    {
      fill: CLEAR,
      stroke: has('patch') ? color : OUTLINE,
      words: has('patch') ? 'clear, outlined: stayed, as an anchor' : 'clear, outlined: stayed',
    },
    ...(has('patch') ? [{ fill: color, words: 'tinted: merged into the anchor of the same colour' }] : []),
    ...(has('text') ? [{ fill: '#475569', words: 'grey: merged into a token of the text' }] : []),
    ...(has('dropped') ? [{ fill: '#fff', words: 'veiled: dropped' }] : []),
  ];
}
