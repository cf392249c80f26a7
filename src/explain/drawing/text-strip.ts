import { escapeXml, tag, text } from '../../svg.js';

/** A token of the text, or all of the image's as one. */
export interface Chip {
  readonly label: string;
  /** Below the label: what it received, how often it stayed. */
  readonly note: string;
  /** Share of the layers in which it stayed; undefined for the image. */
  readonly stayed: number | undefined;
  /** Shown where the pointer rests. */
  readonly tip: string;
}

const [HEIGHT, GAP, PADDING] = [38, 6, 9];
/** Width of a character: the labels are in a font where all are alike. */
const [LABEL, NOTE] = [7.9, 6.1];
const KEPT = '#0f766e';

/** The chips from left to right in rows of `width`. */
export function textStrip(
  x: number,
  y: number,
  width: number,
  chips: readonly Chip[],
): { markup: string; height: number } {
  let [left, top] = [0, 0];
  const drawn = chips.map((chip) => {
    const size = Math.min(width, chipWidth(chip));
    if (left > 0 && left + size > width) [left, top] = [0, top + HEIGHT + GAP];
    const markup = drawChip(x + left, y + top, size, chip);
    left += size + GAP;
    return markup;
  });
  return { markup: tag('g', { class: 'text-strip' }, ...drawn), height: top + HEIGHT };
}

function chipWidth({ label, note }: Chip): number {
  return Math.max(label.length * LABEL, note.length * NOTE) + 2 * PADDING;
}

function drawChip(x: number, y: number, width: number, { label, note, stayed, tip }: Chip): string {
  const image = stayed === undefined;
  const whole = stayed === 1;
  const box = { x, y, width, height: HEIGHT, rx: 6 };
  const ink = image ? '#475569' : whole ? '#fff' : stayed > 0 ? KEPT : '#94a3b8';
  return tag(
    'g',
    { class: image ? 'image' : stayed > 0 ? 'chip stayed' : 'chip gone' },
    tag('title', {}, escapeXml(tip)),
    tag('rect', {
      ...box,
      fill: image ? '#e2e8f0' : whole ? KEPT : stayed > 0 ? '#ccfbf1' : '#f8fafc',
      stroke: image ? '#cbd5e1' : stayed > 0 ? KEPT : '#cbd5e1',
      'stroke-dasharray': !image && stayed === 0 ? '3 3' : undefined,
    }),
    text(x + width / 2, y + 17, label, {
      'text-anchor': 'middle',
      'font-family': MONOSPACE,
      'font-size': 13,
      fill: ink,
    }),
    text(x + width / 2, y + 31, note, { 'text-anchor': 'middle', 'font-size': 10.5, fill: ink }),
  );
}

const MONOSPACE = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace";

/** The text of a token with what cannot be seen made visible. */
export function visible(token: string): string {
  return (
    token
      .replaceAll('\n', '⏎')
      .replaceAll('\t', '⇥')
      .replaceAll(/^ +$/g, (spaces) => '␣'.repeat(spaces.length))
      .trim() || '∅'
  );
}
