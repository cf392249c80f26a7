import { heatColor, type Scale } from './heat.js';
import { GROUP_COLORS, type PatchFate } from './merge-groups.js';
import type { Box, PatchGrid } from './patch-grid.js';
import { tag } from './svg.js';

/** A place on the page. */
export type Place = Box;

/** The photo as it is drawn, many times on one page from one copy. */
export interface Photo {
  readonly width: number;
  readonly height: number;
  /** A data URI. */
  readonly href: string;
}

/** Definitions that panels refer to; once a page. */
export function definitions({ width, height, href }: Photo): string {
  const image = tag('image', { id: 'photo', width, height, preserveAspectRatio: 'none', href });
  const grey = tag(
    'filter',
    { id: 'grey', x: 0, y: 0, width: 1, height: 1 },
    tag('feColorMatrix', { type: 'saturate', values: 0 }),
  );
  const stripes = tag(
    'pattern',
    {
      id: 'unseen',
      width: 8,
      height: 8,
      patternUnits: 'userSpaceOnUse',
      patternTransform: 'rotate(45)',
    },
    tag('rect', { width: 8, height: 8, fill: '#f1f5f9' }),
    tag('rect', { width: 3, height: 8, fill: '#cbd5e1' }),
  );
  return tag('defs', {}, image, grey, stripes);
}

/** What a panel shows, in pixels of the photo: the photo, and what the grid covers beside it. */
function frameOf({ width, height }: Photo, { box }: PatchGrid): Box {
  const [x, y] = [Math.min(0, box.x), Math.min(0, box.y)];
  return {
    x,
    y,
    width: Math.max(width, box.x + box.width) - x,
    height: Math.max(height, box.y + box.height) - y,
  };
}

/** The size of a panel that fits into `width` x `height`. */
export function panelSize(photo: Photo, grid: PatchGrid, width: number, height: number): [number, number] {
  const frame = frameOf(photo, grid);
  const scale = Math.min(width / frame.width, height / frame.height);
  return [frame.width * scale, frame.height * scale];
}

/** The photo at a place, cells over it, and what the model does not see of it striped. */
function panel(
  photo: Photo,
  grid: PatchGrid,
  place: Place,
  cells: (side: number) => string[],
  grey = false,
): string {
  const frame = frameOf(photo, grid);
  const scale = place.width / frame.width;
  const { box } = grid;
  const onPhoto = `translate(${place.x} ${place.y}) scale(${scale}) translate(${-frame.x} ${-frame.y})`;
  const side = { x: box.width / grid.columns, y: box.height / grid.rows };
  return tag(
    'g',
    { transform: onPhoto },
    tag('use', { href: '#photo', filter: grey ? 'url(#grey)' : undefined }),
    ...unseen(frame, box, scale),
    tag(
      'g',
      { transform: `translate(${box.x} ${box.y}) scale(${side.x} ${side.y})` },
      ...cells(side.x * scale),
    ),
  );
}

function unseen(frame: Box, box: Box, scale: number): string[] {
  const [right, bottom] = [frame.x + frame.width, frame.y + frame.height];
  const strips = [
    [frame.x, frame.y, frame.width, box.y - frame.y],
    [frame.x, box.y + box.height, frame.width, bottom - box.y - box.height],
    [frame.x, box.y, box.x - frame.x, box.height],
    [box.x + box.width, box.y, right - box.x - box.width, box.height],
  ] as const;
  return strips
    .filter(([, , width, height]) => width * scale >= 0.5 && height * scale >= 0.5)
    .map(([x, y, width, height]) =>
      tag(
        'g',
        { transform: `translate(${x} ${y}) scale(${1 / scale})`, 'fill-opacity': 0.85 },
        tag('rect', { width: width * scale, height: height * scale, fill: 'url(#unseen)' }),
      ),
    );
}

/** The photo with the patches of the grid as thin lines. */
export function plainPanel(photo: Photo, grid: PatchGrid, place: Place): string {
  const { rows, columns } = grid;
  const across = Array.from({ length: rows + 1 }, (_, row) => `M0 ${row}h${columns}`);
  const down = Array.from({ length: columns + 1 }, (_, column) => `M${column} 0v${rows}`);
  return panel(photo, grid, place, (side) => [
    tag('path', {
      d: [...across, ...down].join(''),
      fill: 'none',
      stroke: '#fff',
      'stroke-opacity': 0.35,
      'stroke-width': 0.7 / side,
    }),
  ]);
}

