import { describePolicy, type PolicyName } from '../../src/browser.js';
import { sizeName } from '../../src/size-name.js';
import { EMBEDDED, SAMPLES } from './embedded.js';
import type { Command, Held, Kept, Report, Settings, Side } from './messages.js';
import { drawPicture, keptShare } from './overlay.js';

/** The page: what people do goes to the worker, what the worker tells is shown. */

const POLICIES: readonly PolicyName[] = [
  'elastic-plus',
  'snapkv',
  'pyramidkv',
  'prefixkv',
  'h2o',
  'elastic',
  'local',
];
const NEW_TOKENS = 160;

function element<T extends HTMLElement = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`The page has no #${id}.`);
  return found as T;
}

const ui = {
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
  device: element('device'),
  progressBox: element('progress-box'),
  progress: element<HTMLProgressElement>('progress'),
  progressLabel: element('progress-label'),
  error: element('error'),
  status: element('status'),
  partTitle: element('part-title'),
};

/** A picture, and what is kept of it once the model has seen it. */
interface Picture {
  readonly bitmap: ImageBitmap;
  readonly blob: Blob;
  readonly name: string;
  kept?: Kept;
}

let worker: Worker | undefined;
/** Chosen, and not asked about yet. */
let chosen: Picture | undefined;
/** Those of the conversation. */
let pictures: Picture[] = [];
let shown: Picture | undefined;
let isReady = false;
let isAnswering = false;
let readsImages = true;

const send = (command: Command) => worker?.postMessage(command);

// --- The model

function open(id: string, dtype: string | undefined): void {
  forget();
  isReady = false;
  showError();
  worker?.terminate();
  worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' });
  worker.addEventListener('message', ({ data }: MessageEvent<Report>) => hear(data));
  worker.addEventListener('error', ({ message }) => {
    isAnswering = false;
    showError(`The page's worker failed${message ? `: ${message}` : ''}. Load the page again.`);
    refresh();
  });
  ui.modelName.textContent = id === EMBEDDED ? `${id}, embedded` : id;
  ui.progressBox.hidden = false;
  ui.progress.removeAttribute('value');
  ui.progressLabel.textContent = `Loading ${id}`;
  send({ type: 'open', id, dtype, base: new URL('.', document.baseURI).href });
  refresh();
}

element('model-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const id = ui.model.value.trim();
  if (id !== '') open(id, ui.dtype.value || undefined);
  else ui.model.focus();
});
element('embedded').addEventListener('click', () => open(EMBEDDED, undefined));

// --- Pictures

async function choose(blob: Blob, name: string): Promise<void> {
  try {
    const bitmap = await createImageBitmap(blob);
    chosen = { bitmap, blob, name };
    show(chosen);
    showError();
  } catch {
    showError(`${name} is not a picture that this browser can read.`);
  }
  refresh();
}

async function chooseSample(file: string, question: string): Promise<void> {
  const response = await fetch(new URL(`samples/${file}`, document.baseURI));
  await choose(await response.blob(), `sample ${Number.parseInt(file, 10)}`);
  if (ui.prompt.value.trim() === '') ui.prompt.value = question;
}

function show(picture: Picture | undefined): void {
  shown = picture;
  const layer = ui.layer.value === '' ? undefined : Number(ui.layer.value);
  drawPicture(ui.canvas, picture?.bitmap, picture?.kept, layer);
  ui.dropHint.hidden = picture !== undefined;
  const grid = picture?.kept?.grid;
  ui.layerLabel.hidden = !grid;
  const what = picture ? `Picture: ${picture.name}` : 'No picture yet';
  if (grid && picture?.kept) {
    const share = Math.round(keptShare(picture.kept, layer) * 100);
    const where = layer === undefined ? 'over all layers' : `in layer ${layer}`;
    ui.kept.textContent = `${share} % of its ${grid.rows * grid.columns} patches are held ${where}. What has been let go is veiled.`;
  } else {
    const reason = picture?.kept?.reason;
    ui.kept.textContent = reason ? `What is kept of it cannot be drawn: ${reason}.` : '';
  }
  ui.canvas.setAttribute('aria-label', ui.kept.textContent ? `${what}. ${ui.kept.textContent}` : what);
  for (const [index, thumb] of ui.turns.querySelectorAll('button').entries()) {
    thumb.setAttribute('aria-pressed', String(pictures[index] === picture));
  }
}

