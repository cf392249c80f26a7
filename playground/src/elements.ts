import { sizeName } from '../../src/size-name.js';
import type { Held, Side } from './messages.js';

/** The parts of the page, and what is shown in them. */

export function element<T extends HTMLElement = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`The page has no #${id}.`);
  return found as T;
}

export const ui = {
  drop: element('drop'),
  dropHint: element('drop-hint'),
  canvas: element<HTMLCanvasElement>('canvas'),
  kept: element('kept'),
  layer: element<HTMLSelectElement>('layer'),
  layerLabel: element('layer-label'),
  turns: element('turns'),
  samples: element('samples'),
  prompt: element<HTMLInputElement>('prompt'),
  send: element<HTMLButtonElement>('send'),
  stop: element<HTMLButtonElement>('stop'),
  forget: element<HTMLButtonElement>('forget'),
  budget: element<HTMLInputElement>('budget'),
  budgetValue: element<HTMLOutputElement>('budget-value'),
  policy: element<HTMLSelectElement>('policy'),
  policyHint: element('policy-hint'),
  model: element<HTMLInputElement>('model'),
  modelName: element('model-name'),
  dtype: element<HTMLSelectElement>('dtype'),
  runsOn: element<HTMLSelectElement>('runs-on'),
  runsOnHint: element('runs-on-hint'),
  device: element('device'),
  notes: element('notes'),
  progressBox: element('progress-box'),
  progress: element<HTMLProgressElement>('progress'),
  progressLabel: element('progress-label'),
  keyForm: element<HTMLFormElement>('key-form'),
  key: element<HTMLInputElement>('key'),
  error: element('error'),
  status: element('status'),
  partTitle: element('part-title'),
};

export const SIDES: readonly Side[] = ['part', 'whole'];

/** Shows what is for a page with a model of its own, or for one that a server gave out. */
export function showPartsOf(kind: 'page' | 'server'): void {
  for (const part of document.querySelectorAll<HTMLElement>('[data-on]'))
    part.hidden = part.dataset.on !== kind;
}

/** Where people see it, far as it may be from what they pressed. Without a message the last one goes. */
export function showError(message?: string): void {
  ui.error.textContent = message ?? '';
  ui.error.hidden = message === undefined;
  if (message !== undefined) ui.error.scrollIntoView({ block: 'nearest' });
}

export function showHeld(side: Side, held: Held | undefined): void {
  if (!held) return;
  const { bytes, bytesWhole, entries, tokens } = held;
  showNumber(side, 'bytes', sizeName(bytes));
  showNumber(side, 'entries', `${entries} of ${tokens}`);
  showBar(side, bytesWhole > 0 ? bytes / bytesWhole : 0);
}

export function showNumber(side: Side, what: string, text: string): void {
  columnOf(side).querySelector(`[data-of="${what}"]`)!.textContent = text;
}

export function showSpeed(side: Side, perSecond: number): void {
  showNumber(side, 'speed', `${perSecond.toFixed(1)} tokens/s`);
}

/** A question, with room for its answer. */
export function showQuestion(side: Side, prompt: string): void {
  const turn = document.createElement('div');
  turn.className = 'turn';
  const asked = document.createElement('p');
  asked.className = 'asked';
  asked.textContent = prompt;
  const said = document.createElement('p');
  said.className = 'said';
  turn.append(asked, said);
  logOf(side).append(turn);
  logOf(side).scrollTop = logOf(side).scrollHeight;
}

export function showText(side: Side, text: string): void {
  const said = saidBy(side);
  if (said) said.textContent += text;
  logOf(side).scrollTop = logOf(side).scrollHeight;
}

/** Answers and numbers go. */
export function clear(side: Side): void {
  logOf(side).replaceChildren();
  for (const number of columnOf(side).querySelectorAll('[data-of]')) number.textContent = '–';
  showBar(side, 0);
}

export function columnOf(side: Side): HTMLElement {
  return element(side);
}

export function logOf(side: Side): HTMLElement {
  return columnOf(side).querySelector('.log')!;
}

/** The answer that comes last. */
export function saidBy(side: Side): HTMLElement | null {
  return logOf(side).querySelector('.turn:last-child .said');
}

function showBar(side: Side, share: number): void {
  columnOf(side)
    .querySelector<HTMLElement>('.bar i')!
    .style.setProperty('width', `${Math.min(100, share * 100)}%`);
}
