import { scaleLinear, scaleLog, scalePoint } from 'd3-scale';
import { line, symbol, symbolsFill } from 'd3-shape';
import { tag, text } from '../../svg.js';
import type { Estimate } from '../intervals.js';

/** A line for each policy over the budgets, with a bar for each interval. */
export interface Panel {
  readonly title: string;
  readonly log: boolean;
  /** With the full cache: drawn across. */
  readonly full: number | undefined;
  readonly series: readonly Series[];
}

interface Series {
  readonly name: string;
  readonly points: Points;
}

type Points = readonly { budget: string; estimate: Estimate }[];

/** Of a page: where each budget stands, and what each policy looks like. */
interface Look {
  readonly x: { readonly ticks: readonly string[]; at(budget: string): number };
  readonly budgets: readonly string[];
  style(name: string): { colour: string; dot: string };
}

const COLOURS = [
  '#1b4965',
  '#d1495b',
  '#2a9d8f',
  '#edae49',
  '#7b5ea7',
  '#5fa8d3',
  '#8c564b',
  '#66a61e',
  '#e76f51',
  '#6c757d',
];
const FULL = 'full';
const DASHED = { stroke: '#333333', 'stroke-dasharray': '4,3' };
const INK = '#334155';
/** A panel's plot, without what is written around it. */
const [LEFT, RIGHT, HEIGHT] = [64, 790, 280];
const TOP = 80;
/** From one plot's top to that of the next. */
const STEP = 380;
/** The legend: where it begins, what stands before a name, a line of it, and a letter at most. */
const [LEGEND, KEY, LEGEND_LINE, LETTER] = [820, 38, 22, 7.5];
/** What a log scale reaches beyond what is drawn, as a factor. */
const LOG_MARGIN = 1.08;
/** Square pixels of a dot, and half the width of the foot of an interval bar. */
const [DOT, FOOT] = [52, 3];

/** Panels below one another beside one legend, as SVG. */
export function linesSvg(title: string, panels: readonly Panel[]): string {
  const names = [...new Set(panels.flatMap(({ series }) => series.map(({ name }) => name)))];
  const budgets = inOrder(
    new Set(panels.flatMap(({ series }) => series.flatMap(({ points }) => points.map((p) => p.budget)))),
  );
  const look: Look = {
    x: budgetScale(budgets),
    budgets,
    style(name) {
      const at = names.indexOf(name);
      const shape = symbol(symbolsFill[at % symbolsFill.length]!, DOT);
      return { colour: COLOURS[at % COLOURS.length]!, dot: shape()! };
    },
  };
  const width = LEGEND + KEY + LETTER * Math.max(...names.map((name) => name.length)) + 20;
  const height = TOP + Math.max(panels.length * STEP - 30, (names.length + 1) * LEGEND_LINE + 20);
  return tag(
    'svg',
    {
      xmlns: 'http://www.w3.org/2000/svg',
      ...{ width, height, viewBox: `0 0 ${width} ${height}` },
      ...{ 'font-family': 'ui-sans-serif, system-ui, sans-serif', 'font-size': 12, fill: INK },
    },
    tag('title', {}, title),
    // A ground of its own: on a dark page dark ink would be lost.
    tag('rect', { width, height, fill: '#ffffff' }),
    text(16, 30, title, { 'font-size': 17, 'font-weight': 'bold' }),
    ...panels.map((panel, index) =>
      tag('g', { transform: `translate(0 ${TOP + index * STEP})` }, ...drawn(panel, look)),
    ),
    tag('g', { transform: `translate(${LEGEND} ${TOP})` }, ...legend(names, look)),
  );
}

function drawn({ title, log, full, series }: Panel, look: Look): string[] {
  const y = valueScale(
    log,
    series.flatMap(({ points }) =>
      points.flatMap(({ estimate: { value, low, high } }) => [value, low, high]),
    ),
    full,
  );
  const format = y.tickFormat(6, log ? '~g' : undefined);
  return [
    text(LEFT, -14, title, { 'font-size': 13.5 }),
    ...y
      .ticks(6)
      .flatMap((value) => [
        tag('path', { d: `M${LEFT} ${y(value)}H${RIGHT}`, stroke: '#e2e8f0' }),
        text(LEFT - 8, y(value) + 4, format(value), { 'text-anchor': 'end' }),
      ]),
    tag('path', { d: `M${LEFT} ${HEIGHT}H${RIGHT}`, stroke: '#94a3b8' }),
    ...look.x.ticks.flatMap((budget) => [
      tag('path', { d: `M${look.x.at(budget)} ${HEIGHT}v5`, stroke: '#94a3b8' }),
      text(look.x.at(budget), HEIGHT + 19, budget, { 'text-anchor': 'middle' }),
    ]),
    text((LEFT + RIGHT) / 2, HEIGHT + 38, 'budget', { 'text-anchor': 'middle' }),
    ...(full === undefined
      ? []
      : [tag('path', { class: FULL, d: `M${LEFT} ${y(full)}H${RIGHT}`, ...DASHED })]),
    ...series.flatMap((one) => seriesParts(one, y, look)),
  ];
}

