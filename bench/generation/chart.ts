import { scaleLinear } from 'd3-scale';
import { tag, text } from '../../src/svg.js';

/** One panel of bars: milliseconds per token by contender. */
export interface Panel {
  title: string;
  ms: Readonly<Record<string, number>>;
}

const COLOURS = ['#8d99ae', '#5fa8d3', '#1b4965', '#cbd5e1', '#94a3b8'];
const WIDTH = 760;
/** What stands left and right of the bars. */
const [NAMES, VALUES] = [190, 90];
const [TITLE, ROW, BAR, GAP] = [34, 30, 20, 16];

/** Panels of horizontal bars below one another, each with its own scale from zero, as SVG. */
export function chartSvg(title: string, panels: readonly Panel[]): string {
  let height = 50;
  const drawn = panels.map((panel) => {
    const top = height;
    height += TITLE + ROW * Object.keys(panel.ms).length + GAP;
    return tag('g', { transform: `translate(0 ${top})` }, ...bars(panel));
  });
  return tag(
    'svg',
    {
      xmlns: 'http://www.w3.org/2000/svg',
      ...{ width: WIDTH, height, viewBox: `0 0 ${WIDTH} ${height}` },
      ...{ 'font-family': 'ui-sans-serif, system-ui, sans-serif', 'font-size': 12, fill: '#334155' },
    },
    tag('title', {}, title),
    tag('rect', { width: WIDTH, height, fill: '#ffffff' }),
    text(16, 30, title, { 'font-size': 17, 'font-weight': 'bold' }),
    ...drawn,
  );
}

function bars({ title, ms }: Panel): string[] {
  const length = scaleLinear([0, Math.max(...Object.values(ms))], [0, WIDTH - NAMES - VALUES]);
  return [
    text(16, 20, title, { 'font-size': 13.5 }),
    ...Object.entries(ms).flatMap(([name, value], row) => {
      const y = TITLE + row * ROW;
      const middle = y + BAR / 2 + 4;
      return [
        text(NAMES - 10, middle, name, { 'text-anchor': 'end' }),
        tag('rect', { x: NAMES, y, width: length(value), height: BAR, fill: COLOURS[row] }),
        text(NAMES + length(value) + 8, middle, `${value.toFixed(1)} ms`),
      ];
    }),
  ];
}
