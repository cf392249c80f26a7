import type { Shape } from './vocabulary.js';

export type Point = readonly [number, number];
export type Polygon = readonly Point[];

const polar = (radius: number, degrees: number): Point => [
  radius * Math.cos((degrees * Math.PI) / 180),
  radius * Math.sin((degrees * Math.PI) / 180),
];

/** Points on an arc around (cx, cy), from one angle to another, in degrees with y downwards. */
function arc(radius: number, from: number, to: number, steps: number, cx = 0, cy = 0): Point[] {
  return Array.from({ length: steps + 1 }, (_, i) => {
    const [x, y] = polar(radius, from + ((to - from) * i) / steps);
    return [x + cx, y + cy] as const;
  });
}

function star(): Point[] {
  return Array.from({ length: 10 }, (_, i) => polar(i % 2 === 0 ? 1 : 0.44, -90 + i * 36));
}

function heart(): Point[] {
  return Array.from({ length: 48 }, (_, i) => {
    const t = (i * Math.PI) / 24;
    return [
      16 * Math.sin(t) ** 3,
      -(13 * Math.cos(t) - 5 * Math.cos(2 * t) - 2 * Math.cos(3 * t) - Math.cos(4 * t)),
    ] as const;
  });
}

function cross(): Point[] {
  const a = 0.34;
  return [
    [-a, -1],
    [a, -1],
    [a, -a],
    [1, -a],
    [1, a],
    [a, a],
    [a, 1],
    [-a, 1],
    [-a, a],
    [-1, a],
    [-1, -a],
    [-a, -a],
  ];
}

function crescent(): Point[] {
  // The circles around (0, 0) of radius 1 and (0.45, 0) of radius 0.8 meet at these angles.
  const x = (1 - 0.64 + 0.2025) / 0.9;
  const y = Math.sqrt(1 - x * x);
  const outer = (Math.atan2(y, x) * 180) / Math.PI;
  const inner = (Math.atan2(y, x - 0.45) * 180) / Math.PI;
  return [...arc(1, outer, 360 - outer, 40), ...arc(0.8, 360 - inner, inner, 32, 0.45)];
}

const OUTLINES: Record<Shape, () => Polygon[]> = {
  circle: () => [arc(1, 0, 352.5, 47)],
  square: () => [
    [
      [-1, -1],
      [1, -1],
      [1, 1],
      [-1, 1],
    ],
  ],
  triangle: () => [[polar(1, -90), polar(1, 30), polar(1, 150)]],
  star: () => [star()],
  heart: () => [heart()],
  diamond: () => [
    [
      [0, -1],
      [0.72, 0],
      [0, 1],
      [-0.72, 0],
    ],
  ],
  ring: () => [arc(1, 0, 352.5, 47), arc(0.5, 0, 352.5, 47)],
  cross: () => [cross()],
  hexagon: () => [Array.from({ length: 6 }, (_, i) => polar(1, i * 60))],
  crescent: () => [crescent()],
};

const round = (value: number) => Math.round(value * 100) / 100;

export function bounds(polygons: readonly Polygon[]): { x: number; y: number; w: number; h: number } {
  const xs = polygons.flatMap((polygon) => polygon.map((point) => point[0]));
  const ys = polygons.flatMap((polygon) => polygon.map((point) => point[1]));
  const x = Math.min(...xs);
  const y = Math.min(...ys);
  return { x: round(x), y: round(y), w: round(Math.max(...xs) - x), h: round(Math.max(...ys) - y) };
}

/**
 * The outline of a shape around the origin, turned by `degrees`, its longest side `diameter` pixels long.
 * A second polygon is a hole (even-odd). Rounded to 0.01 px, so that no last-bit difference between
 * platforms' sines reaches a scene.
 */
export function outline(shape: Shape, diameter: number, degrees: number): Polygon[] {
  const raw = OUTLINES[shape]();
  const box = bounds(raw);
  // A square fills its box more than the others do, and grows when turned.
  const scale = ((shape === 'square' ? 0.9 : 1) * diameter) / Math.max(box.w, box.h);
  const [cos, sin] = polar(1, degrees);
  const turned = raw.map((polygon) =>
    polygon.map(([px, py]) => {
      const x = (px - box.x - box.w / 2) * scale;
      const y = (py - box.y - box.h / 2) * scale;
      return [x * cos - y * sin, x * sin + y * cos] as const;
    }),
  );
  const after = bounds(turned);
  return turned.map((polygon) =>
    polygon.map(([x, y]) => [round(x - after.x - after.w / 2), round(y - after.y - after.h / 2)] as const),
  );
}
