import { tag, text } from '../../svg.js';
import { GROUP_COLORS, type PatchFate } from '../prompt/merge-groups.js';
import type { PatchGrid } from '../prompt/patch-grid.js';
import { isPadded, PADDING, type Photo } from './canvas.js';
import type { Block } from './layout.js';
import { ELSEWHERE, OUTLINE } from './panels.js';

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
    ...edgeKeys(grid, photo),
  ];
}

/** What the stripes and the ground around the photo mean, where there are any. */
export function edgeKeys(grid: PatchGrid, photo: Photo): Key[] {
  const { box } = grid;
  const cut = box.width < photo.width - 1 || box.height < photo.height - 1;
  return [
    ...(cut ? [{ fill: 'url(#unseen)', words: 'striped: cut away before the model sees it' }] : []),
    ...(isPadded({ photo, grid }) ? [{ fill: PADDING, words: 'around the photo: added for the model' }] : []),
  ];
}

/** What the colours of a merge panel mean, as far as they occur. */
export function mergeKeys(fates: readonly PatchFate[], { tiles }: PatchGrid): Key[] {
  const has = (fate: PatchFate['fate']) => fates.some((patch) => patch.fate === fate);
  const color = GROUP_COLORS[0]!;
  return [
    {
      fill: CLEAR,
      stroke: has('patch') ? color : OUTLINE,
      words: has('patch') ? 'clear, outlined: stayed, as an anchor' : 'clear, outlined: stayed',
    },
    ...(has('patch') ? [{ fill: color, words: 'tinted: merged into the anchor of the same colour' }] : []),
    ...(has('other-grid')
      ? [
          {
            fill: ELSEWHERE,
            words: `brown: merged into a patch of ${tiles ? 'the whole photo' : 'the tiles'}`,
          },
        ]
      : []),
    ...(has('text') || has('separator')
      ? [{ fill: '#475569', words: `grey: merged into ${greyOnes(has)}` }]
      : []),
    ...(has('dropped') ? [{ fill: '#fff', words: 'veiled: dropped' }] : []),
  ];
}

function greyOnes(has: (fate: PatchFate['fate']) => boolean): string {
  const parts = [
    ...(has('separator') ? ['a separator'] : []),
    ...(has('text') ? ['a token of the text'] : []),
  ];
  return parts.join(' or ');
}
