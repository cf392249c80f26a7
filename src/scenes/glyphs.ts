/**
 * A stroke font of our own, so that a rendered word does not depend on the fonts of a machine. A glyph is a
 * path of centre lines (absolute M, L and C) on a grid 6 units high and `width` units wide, y downwards.
 */
type Glyph = { width: number; path: string };

const glyph = (path: string, width = 4): Glyph => ({ width, path });
const O = 'M2 0C-.6 0 -.6 6 2 6C4.6 6 4.6 0 2 0';
const P = 'M0 6L0 0L2.2 0C4.6 0 4.6 3.4 2.2 3.4L0 3.4';

export const GLYPHS: Readonly<Record<string, Glyph>> = {
  A: glyph('M0 6L2 0L4 6M.8 4L3.2 4'),
  B: glyph('M2.1 2.9C4 2.9 4 0 2.1 0L0 0L0 6L2.3 6C4.6 6 4.6 2.9 2.3 2.9L0 2.9', 4),
  C: glyph('M4 1.3C3.6 .4 3 0 2.2 0C.7 0 0 1.4 0 3C0 4.6 .7 6 2.2 6C3 6 3.6 5.6 4 4.7'),
  D: glyph('M0 0L0 6L1.5 6C4.8 6 4.8 0 1.5 0L0 0'),
  E: glyph('M3.6 0L0 0L0 6L3.6 6M0 3L3 3', 3.6),
  F: glyph('M3.6 0L0 0L0 6M0 3L3 3', 3.6),
  G: glyph('M4 1.3C3.6 .4 3 0 2.2 0C.7 0 0 1.4 0 3C0 4.6 .7 6 2.2 6C3.2 6 4 5.5 4 4.6L4 3.4L2.4 3.4'),
  H: glyph('M0 0L0 6M4 0L4 6M0 3L4 3'),
  I: glyph('M0 0L2.4 0M1.2 0L1.2 6M0 6L2.4 6', 2.4),
  J: glyph('M3.4 0L3.4 4.2C3.4 6.6 0 6.6 0 4.2', 3.4),
  K: glyph('M0 0L0 6M3.8 0L0 3.7M1.3 2.5L4 6'),
  L: glyph('M0 0L0 6L3.4 6', 3.4),
  M: glyph('M0 6L0 0L2.6 4L5.2 0L5.2 6', 5.2),
  N: glyph('M0 6L0 0L4 6L4 0'),
  O: glyph(O),
  P: glyph(P),
  Q: glyph(`${O}M2.5 4.3L4.2 6.3`),
  R: glyph(`${P}M2 3.4L4 6`),
  S: glyph('M3.8 1.2C3.3 -.4 .2 -.4 .2 1.6C.2 3.4 4 2.6 4 4.4C4 6.5 .6 6.4 0 4.7'),
  T: glyph('M0 0L4 0M2 0L2 6'),
  U: glyph('M0 0L0 4C0 6.7 4 6.7 4 4L4 0'),
  V: glyph('M0 0L2 6L4 0'),
  W: glyph('M0 0L1.4 6L2.8 1.5L4.2 6L5.6 0', 5.6),
  X: glyph('M0 0L4 6M4 0L0 6'),
  Y: glyph('M0 0L2 3L4 0M2 3L2 6'),
  Z: glyph('M0 0L4 0L0 6L4 6'),
  0: glyph('M1.9 0C-.6 0 -.6 6 1.9 6C4.4 6 4.4 0 1.9 0', 3.8),
  1: glyph('M0 1.4L1.5 0L1.5 6M0 6L3 6', 3),
  2: glyph('M.1 1.6C.3 -.5 3.8 -.5 3.8 1.7C3.8 3.2 1.4 4.2 0 6L4 6'),
  3: glyph('M.2 .9C1 -.4 3.7 -.3 3.7 1.4C3.7 2.8 2.4 2.8 1.5 2.8C2.6 2.8 4 3 4 4.4C4 6.5 .9 6.4 0 5'),
  4: glyph('M3 6L3 0L0 4.1L4 4.1'),
  5: glyph('M3.6 0L.6 0L.3 2.7C1.2 2 4 2 4 4.1C4 6.6 .8 6.3 0 5.1'),
  6: glyph('M3.5 .5C1.6 -.8 0 1.2 0 4C0 6.7 4 6.7 4 4.1C4 1.7 .6 1.8 .1 3.7'),
  7: glyph('M0 0L4 0L1.4 6'),
  8: glyph('M2 2.8C-.3 2.8 -.3 0 2 0C4.3 0 4.3 2.8 2 2.8C-.7 2.8 -.7 6 2 6C4.7 6 4.7 2.8 2 2.8'),
  9: glyph('M.5 5.5C2.4 6.8 4 4.8 4 2C4 -.7 0 -.7 0 1.9C0 4.3 3.4 4.2 3.9 2.3'),
};

export type TextLayout = {
  /** Outer size in pixels, stroke included. */
  width: number;
  height: number;
  stroke: number;
  /** Centre lines of all glyphs, from the top left corner of the outer box. */
  path: string;
  /** Outer boxes of the characters, from the same corner. */
  chars: { char: string; x: number; y: number; w: number; h: number }[];
};

const round = (value: number) => Math.round(value * 100) / 100;

/** Sets `text` `height` px high with strokes of `stroke` px, narrowed if it would be wider than `maxWidth` px. */
export function layoutText(text: string, height: number, stroke: number, maxWidth: number): TextLayout {
  const letters = [...text].map((char) => ({ char, glyph: GLYPHS[char] as Glyph }));
  const units = letters.reduce((sum, letter) => sum + letter.glyph.width, 0);
  const gap = stroke + 3.4;
  const room = maxWidth - stroke - gap * (letters.length - 1);
  const scaleX = Math.min((0.6 * height) / 4, room / units);
  const scaleY = (height - stroke) / 6;
  let x = stroke / 2;
  let path = '';
  const chars: TextLayout['chars'] = [];
  for (const letter of letters) {
    const left = x;
    path += letter.glyph.path.replace(
      /(-?[\d.]+) (-?[\d.]+)/g,
      (_, px: string, py: string) =>
        `${round(left + Number(px) * scaleX)} ${round(stroke / 2 + Number(py) * scaleY)}`,
    );
    const inner = letter.glyph.width * scaleX;
    chars.push({ char: letter.char, x: round(left - stroke / 2), y: 0, w: round(inner + stroke), h: height });
    x += inner + gap;
  }
  return { width: round(x - gap + stroke / 2), height, stroke, path, chars };
}