function drawTurns(): void {
  ui.turns.hidden = pictures.length < 2;
  for (const button of ui.turns.querySelectorAll('button')) button.remove();
  ui.turns.append(
    ...pictures.map((picture, index) => {
      const button = document.createElement('button');
      button.type = 'button';
      button.setAttribute('aria-label', `Picture ${index + 1} of this conversation`);
      const canvas = document.createElement('canvas');
      canvas.width = 96;
      canvas.height = 96;
      drawPicture(canvas, picture.bitmap, undefined, undefined);
      button.append(canvas);
      button.addEventListener('click', () => show(picture));
      return button;
    }),
  );
}

for (const { file, question } of SAMPLES) {
  const button = document.createElement('button');
  button.type = 'button';
  const image = document.createElement('img');
  image.src = new URL(`samples/${file}`, document.baseURI).href;
  image.alt = `Sample ${Number.parseInt(file, 10)}`;
  image.width = 56;
  image.height = 56;
  button.append(image);
  button.addEventListener('click', () => void chooseSample(file, question));
  ui.samples.append(button);
}
for (const id of ['file', 'camera']) {
  const input = element<HTMLInputElement>(id);
  input.addEventListener('change', () => {
    const [file] = input.files ?? [];
    if (file) void choose(file, file.name);
    input.value = '';
  });
}
addEventListener('paste', (event) => {
  const file = Array.from(event.clipboardData?.files ?? []).find(({ type }) => type.startsWith('image/'));
  if (!file) return;
  event.preventDefault();
  void choose(file, 'the pasted picture');
});
addEventListener('dragover', (event) => {
  event.preventDefault();
  ui.drop.classList.add('over');
});
for (const type of ['dragleave', 'drop']) addEventListener(type, () => ui.drop.classList.remove('over'));
addEventListener('drop', (event) => {
  event.preventDefault();
  const [file] = event.dataTransfer?.files ?? [];
  if (file) void choose(file, file.name);
});
ui.layer.addEventListener('change', () => show(shown));

// --- Questions

for (const name of POLICIES) ui.policy.append(new Option(name, name));
ui.policy.addEventListener('change', settle);
ui.budget.addEventListener('input', settle);

function settings(): Settings {
  return { policy: ui.policy.value, budget: Number(ui.budget.value) / 100 };
}

/** What is kept is said; where a conversation has begun, the next question begins another. */
function settle(): void {
  const value = `${ui.budget.value} %`;
  ui.budgetValue.textContent = value;
  ui.partTitle.textContent = `${value} of the cache`;
  const description = describePolicy(ui.policy.value as PolicyName);
  ui.policyHint.textContent = `${ui.policy.value}: ${description}.`;
  if (pictures.length > 0 || logOf('part').childElementCount > 0) forget();
}

