import { tag } from '../../svg.js';
import { type Box, extentOf, type PatchGrid, tilesOf } from '../prompt/patch-grid.js';

/** The photo as it is drawn, many times on one page from one copy. */
export interface Photo {
  readonly width: number;
  readonly height: number;
  /** A data URI. */
  readonly href: string;
}

/** What a panel is drawn on: all of the photo with what the grid covers beside it, or only what the model sees of it. */
export interface Canvas {
  readonly photo: Photo;
  readonly grid: PatchGrid;
  readonly view: 'whole' | 'seen';
}

/** The ground of what the processor adds around the photo. */
export const PADDING = '#e2e8f0';

/** Definitions that panels refer to; once a page. */
export function definitions({ width, height, href }: Photo): string {
  const grey = tag(
    'filter',
    { id: 'grey', x: 0, y: 0, width: 1, height: 1 },
    tag('feColorMatrix', { type: 'saturate', values: 0 }),
  );
  const stripes = tag(
    'pattern',
    { id: 'unseen', width: 8, height: 8, patternUnits: 'userSpaceOnUse', patternTransform: 'rotate(45)' },
    tag('rect', { width: 8, height: 8, fill: '#f1f5f9' }),
    tag('rect', { width: 3, height: 8, fill: '#cbd5e1' }),
  );
  const image = tag('image', { id: 'photo', width, height, preserveAspectRatio: 'none', href });
  return tag('defs', {}, image, grey, stripes);
}

/** The size of a panel that fits into `width` x `height`. */
export function panelSize(canvas: Canvas, width: number, height: number): [width: number, height: number] {
  const frame = frameOf(canvas);
  const scale = Math.min(width / frame.width, height / frame.height);
  return [frame.width * scale, frame.height * scale];
}

/**
 * The photo at a place of the page, cells over it, and striped what the model does not see.
 * @param name what it shows, for those who cannot see it
 * @param cells markup in units of the grid, of which one is `side` wide on the page
 */
export function panel(
  canvas: Canvas,
  place: Box,
  name: string,
  cells: (side: number) => readonly string[],
  colors: 'own' | 'grey' = 'own',
): string {
  const frame = frameOf(canvas);
  const { box } = canvas.grid;
  const [columns, rows] = extentOf(canvas.grid);
  const [across, down] = [box.width / columns, box.height / rows];
  const scale = place.width / frame.width;
  return tag(
    'svg',
    { ...place, viewBox: `${frame.x} ${frame.y} ${frame.width} ${frame.height}` },
    tag('title', {}, name),
    ...(isPadded(canvas) ? [tag('rect', { class: 'padding', ...box, fill: PADDING })] : []),
    tag('use', { href: '#photo', filter: colors === 'grey' ? 'url(#grey)' : undefined }),
    ...unseen(frame, box, scale),
    tag(
      'g',
      { transform: `translate(${box.x} ${box.y}) scale(${across} ${down})` },
      ...gaps(canvas.grid),
      ...cells(across * scale),
    ),
  );
}

/** Whether the grid reaches beyond the photo, by more than rounding. */
export function isPadded({ photo, grid: { box } }: Omit<Canvas, 'view'>): boolean {
  const [right, bottom] = [box.x + box.width, box.y + box.height];
  return Math.min(box.x, box.y, photo.width - right, photo.height - bottom) < -1;
}

/** What a panel shows, in pixels of the photo. */
function frameOf({ photo, grid: { box }, view }: Canvas): Box {
  if (view === 'seen') return box;
  const [x, y] = [Math.min(0, box.x), Math.min(0, box.y)];
  const [right, bottom] = [
    Math.max(photo.width, box.x + box.width),
    Math.max(photo.height, box.y + box.height),
  ];
  return { x, y, width: right - x, height: bottom - y };
}

/** What lies between tiles, which no patch covers: as pale as the stripes, for which it is too narrow. */
function gaps(grid: PatchGrid): string[] {
  const { rows, columns, gap } = tilesOf(grid);
  if (gap === 0) return [];
  const [across, down] = extentOf(grid);
  const starts = (tiles: number, patches: number) =>
    Array.from({ length: tiles - 1 }, (_, tile) => ((tile + 1) * patches) / tiles + tile * gap);
  const d = [
    ...starts(columns, grid.columns).map((x) => `M${x} 0h${gap}v${down}h${-gap}z`),
    ...starts(rows, grid.rows).map((y) => `M0 ${y}h${across}v${gap}h${-across}z`),
  ].join('');
  return [tag('path', { class: 'unseen', d, fill: '#f1f5f9', 'fill-opacity': 0.85 })];
}

function unseen(frame: Box, box: Box, scale: number): string[] {
  const [right, bottom] = [frame.x + frame.width, frame.y + frame.height];
  const [boxRight, boxBottom] = [box.x + box.width, box.y + box.height];
  const strips = [
    [frame.x, frame.y, frame.width, box.y - frame.y],
    [frame.x, boxBottom, frame.width, bottom - boxBottom],
    [frame.x, box.y, box.x - frame.x, box.height],
    [boxRight, box.y, right - boxRight, box.height],
  ] as const;
  // Stripes keep their width whatever the photo's size.
  return strips
    .filter(([, , width, height]) => width * scale >= 0.5 && height * scale >= 0.5)
    .map(([x, y, width, height]) =>
      tag('rect', {
        class: 'unseen',
        transform: `translate(${x} ${y}) scale(${1 / scale})`,
        width: width * scale,
        height: height * scale,
        fill: 'url(#unseen)',
        'fill-opacity': 0.85,
      }),
    );
}