/** A policy's intervals, lines and dots, in this order from back to front. */
function seriesParts({ name, points }: Series, y: (value: number) => number, look: Look): string[] {
  const { colour, dot } = look.style(name);
  const at = ({ budget, estimate }: Points[number]) =>
    [look.x.at(budget), y(estimate.value)] as [number, number];
  const shown = points.filter(({ estimate }) => Number.isFinite(estimate.value));
  const intervals = shown.flatMap(({ budget, estimate: { low, high } }) => {
    if (!Number.isFinite(low) || !Number.isFinite(high)) return [];
    const [x, bottom, top] = [look.x.at(budget), y(low!), y(high!)];
    const foot = `h${2 * FOOT}`;
    return [`M${x} ${bottom}V${top}M${x - FOOT} ${bottom}${foot}M${x - FOOT} ${top}${foot}`];
  });
  return [
    tag('path', { d: intervals.join(''), stroke: colour, fill: 'none' }),
    ...lineParts(look.budgets, shown).map((part) =>
      tag('path', {
        class: 'line',
        d: line()(part.map(at))!,
        stroke: colour,
        'stroke-width': 2,
        fill: 'none',
      }),
    ),
    ...shown.map((point) => {
      const [x, height] = at(point);
      return tag('path', { d: dot, transform: `translate(${x} ${height})`, fill: colour });
    }),
  ];
}

/** Dashes for the full cache, and a dot on a line for each policy. */
function legend(names: readonly string[], look: Look): string[] {
  const place = (row: number) => row * LEGEND_LINE;
  const dash = (row: number, attributes: Record<string, string | number>) =>
    tag('path', { d: `M0 ${place(row)}h28`, ...attributes });
  return [
    dash(0, DASHED),
    text(KEY, place(0) + 4, FULL),
    ...names.flatMap((name, index) => {
      const { colour, dot } = look.style(name);
      return [
        dash(index + 1, { stroke: colour, 'stroke-width': 2 }),
        tag('path', { d: dot, transform: `translate(14 ${place(index + 1)})`, fill: colour }),
        text(KEY, place(index + 1) + 4, name),
      ];
    }),
  ];
}

/** Shares stand where their number is; tokens and bytes, which have no common scale with them, side by side. */
function budgetScale(budgets: readonly string[]): Look['x'] {
  if (budgets.every((budget) => kindOf(budget) === 0)) {
    const scale = scaleLinear([0, Math.max(...budgets.map(Number))], [LEFT, RIGHT - 20]).nice();
    return { ticks: scale.ticks(8).map(scale.tickFormat(8)), at: (budget) => scale(Number(budget)) };
  }
  const scale = scalePoint(budgets, [LEFT, RIGHT]).padding(0.5);
  return { ticks: budgets, at: (budget) => scale(budget)! };
}

/** From nothing, or on a log scale from a little below the least, to the most that is drawn. */
function valueScale(log: boolean, values: readonly (number | null)[], full: number | undefined) {
  const all = [...values, full].filter((value): value is number => Number.isFinite(value));
  const [least, most] = [Math.min(...all), Math.max(...all)];
  const range = [HEIGHT, 0];
  return log
    ? scaleLog([least / LOG_MARGIN, most * LOG_MARGIN], range)
    : scaleLinear([0, most || 1], range).nice();
}

/** Kinds of budgets have no common scale: 0 shares, 1 tokens, 2 memory. */
function kindOf(budget: string): number {
  if (Number.isFinite(Number(budget))) return 0;
  return budget.endsWith('tokens') ? 1 : 2;
}

/** Kind by kind: shares by size, others as they were asked for. */
function inOrder(budgets: ReadonlySet<string>): string[] {
  return [...budgets].sort((a, b) => kindOf(a) - kindOf(b) || (kindOf(a) === 0 ? Number(a) - Number(b) : 0));
}

/** The points of each line: none goes from one kind of budgets to another. */
function lineParts(budgets: readonly string[], points: Points): Points[] {
  const sorted = points.toSorted((a, b) => budgets.indexOf(a.budget) - budgets.indexOf(b.budget));
  const kinds = new Set(sorted.map(({ budget }) => kindOf(budget)));
  return [...kinds].map((kind) => sorted.filter(({ budget }) => kindOf(budget) === kind));
}
