import { Random } from '../random.js';
import { layoutText } from './glyphs.js';
import { bounds, outline, type Polygon } from './shapes.js';
import {
  BACKGROUND_COLORS,
  BACKGROUND_STYLES,
  BACKGROUND_TONES,
  type BackgroundColor,
  type BackgroundStyle,
  CELL_SIZE,
  COLOR_TONES,
  COLORS,
  type Color,
  DIAMETER,
  MAX_ITEMS,
  MIN_OBJECTS,
  POSITIONS,
  type Position,
  type Rgb,
  SHAPES,
  type Shape,
  SIZES,
  type Size,
  TEXTURES,
  type Texture,
  WORDS,
} from './vocabulary.js';

/** In pixels, from the top left corner of the image. */
export type Box = { x: number; y: number; w: number; h: number };

export type SceneObject = {
  kind: 'object';
  shape: Shape;
  color: Color;
  size: Size;
  texture: Texture;
  /** Row-major cell, 0 to 8; `position` is its name. */
  cell: number;
  position: Position;
  bbox: Box;
  draw: { polygons: Polygon[]; centre: [number, number]; base: Rgb; second: Rgb; angle: number };
};

export type SceneText = {
  kind: 'text';
  text: string;
  textKind: 'word' | 'number';
  color: Color;
  cell: number;
  position: Position;
  bbox: Box;
  /** One box per character of `text`. */
  chars: (Box & { char: string })[];
  draw: { path: string; stroke: number; base: Rgb };
};

export type SceneItem = SceneObject | SceneText;

export type Scene = {
  seed: number;
  background: { color: BackgroundColor; style: BackgroundStyle; base: Rgb };
  /** In reading order, at most one a cell. */
  items: SceneItem[];
};

/** Largest shift of an item from the middle of its cell, in pixels. */
const JITTER = 14;
/** Kept free between an item and the edge of its cell, so that neighbours never touch. */
const MARGIN = 3;
/** Least weighted RGB distance between an object and the background. */
const OBJECT_CONTRAST = 140;
/** Least difference in brightness, 0 to 255, between ink and the background: thin strokes need more than a hue. */
const INK_CONTRAST = 45;

/** Held-out scenes are for evaluation only; training takes its seeds from 1 000 000 up. */
export function isHeldOut(seed: number): boolean {
  return seed >= 0 && seed < 100_000;
}

export const objectsOf = (scene: Scene): SceneObject[] =>
  scene.items.filter((item) => item.kind === 'object');
export const textsOf = (scene: Scene): SceneText[] => scene.items.filter((item) => item.kind === 'text');

