import { definitions, type Photo } from './drawing/canvas.js';
import { INK, INNER, MARGIN, SOFT, WIDTH } from './drawing/layout.js';
import { escapeXml, tag, text } from './drawing/svg.js';
import { layerPage } from './layer-page.js';
import { overviewPage } from './overview-page.js';
import { placedGrids } from './placed-grids.js';
import type { Explanation } from './prompt/explain-prompt.js';

export interface PictureOptions {
  readonly photo: Photo;
  /** Heads the picture: `elastic, budget 0.2`. */
  readonly title: string;
  readonly prompt: string;
  /** The layer to look at; all of them unless told. */
  readonly layer?: number | undefined;
}

/** Draws an explanation whose image tokens lie on one grid or several, as a page of SVG. */
export function drawPicture(
  explanation: Explanation,
  { photo, title, prompt, layer }: PictureOptions,
): string {
  const { tokens, layers } = explanation;
  const shown = layer === undefined ? layers : [layers[layer]!];
  const [fewest, most] = [
    Math.min(...shown.map(({ held }) => held)),
    Math.max(...shown.map(({ held }) => held)),
  ];
  const entries = `${fewest === most ? most : `${fewest} to ${most}`} of ${tokens.length} prompt tokens held`;
  const where = layer === undefined ? `all ${layers.length} layers` : `layer ${layer}`;
  const held =
    layer === undefined
      ? `${entries} in each layer`
      : `${entries} in this layer (of 0 to ${layers.length - 1})`;
  const placed = placedGrids(explanation);
  const top = 116;
  const page =
    layer === undefined
      ? overviewPage(top, photo, explanation, placed)
      : layerPage(top, photo, explanation, placed, layers[layer]!);
  const height = Math.ceil(top + page.height + MARGIN);
  // A policy with many options has a long name.
  const heading = `${title} · ${where}`;
  const name = `${title}, ${where}: ${held}`;
  return `${tag(
    'svg',
    {
      xmlns: 'http://www.w3.org/2000/svg',
      width: WIDTH,
      height,
      viewBox: `0 0 ${WIDTH} ${height}`,
      'font-family': "ui-sans-serif, system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif",
    },
    tag('title', {}, escapeXml(name)),
    definitions(photo),
    tag('rect', { width: WIDTH, height, fill: '#fff' }),
    text(MARGIN, 50, heading, {
      'font-size': Math.min(24, INNER / (0.62 * heading.length)),
      'font-weight': 700,
      fill: INK,
    }),
    text(MARGIN, 74, held, { 'font-size': 15, fill: '#0f766e', 'font-weight': 600 }),
    text(MARGIN, 96, clipped(`“${prompt}”`, INNER / 7), {
      'font-size': 13.5,
      'font-style': 'italic',
      fill: SOFT,
    }),
    page.markup,
  )}\n`;
}

/** The first line's worth of a text. */
function clipped(content: string, characters: number): string {
  const line = content.replaceAll(/\s+/g, ' ');
  return line.length <= characters ? line : `${line.slice(0, Math.floor(characters) - 1)}…`;
}
