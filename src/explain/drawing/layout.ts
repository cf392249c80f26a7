import { text } from '../../svg.js';

export const [WIDTH, MARGIN] = [1200, 36];
export const INNER = WIDTH - 2 * MARGIN;
export const [INK, SOFT] = ['#0f172a', '#64748b'];

/** Markup that takes `height` from where it begins. */
export interface Block {
  readonly markup: string;
  readonly height: number;
}

/** Blocks one below the other, each told where it begins. */
export function stack(y: number, gap: number, blocks: readonly ((y: number) => Block)[]): Block {
  let at = y;
  const drawn = blocks.map((block) => {
    const { markup, height } = block(at);
    at += height + gap;
    return markup;
  });
  return { markup: drawn.join('\n'), height: at - gap - y };
}

/** Above all panels of a grid, where there are several; 18 high. */
export function sectionHeading(y: number, title: string): Block {
  return {
    markup: text(MARGIN, y + 14, title, { class: 'section', 'font-size': 18, 'font-weight': 700, fill: INK }),
    height: 18,
  };
}

/** A heading of a panel and a line of numbers below it; 38 high. */
export function heading(x: number, y: number, title: string, line: string): string {
  return (
    text(x, y + 12, title, { 'font-size': 15, 'font-weight': 600, fill: INK }) +
    text(x, y + 30, line, { 'font-size': 12.5, fill: SOFT })
  );
}
