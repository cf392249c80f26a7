import { tag, text } from '../../svg.js';
import type { Block } from './layout.js';

/** From nothing to most, dark to light: [share of the way, red, green, blue]. */
const STOPS = [
  [0, 22, 18, 60],
  [0.25, 91, 33, 130],
  [0.5, 190, 50, 110],
  [0.75, 246, 121, 54],
  [1, 253, 236, 150],
] as const;

/** The colour of a share in [0, 1]. */
export function heatColor(share: number): string {
  const upper = Math.max(
    1,
    STOPS.findIndex(([at]) => at >= share),
  );
  const [from, ...dark] = STOPS[upper - 1]!;
  const [to, ...light] = STOPS[upper]!;
  const way = (share - from) / (to - from);
  const channels = dark.map((value, channel) => Math.round(value + way * (light[channel]! - value)));
  return `#${channels.map((value) => value.toString(16).padStart(2, '0')).join('')}`;
}

/** Brings numbers to [0, 1] for colours, and tells which numbers to write beside them. */
export interface Scale {
  share(value: number): number;
  readonly ticks: readonly { share: number; label: string }[];
}

/** Equal steps from 0 to `most`, whole numbers. */
export function countScale(most: number): Scale {
  const step = Math.max(1, Math.ceil(most / 8));
  const counts = Array.from({ length: Math.floor(most / step) + 1 }, (_, index) => index * step);
  return {
    share: (value) => value / most,
    ticks: counts.map((count) => ({ share: count / most, label: String(count) })),
  };
}

/**
 * Equal steps by factors, for attention: a few tokens receive a hundred times as much as most. From the 5th percentile, but
 * not below a thousandth of the largest, to the largest; what lies below has the lowest colour.
 */
export function factorScale(values: readonly number[]): Scale {
  const sorted = values.filter((value) => value > 0).sort((a, b) => a - b);
  const most = sorted.at(-1) ?? 1;
  const few = Math.max(sorted[Math.floor(0.05 * sorted.length)] ?? 0, most / 1000);
  const low = ROUND.findLast((value) => value <= Math.min(few, most / 2)) ?? ROUND[0]!;
  const high = ROUND.find((value) => value >= most) ?? most;
  const range = Math.log(high / low);
  const share = (value: number) => Math.min(1, Math.log(Math.max(value, low) / low) / range);
  const decades = ROUND.filter((value, index) => index % 3 === 0 && value > low && value < high);
  const ticks = decades.map((value) => ({ share: share(value), label: times(value) }));
  return {
    share,
    ticks: [
      { share: 0, label: `≤ ${times(low)}` },
      ...ticks.filter((tick) => tick.share > 0.18 && tick.share < 0.87),
      { share: 1, label: times(high) },
    ],
  };
}

/** 1, 2 and 5 of each decade. */
const ROUND = Array.from(
  { length: 45 },
  (_, index) => [1, 2, 5][index % 3]! * 10 ** (Math.floor(index / 3) - 9),
);

/** A multiple: `0.03×`, `1×`, `12×`. */
export function times(value: number): string {
  return `${Number(value.toPrecision(value < 0.1 ? 1 : 2))}×`;
}

/** A bar of the colours with numbers below it. */
export function legend(x: number, y: number, width: number, { ticks }: Scale): Block {
  const steps = 48;
  const bar = Array.from({ length: steps }, (_, index) =>
    tag('rect', {
      x: x + (index * width) / steps,
      y,
      width: width / steps + 0.5,
      height: 10,
      fill: heatColor(index / (steps - 1)),
    }),
  );
  const labels = ticks.map(({ share, label }) =>
    text(x + share * width, y + 24, label, {
      'text-anchor': share < 0.05 ? 'start' : share > 0.95 ? 'end' : 'middle',
    }),
  );
  const markup = tag('g', { class: 'legend', 'font-size': 11.5, fill: '#475569' }, ...bar, ...labels);
  return { markup, height: 28 };
}
