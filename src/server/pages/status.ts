import type { EngineStats } from '../../engine/request.js';
import type { Page } from './html.js';

/** What a server does at the moment, and what it did since it began. */
export interface Status extends EngineStats {
  readonly model: string;
  readonly version: string;
  /** Seconds since it began. */
  readonly uptime: number;
  readonly state: 'ready' | 'draining' | 'failed';
  readonly lanes: number;
  /** Answers that may wait. */
  readonly mostWaiting: number;
  readonly answers: number;
  /** Of text, a token each mostly; told as they come, and not at the end. */
  readonly pieces: number;
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly newTokens: number;
  /** Bytes of the caches of all answers at their end, and of full caches. */
  readonly bytesHeld: number;
  readonly bytesFull: number;
}

/** `/status`: asks `status.json` every second while somebody looks. */
export const STATUS_PAGE: Page = {
  title: 'Elastic Cache: status',
  style: `
#lanes { display: flex; flex-wrap: wrap; gap: .35rem; margin: .5rem 0; } #lanes i { width: 2.2rem; height: 2.2rem; border-radius: 5px; border: 1px solid var(--line); background: var(--raised); } #lanes i.busy { background: var(--accent); border-color: var(--accent); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); gap: 1rem; } figure { margin: 0; border: 1px solid var(--line); border-radius: 6px; padding: .75rem; } figcaption { display: flex; justify-content: space-between; gap: 1rem; font-size: .925rem; } figcaption b { font-variant-numeric: tabular-nums; }
svg { display: block; width: 100%; height: 5rem; margin-top: .5rem; } polyline { fill: none; stroke: var(--accent); stroke-width: 2; vector-effect: non-scaling-stroke; } polyline.second { stroke: var(--full); }
td { font-variant-numeric: tabular-nums; } td:last-child { text-align: right; } table { max-width: 34rem; } #key { display: none; margin: 1rem 0; } #key input { font: inherit; padding: .25rem .5rem; width: min(24rem, 100%); }
`,
  body: `<h1>Status</h1>
<p class="quiet" id="head" role="status">Asking the server ...</p>
<form id="key"><label>This server asks for a key: <input type="password" autocomplete="off"></label></form>
<h2>Lanes</h2>
<div id="lanes" role="img" aria-label="lanes"></div>
<p id="words"></p>
<h2>The last two minutes</h2>
<div class="charts" id="charts"></div>
<h2>Since it began</h2>
<table id="totals"></table>`,
  script: `
const at = (id) => document.getElementById(id);
const made = (name, attributes = {}, text = '') => {
  const node = ['svg', 'polyline'].includes(name) ? document.createElementNS('http://www.w3.org/2000/svg', name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== '') node.textContent = text;
  return node;
};
const bytes = (count) => count < 1e3 ? count + ' B' : count < 1e6 ? (count / 1e3).toFixed(0) + ' kB' : count < 1e9 ? (count / 1e6).toFixed(1) + ' MB' : (count / 1e9).toFixed(2) + ' GB';
const number = (count) => count.toLocaleString('en');
const SECONDS = 120;
const seen = [];
const charts = [
  { title: 'running / waiting', of: (s) => [s.running, s.waiting], say: (s) => s.running + ' / ' + s.waiting },
  { title: 'caches now / promised', of: (s) => [s.bytesAllocated, s.bytesPromised], say: (s) => bytes(s.bytesAllocated) + ' / ' + bytes(s.bytesPromised) },
  { title: 'kept conversations', of: (s) => [s.bytesParked, s.bytesOnDisk], say: (s) => bytes(s.bytesParked) + (s.bytesOnDisk ? ' / ' + bytes(s.bytesOnDisk) + ' on disk' : '') },
  { title: 'pieces of text a second', of: (s, before) => [rate(s, before)], say: (s) => rate(s, seen.at(-2)).toFixed(0) },
];
const rate = (s, before) => before && s.uptime > before.uptime ? Math.max(0, (s.pieces - before.pieces) / (s.uptime - before.uptime)) : 0;
for (const chart of charts) {
  chart.value = made('b');
  chart.svg = made('svg', { viewBox: '0 0 ' + SECONDS + ' 100', preserveAspectRatio: 'none', 'aria-hidden': 'true' });
  const figure = made('figure');
  const caption = made('figcaption', {}, chart.title);
  caption.append(chart.value);
  figure.append(caption, chart.svg);
  at('charts').append(figure);
}
function draw(chart) {
  const rows = seen.map((s, index) => chart.of(s, seen[index - 1]));
  const most = Math.max(1e-9, ...rows.flat()) * 1.05;
  chart.svg.replaceChildren(...rows.at(-1).map((_, line) => {
    const points = rows.map((row, index) => (SECONDS - rows.length + 1 + index) + ',' + (98 - 96 * row[line] / most).toFixed(1));
    return made('polyline', { points: points.join(' '), class: line === 0 ? 'first' : 'second' });
  }).reverse());
  chart.value.textContent = chart.say(seen.at(-1));
}
function show(s) {
  seen.push(s);
  if (seen.length > SECONDS) seen.shift();
  const hours = Math.floor(s.uptime / 3600), minutes = Math.floor(s.uptime / 60) % 60;
  at('head').textContent = s.model + ', version ' + s.version + ': ' + s.state + ', for ' + (hours > 0 ? hours + ' h ' : '') + minutes + ' min';
  at('lanes').replaceChildren(...Array.from({ length: s.lanes }, (_, lane) => made('i', { class: lane < s.running ? 'busy' : 'free' })));
  const words = s.running + ' of ' + s.lanes + ' lanes run, ' + s.waiting + ' of ' + s.mostWaiting + ' places to wait are taken.';
  at('lanes').setAttribute('aria-label', words);
  at('words').textContent = words;
  charts.forEach(draw);
  const rows = [
    ['answers', number(s.answers)], ['tokens of answers', number(s.newTokens)], ['tokens of prompts that were read', number(s.promptTokens - s.cachedTokens)],
    ['tokens of prompts that were held already', number(s.cachedTokens)], ['bytes of caches at the end of answers', bytes(s.bytesHeld)],
    ['what full caches would have taken', bytes(s.bytesFull)],
  ];
  at('totals').replaceChildren(...rows.map((row) => { const line = made('tr'); line.append(...row.map((text) => made('td', {}, text))); return line; }));
}
let key = sessionStorage.getItem('elastic-cache-key');
at('key').addEventListener('submit', (event) => {
  event.preventDefault();
  key = at('key').querySelector('input').value.trim();
  sessionStorage.setItem('elastic-cache-key', key);
  look();
});
async function look() {
  try {
    const response = await fetch('status.json', { headers: key ? { authorization: 'Bearer ' + key } : {} });
    at('key').style.display = response.status === 401 ? 'block' : 'none';
    if (response.ok) show(await response.json());
    else at('head').textContent = response.status === 401 ? 'A key is needed.' : 'The server answers with ' + response.status + '.';
  } catch {
    at('head').textContent = 'The server does not answer.';
  }
}
look();
setInterval(() => { if (!document.hidden) look(); }, 1000);
`,
};