/** The patches that stayed, clear and outlined; the others under a veil. */
export function keptPanel(photo: Photo, grid: PatchGrid, place: Place, fates: readonly PatchFate[]): string {
  return panel(photo, grid, place, (side) => [
    cells(grid, fates, ({ fate }) => fate !== 'anchor', {
      class: 'gone',
      fill: '#fff',
      'fill-opacity': 0.82,
    }),
    anchors(grid, fates, side, { stroke: '#0f172a', 'stroke-width': 1.2 / side }),
  ]);
}

/** Each patch in the colour of the anchor that it went to. */
export function mergePanel(photo: Photo, grid: PatchGrid, place: Place, fates: readonly PatchFate[]): string {
  return panel(photo, grid, place, (side) => [
    cells(grid, fates, ({ fate }) => fate === 'dropped', {
      class: 'dropped',
      fill: '#fff',
      'fill-opacity': 0.88,
    }),
    cells(grid, fates, ({ fate }) => fate === 'text', {
      class: 'to-text',
      fill: '#475569',
      'fill-opacity': 0.85,
    }),
    ...GROUP_COLORS.flatMap((fill, color) => [
      cells(grid, fates, (patch) => patch.fate === 'patch' && patch.color === color, {
        class: 'merged',
        fill: pale(fill),
        'fill-opacity': 0.8,
      }),
      anchors(
        grid,
        fates.map((patch) => (patch.color === color ? patch : { fate: 'dropped', color: -1 })),
        side,
        { stroke: fill, 'stroke-width': Math.min(0.24, 2 / side) },
      ),
    ]),
  ]);
}

/** Halfway to white, so that what stayed stands out. */
function pale(color: string): string {
  const channels = [1, 3, 5].map((at) => Number.parseInt(color.slice(at, at + 2), 16));
  return `#${channels.map((value) => Math.round((value + 255) / 2).toString(16)).join('')}`;
}

/** Each patch in the colour of its number, over the photo in grey. */
export function heatPanel(
  photo: Photo,
  grid: PatchGrid,
  place: Place,
  values: readonly number[],
  scale: Scale,
): string {
  // One path for each of so many colours: a picture may hold tens of thousands of patches.
  const steps = 24;
  const bins = values.map((value) => Math.round(scale.share(value) * steps));
  return panel(
    photo,
    grid,
    place,
    () =>
      Array.from({ length: steps + 1 }, (_, bin) =>
        cells(grid, bins, (other) => other === bin, {
          class: 'heat',
          fill: heatColor(bin / steps),
          'fill-opacity': 0.8,
        }),
      ),
    true,
  );
}

/** The chosen cells as one path in units of the grid, a square each; nothing for none. */
function cells<T>(
  { columns }: PatchGrid,
  values: readonly T[],
  chosen: (value: T) => boolean,
  attributes: Record<string, string | number>,
): string {
  const d = values
    .map((value, patch) =>
      chosen(value) ? `M${patch % columns} ${Math.floor(patch / columns)}h1v1h-1z` : '',
    )
    .join('');
  return d && tag('path', { ...attributes, d });
}

/** Outlines of the patches that stayed, drawn inside them so that neighbours do not cover each other's. */
function anchors(
  { columns }: PatchGrid,
  fates: readonly PatchFate[],
  side: number,
  attributes: { stroke: string; 'stroke-width': number },
): string {
  const inset = attributes['stroke-width'] / 2;
  const edge = round(1 - 2 * inset);
  const d = fates
    .map(({ fate }, patch) =>
      fate === 'anchor'
        ? `M${round((patch % columns) + inset)} ${round(Math.floor(patch / columns) + inset)}h${edge}v${edge}h${-edge}z`
        : '',
    )
    .join('');
  return (
    d &&
    tag('path', { class: 'anchor', fill: 'none', 'stroke-opacity': side < 6 ? 0.8 : 1, ...attributes, d })
  );
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}
