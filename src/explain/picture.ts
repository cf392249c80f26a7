import { escapeXml, tag, text } from '../svg.js';
import { definitions, type Photo } from './drawing/canvas.js';
import { type Block, INK, INNER, MARGIN, SOFT, WIDTH } from './drawing/layout.js';
import { layerPage } from './layer-page.js';
import { overviewPage } from './overview-page.js';
import { placedGrids } from './placed-grids.js';
import type { Explanation } from './prompt/explain-prompt.js';
import { textOfAllLayers, textOfLayer } from './text-of-layers.js';

export interface PictureOptions {
  /** None for a prompt of text alone. */
  readonly photo: Photo | undefined;
  /** Heads the picture: `elastic, budget 0.2`. */
  readonly title: string;
  readonly prompt: string;
  /** The layer to look at; all of them unless told. */
  readonly layer?: number | undefined;
}

/** Draws an explanation as a page of SVG: the photo, whose image tokens lie on one grid or several, and the text, or the text alone. */
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
  const top = 116;
  const page = drawPage(top, photo, explanation, layer);
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
    photo ? definitions(photo) : '',
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

function drawPage(
  y: number,
  photo: Photo | undefined,
  explanation: Explanation,
  layer: number | undefined,
): Block {
  const one = layer === undefined ? undefined : explanation.layers[layer]!;
  if (!photo) return one ? textOfLayer(y, explanation, one) : textOfAllLayers(y, explanation);
  const placed = placedGrids(explanation);
  return one ? layerPage(y, photo, explanation, placed, one) : overviewPage(y, photo, explanation, placed);
}

/** The first line's worth of a text. */
function clipped(content: string, characters: number): string {
  const line = content.replaceAll(/\s+/g, ' ');
  return line.length <= characters ? line : `${line.slice(0, Math.floor(characters) - 1)}…`;
}