element('ask').addEventListener('submit', (event) => {
  event.preventDefault();
  const prompt = ui.prompt.value.trim();
  if (prompt === '' || !isReady || isAnswering) return;
  isAnswering = true;
  showError();
  const image = readsImages ? chosen : undefined;
  if (image) {
    pictures.push(image);
    chosen = undefined;
    drawTurns();
  }
  for (const side of ['part', 'whole'] as const) {
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
  send({ type: 'ask', prompt, image: image?.blob, newTokens: NEW_TOKENS, settings: settings() });
  ui.prompt.value = '';
  refresh();
});
ui.stop.addEventListener('click', () => send({ type: 'stop' }));
ui.forget.addEventListener('click', () => {
  forget();
  ui.prompt.focus();
});

function forget(): void {
  send({ type: 'forget' });
  // The last picture stays for the next conversation.
  chosen ??= pictures.at(-1);
  if (chosen) delete chosen.kept;
  pictures = [];
  drawTurns();
  for (const side of ['part', 'whole'] as const) {
    logOf(side).replaceChildren();
    for (const number of element(side).querySelectorAll('[data-of]')) number.textContent = '–';
    setBar(side, 0);
  }
  show(chosen);
  refresh();
}

// --- What the worker tells

function hear(report: Report): void {
  switch (report.type) {
    case 'progress':
      ui.progress.value = report.total > 0 ? report.loaded / report.total : 0;
      ui.progressLabel.textContent = `Loading the model: ${sizeName(report.loaded)} of ${sizeName(report.total)}`;
      break;
    case 'opened':
      isReady = true;
      readsImages = report.readsImages;
      ui.progressBox.hidden = true;
      ui.device.hidden = false;
      ui.device.textContent = `WebAssembly, ${report.threads} ${report.threads === 1 ? 'thread' : 'threads'}`;
      ui.device.title =
        'gpu' in navigator
          ? 'This browser has WebGPU; decoders with an elastic cache run on WebAssembly so far.'
          : 'This browser has no WebGPU.';
      ui.layer.replaceChildren(
        new Option('all', ''),
        ...Array.from({ length: report.layers }, (_, layer) => new Option(String(layer), String(layer))),
      );
      ui.status.textContent = 'The model is loaded.';
      break;
    case 'reading':
      columnOf(report.side).classList.add('busy');
      saidBy(report.side)?.setAttribute('aria-busy', 'true');
      ui.status.textContent =
        report.side === 'part' ? 'Answering with a part of the cache.' : 'Answering with the whole cache.';
      break;
    case 'text': {
      const said = saidBy(report.side);
      if (said) said.textContent += report.text;
      logOf(report.side).scrollTop = logOf(report.side).scrollHeight;
      showHeld(report.side, report.held);
      if (report.perSecond !== undefined)
        showNumber(report.side, 'speed', `${report.perSecond.toFixed(1)} tokens/s`);
      break;
    }
    case 'answered':
      columnOf(report.side).classList.remove('busy');
      saidBy(report.side)?.removeAttribute('aria-busy');
      showHeld(report.side, report.held);
      if (report.msPerToken !== null)
        showNumber(report.side, 'speed', `${(1000 / report.msPerToken).toFixed(1)} tokens/s`);
      if (report.prefillMs !== null) showNumber(report.side, 'prefill', duration(report.prefillMs));
      if (report.reason === 'aborted') saidBy(report.side)?.classList.add('stopped');
      break;
    case 'kept':
      report.images.forEach((kept, index) => {
        const picture = pictures[index];
        if (picture) picture.kept = kept;
      });
      show(shown && pictures.includes(shown) ? shown : (pictures.at(-1) ?? shown));
      break;
    case 'done':
      isAnswering = false;
      ui.status.textContent = report.goesOn
        ? 'Both have answered.'
        : 'Stopped. The next question begins a new conversation.';
      if (!report.goesOn) showError('Stopped. The next question begins a new conversation.');
      break;
    case 'failed':
      isAnswering = false;
      ui.progressBox.hidden = true;
      for (const side of ['part', 'whole'] as const) columnOf(side).classList.remove('busy');
      showError(report.message);
      break;
  }
  refresh();
}

function refresh(): void {
  ui.send.disabled = !isReady || isAnswering;
  ui.stop.hidden = !isAnswering;
  ui.send.hidden = isAnswering;
  ui.forget.disabled = isAnswering || logOf('part').childElementCount === 0;
  for (const control of [ui.budget, ui.policy]) control.disabled = isAnswering;
}

function duration(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

function showError(message?: string): void {
  ui.error.textContent = message ?? '';
  ui.error.hidden = message === undefined;
}

function showHeld(side: Side, { bytes, bytesWhole, entries, tokens }: Held): void {
  showNumber(side, 'bytes', sizeName(bytes));
  showNumber(side, 'entries', `${entries} of ${tokens}`);
  setBar(side, bytesWhole > 0 ? bytes / bytesWhole : 0);
}

function setBar(side: Side, share: number): void {
  columnOf(side)
    .querySelector<HTMLElement>('.bar i')!
    .style.setProperty('width', `${Math.min(100, share * 100)}%`);
}

function showNumber(side: Side, what: string, text: string): void {
  columnOf(side).querySelector(`[data-of="${what}"]`)!.textContent = text;
}

function columnOf(side: Side): HTMLElement {
  return element(side);
}

function logOf(side: Side): HTMLElement {
  return columnOf(side).querySelector('.log')!;
}

function saidBy(side: Side): HTMLElement | null {
  return logOf(side).querySelector('.turn:last-child .said');
}

settle();
open(EMBEDDED, undefined);
void chooseSample(SAMPLES[0]!.file, SAMPLES[0]!.question);
