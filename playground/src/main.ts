import { describePolicy, type PolicyName } from '../../src/browser.js';
import { sizeName } from '../../src/size-name.js';
import { type Backend, IS_ON_SERVER, workerBackend } from './backends.js';
import { offerDevices, showDevice } from './devices.js';
import {
  clear,
  columnOf,
  element,
  logOf,
  SIDES,
  saidBy,
  showError,
  showHeld,
  showNumber,
  showPartsOf,
  showQuestion,
  showSpeed,
  showText,
  ui,
} from './elements.js';
import { EMBEDDED, SAMPLES } from './embedded.js';
import type { Command, Device, Report, Settings } from './messages.js';
import { Pictures } from './pictures.js';
import { keepKey, serverBackend } from './server.js';

/** The page: what people do goes to what answers, what that tells is shown. */

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

let backend: Backend | undefined;
let isReady = false;
let isAnswering = false;
let readsImages = true;
const pictures = new Pictures(() => refresh());

const send = (command: Command) => backend?.send(command);

// --- The model

function open(id: string, dtype: string | undefined, device: Device): void {
  forget();
  isReady = false;
  showError();
  backend?.end();
  backend = IS_ON_SERVER ? serverBackend(hear) : workerBackend(hear);
  ui.modelName.textContent = id === EMBEDDED ? `${id}, embedded` : id;
  ui.notes.hidden = true;
  ui.device.hidden = true;
  ui.progressBox.hidden = false;
  ui.progressBox.scrollIntoView({ block: 'nearest' });
  ui.progress.removeAttribute('value');
  ui.progressLabel.textContent = `Loading ${id}`;
  ui.status.textContent = `Loading ${id}.`;
  send({ type: 'open', id, dtype, device, base: new URL('.', document.baseURI).href });
  refresh();
}

const chosenDevice = () => ui.runsOn.value as Device;

element('model-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const id = ui.model.value.trim();
  if (id !== '') open(id, ui.dtype.value || undefined, chosenDevice());
  else ui.model.focus();
});
element('embedded').addEventListener('click', () => open(EMBEDDED, undefined, chosenDevice()));
ui.keyForm.addEventListener('submit', (event) => {
  event.preventDefault();
  keepKey(ui.key.value.trim());
  open('the model of this server', undefined, 'wasm');
});

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
  if (pictures.areAskedAbout || logOf('part').childElementCount > 0) forget();
}

element('ask').addEventListener('submit', (event) => {
  event.preventDefault();
  const prompt = ui.prompt.value.trim();
  if (prompt === '' || !isReady || isAnswering) return;
  isAnswering = true;
  showError();
  const image = readsImages ? pictures.take() : undefined;
  for (const side of SIDES) showQuestion(side, prompt);
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
  for (const side of SIDES) clear(side);
  pictures.forget();
  refresh();
}

// --- What is told

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
      showDevice(report.on);
      ui.notes.textContent = report.notes.join(' ');
      ui.notes.hidden = report.notes.length === 0;
      ui.layer.replaceChildren(
        new Option('all', ''),
        ...Array.from({ length: report.layers }, (_, layer) => new Option(String(layer), String(layer))),
      );
      ui.keyForm.hidden = true;
      ui.status.textContent = 'The model is loaded.';
      break;
    case 'reading':
      columnOf(report.side).classList.add('busy');
      saidBy(report.side)?.setAttribute('aria-busy', 'true');
      ui.status.textContent =
        report.side === 'part' ? 'Answering with a part of the cache.' : 'Answering with the whole cache.';
      break;
    case 'text':
      showText(report.side, report.text);
      showHeld(report.side, report.held);
      if (report.perSecond !== undefined) showSpeed(report.side, report.perSecond);
      break;
    case 'answered':
      columnOf(report.side).classList.remove('busy');
      saidBy(report.side)?.removeAttribute('aria-busy');
      showHeld(report.side, report.held);
      if (report.msPerToken !== null) showSpeed(report.side, 1000 / report.msPerToken);
      if (report.prefillMs !== null) showNumber(report.side, 'prefill', duration(report.prefillMs));
      if (report.reason === 'aborted') saidBy(report.side)?.classList.add('stopped');
      break;
    case 'kept':
      pictures.noteKept(report.images);
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
      ui.status.textContent = '';
      if (report.while === 'opening' && !IS_ON_SERVER) ui.modelName.textContent = 'none is loaded';
      for (const side of SIDES) columnOf(side).classList.remove('busy');
      if (report.needsKey) ui.keyForm.hidden = false;
      // Who has given none is asked for one, and that is no error.
      if (!report.needsKey || ui.key.value !== '') showError(report.message);
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

settle();
showPartsOf(IS_ON_SERVER ? 'server' : 'page');
if (IS_ON_SERVER) open('the model of this server', undefined, 'wasm');
else {
  void offerDevices();
  // The embedded model is answering before a GPU has made its first shader.
  open(EMBEDDED, undefined, 'wasm');
}
void pictures.chooseSample(SAMPLES[0]!.file, SAMPLES[0]!.question);
