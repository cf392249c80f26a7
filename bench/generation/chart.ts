import * as echarts from 'echarts';

/** One panel of bars: milliseconds per token by contender. */
export interface Panel {
  title: string;
  ms: Readonly<Record<string, number>>;
}

const COLOURS = ['#8d99ae', '#5fa8d3', '#1b4965', '#cbd5e1'];
const WIDTH = 760;
const TITLE = 34;
const BAR = 30;

/** Panels of horizontal bars below one another, each with its own scale from zero, as SVG. */
export function chartSvg(title: string, panels: readonly Panel[]): string {
  const tops: number[] = [];
  let height = 50;
  for (const { ms } of panels) {
    tops.push(height + TITLE);
    height += TITLE + BAR * Object.keys(ms).length + 16;
  }
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height });
  chart.setOption({
    animation: false,
    title: [
      { text: title, left: 10, top: 8, textStyle: { fontSize: 16 } },
      ...panels.map((panel, i) => ({
        text: panel.title,
        left: 10,
        top: tops[i]! - 26,
        textStyle: { fontSize: 13, fontWeight: 'normal' },
      })),
    ],
    grid: panels.map(({ ms }, i) => ({
      top: tops[i]!,
      height: BAR * Object.keys(ms).length,
      left: 190,
      right: 90,
    })),
    xAxis: panels.map((_, i) => ({ type: 'value', gridIndex: i, show: false, min: 0 })),
    yAxis: panels.map(({ ms }, i) => ({
      type: 'category',
      gridIndex: i,
      inverse: true,
      data: Object.keys(ms),
      axisTick: { show: false },
      axisLine: { show: false },
    })),
    series: panels.map(({ ms }, i) => ({
      type: 'bar',
      xAxisIndex: i,
      yAxisIndex: i,
      barWidth: '65%',
      data: Object.values(ms).map((value, bar) => ({ value, itemStyle: { color: COLOURS[bar] } })),
      label: {
        show: true,
        position: 'right',
        formatter: ({ value }: { value: unknown }) => `${Number(value).toFixed(1)} ms`,
      },
    })),
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}