/** "Redmean" distance: near enough to what an eye sees, with no more than integers and a root. */
function contrast(a: Rgb, b: Rgb): number {
  const mean = (a[0] + b[0]) / 2;
  const [r, g, bl] = [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
  return Math.sqrt((2 + mean / 256) * r * r + 4 * g * g + (2 + (255 - mean) / 256) * bl * bl);
}

const brightness = (tone: Rgb) => 0.3 * tone[0] + 0.59 * tone[1] + 0.11 * tone[2];
const round = (value: number) => Math.round(value * 100) / 100;
const jitterTone = (random: Random, tone: Rgb, by: number): Rgb => {
  const channel = (value: number) => Math.max(0, Math.min(255, value + random.int(-by, by)));
  return [channel(tone[0]), channel(tone[1]), channel(tone[2])];
};

/** The corner that puts a box of [w, h] near the middle of its cell without leaving the cell. */
function place(random: Random, cell: number, w: number, h: number): [number, number] {
  const along = (index: number, extent: number) => {
    const room = Math.min(JITTER, (CELL_SIZE - extent) / 2 - MARGIN);
    return round(index * CELL_SIZE + (CELL_SIZE - extent) / 2 + random.range(-room, room));
  };
  return [along(cell % 3, w), along(Math.floor(cell / 3), h)];
}

type Look = Pick<SceneObject, 'shape' | 'color' | 'size' | 'texture'>;

/** Different looks for all objects; in some scenes from few shapes or colours, so that counts exceed one. */
function chooseLooks(random: Random, count: number, colors: Color[]): Look[] {
  const shapes = random.chance(0.5) ? random.shuffle(SHAPES).slice(0, random.int(2, 4)) : SHAPES;
  const palette = random.chance(0.4) ? random.shuffle(colors).slice(0, random.int(2, 4)) : colors;
  const looks = new Map<string, Look>();
  while (looks.size < count) {
    const look = {
      shape: random.pick(shapes),
      color: random.pick(palette),
      size: random.pick(SIZES),
      texture: random.pick(TEXTURES),
    };
    looks.set(Object.values(look).join(' '), look);
  }
  return [...looks.values()];
}

function makeObject(random: Random, look: Look, cell: number): SceneObject {
  const polygons = outline(look.shape, DIAMETER[look.size] + random.range(-3, 3), random.range(-8, 8));
  const { w, h } = bounds(polygons);
  const [x, y] = place(random, cell, w, h);
  const tones = COLOR_TONES[look.color];
  const base = jitterTone(random, tones.base, 8);
  return {
    kind: 'object',
    ...look,
    cell,
    position: POSITIONS[cell] as Position,
    bbox: { x, y, w, h },
    draw: {
      polygons,
      centre: [round(x + w / 2), round(y + h / 2)],
      base,
      second: jitterTone(random, tones.second, 6),
      angle: look.texture === 'striped' ? random.int(0, 11) * 15 : random.int(-8, 8),
    },
  };
}

function makeText(random: Random, text: string, color: Color, cell: number): SceneText {
  const height = random.int(text.length > 4 ? 28 : 26, 32);
  const stroke = text.length > 5 ? 4 : round(random.range(4, text.length > 3 ? 4.6 : 5.6));
  const layout = layoutText(text, height, stroke, CELL_SIZE - 8);
  const [x, y] = place(random, cell, layout.width, layout.height);
  const shift = /(-?[\d.]+) (-?[\d.]+)/g;
  return {
    kind: 'text',
    text,
    textKind: /^\d/.test(text) ? 'number' : 'word',
    color,
    cell,
    position: POSITIONS[cell] as Position,
    bbox: { x, y, w: layout.width, h: layout.height },
    chars: layout.chars.map((box) => ({ ...box, x: round(box.x + x), y: round(box.y + y) })),
    draw: {
      path: layout.path.replace(
        shift,
        (_, a: string, b: string) => `${round(Number(a) + x)} ${round(Number(b) + y)}`,
      ),
      stroke,
      base: jitterTone(random, COLOR_TONES[color].base, 6),
    },
  };
}

/** The scene of a seed: 3 to 9 objects and 0 to 2 texts on a background, the same on every platform. */
export function makeScene(seed: number): Scene {
  const random = new Random(seed);
  const backgroundColor = random.pick(BACKGROUND_COLORS);
  const tone = BACKGROUND_TONES[backgroundColor];
  const background = {
    color: backgroundColor,
    style: random.pick(BACKGROUND_STYLES),
    base: jitterTone(random, tone, 4),
  };
  const visible = COLORS.filter((color) => contrast(COLOR_TONES[color].base, tone) >= OBJECT_CONTRAST);
  const readable = COLORS.filter(
    (color) => Math.abs(brightness(COLOR_TONES[color].base) - brightness(tone)) >= INK_CONTRAST,
  );

  const textCount = random.chance(0.55) ? (random.chance(0.3) ? 2 : 1) : 0;
  const objectCount = random.int(MIN_OBJECTS, MAX_ITEMS - textCount);
  const cells = random.shuffle([...POSITIONS.keys()]);
  const looks = chooseLooks(random, objectCount, visible);
  const items: SceneItem[] = looks.map((look, i) => makeObject(random, look, cells[i] as number));

  const strings = new Set<string>();
  while (strings.size < textCount)
    strings.add(random.chance(0.65) ? random.pick(WORDS) : String(random.int(0, 99)));
  for (const [i, text] of [...strings].entries()) {
    items.push(makeText(random, text, random.pick(readable), cells[objectCount + i] as number));
  }
  return { seed, background, items: items.sort((a, b) => a.cell - b.cell) };
}
