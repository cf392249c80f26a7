import * as echarts from 'echarts';
import type { Estimate } from '../intervals.js';

/** A line for each policy over the budgets, with a bar for each interval. */
export interface Panel {
  readonly title: string;
  readonly log: boolean;
  /** With the full cache: drawn across. */
  readonly full: number | undefined;
  readonly series: readonly { name: string; points: Points }[];
}

type Points = readonly { budget: string; estimate: Estimate }[];

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
const SYMBOLS = ['circle', 'rect', 'triangle', 'diamond', 'emptyCircle', 'emptyRect', 'emptyTriangle'];
const FULL = 'full';
const DASHES = { color: '#333333', lineStyle: { type: 'dashed' as const, width: 1 } };
/** The panels' part of the width; the legend stands beside them. */
const WIDTH = 820;
const HEIGHT = 300;
const TOP = 70;
const GAP = 70;
/** Half the width of the foot of an interval bar, in pixels. */
const FOOT = 3;

/** Pixels beside a name in the legend, and for each of its letters at most. */
const KEY = 60;
const LETTER = 7;

/** Panels below one another beside one legend, as SVG. */
export function linesSvg(title: string, panels: readonly Panel[]): string {
  const height = TOP + panels.length * (HEIGHT + GAP);
  const names = [...new Set(panels.flatMap(({ series }) => series.map(({ name }) => name)))];
  const legend = KEY + LETTER * Math.max(...names.map((name) => name.length));
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width: WIDTH + legend, height });
  const budgets = inOrder(
    new Set(panels.flatMap(({ series }) => series.flatMap(({ points }) => points.map((p) => p.budget)))),
  );
  // Shares stand where their number is; tokens and bytes, which have no common scale with them, side by side.
  const shares = budgets.every((budget) => kindOf(budget) === 0);
  const x = (budget: string) => (shares ? Number(budget) : budget);
  // From the edge, so that one budget makes a line too; where budgets are names, a dash where its only point is.
  const across = (full: number) => ({
    data: [...(shares ? [[0, full]] : []), ...budgets.map((budget) => [x(budget), full])],
    symbol: shares || budgets.length > 1 ? 'none' : 'rect',
    symbolSize: [60, 1],
  });
  const top = (index: number) => TOP + index * (HEIGHT + GAP);
  const look = (name: string) => {
    const at = names.indexOf(name);
    return { color: COLOURS[at % COLOURS.length]!, symbol: SYMBOLS[at % SYMBOLS.length]! };
  };
  chart.setOption({
    animation: false,
    backgroundColor: '#ffffff',
    title: [
      { text: title, left: 10, top: 8, textStyle: { fontSize: 16 } },
      ...panels.map((panel, index) => ({
        text: panel.title,
        left: 60,
        top: top(index) - 26,
        textStyle: { fontSize: 13, fontWeight: 'normal' as const },
      })),
    ],
    legend: { orient: 'vertical', top: TOP - 6, left: WIDTH, data: [FULL, ...names] },
    grid: panels.map((_, index) => ({
      top: top(index),
      height: HEIGHT - 20,
      left: 60,
      right: legend + 30,
    })),
    xAxis: panels.map((_, gridIndex) =>
      shares
        ? { type: 'value' as const, gridIndex, name: 'budget', nameLocation: 'middle', nameGap: 26, min: 0 }
        : { type: 'category' as const, gridIndex, data: budgets },
    ),
    yAxis: panels.map(({ log }, gridIndex) => ({
      type: log ? ('log' as const) : ('value' as const),
      gridIndex,
    })),
    series: panels.flatMap(({ series, full }, index) => {
      const axes = { xAxisIndex: index, yAxisIndex: index };
      const reference =
        full === undefined
          ? []
          : [{ type: 'line' as const, name: FULL, ...axes, ...DASHES, ...across(full) }];
      const lines = series.flatMap(({ name, points }) => {
        const { color, symbol } = look(name);
        return [
          ...lineParts(budgets, points).map((part) => ({
            type: 'line' as const,
            name,
            ...axes,
            symbol,
            symbolSize: 7,
            color,
            data: part.map(({ budget, estimate }) => [x(budget), estimate.value]),
          })),
          {
            type: 'custom' as const,
            name,
            ...axes,
            color,
            data: points.flatMap(({ budget, estimate: { low, high } }) =>
              low === null || high === null ? [] : [[x(budget), low, high]],
            ),
            encode: { x: 0, y: [1, 2] },
            renderItem: intervalBar(color),
          },
        ];
      });
      return [...reference, ...lines];
    }),
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
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

/** Draws [budget, low, high] as an upright bar with feet. */
function intervalBar(stroke: string): echarts.CustomSeriesOption['renderItem'] {
  return (_params, api) => {
    const [x, low] = api.coord([api.value(0), api.value(1)]) as [number, number];
    const [, high] = api.coord([api.value(0), api.value(2)]) as [number, number];
    const line = (x1: number, y1: number, x2: number, y2: number) => ({
      type: 'line' as const,
      shape: { x1, y1, x2, y2 },
      style: { stroke, lineWidth: 1 },
    });
    return {
      type: 'group',
      children: [
        line(x, low, x, high),
        line(x - FOOT, low, x + FOOT, low),
        line(x - FOOT, high, x + FOOT, high),
      ],
    };
  };
}
