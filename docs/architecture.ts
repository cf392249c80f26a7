/**
 * Draws docs/architecture.svg: the rooms of src/ and the imports between them, from test/rooms.ts. An arrow that follows from
 * others is left out; a room without a folder yet is dashed.
 * Run: npx tsx docs/architecture.ts
 */
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { ROOMS } from '../test/rooms.js';

type Box = readonly [x: number, y: number, width: number, height?: number];

const HEIGHT = 48;
const floor = (number: number) => 20 + number * 84;

/** Where each room stands: above everything that it imports, and over it, so that arrows are straight. */
const PLACES: Readonly<Record<string, Box>> = {
  cli: [20, floor(0), 940],
  describe: [20, floor(1), 340],
  '': [380, floor(1), 360],
  eval: [20, floor(2), 160],
  explain: [200, floor(2), 160],
  server: [380, floor(2), 160],
  convert: [580, floor(2), 160],
  scenes: [780, floor(2), 180],
  queue: [20, floor(3), 104],
  engine: [136, floor(3), 404],
  models: [20, floor(4), 520],
  policies: [20, floor(5), 130],
  grammar: [164, floor(5), 140],
  runtime: [318, floor(5), 222],
  memory: [200, floor(6), 160],
  platform: [380, floor(6), 160],
  cache: [20, floor(7), 520],
  graph: [580, floor(3), 380, floor(7) - floor(3) + HEIGHT],
  'graph/rewriting': [600, floor(4) - 2, 340],
  'graph/patterns': [600, floor(5) - 7, 340],
  'graph/analysis': [600, floor(6) - 12, 340],
  'graph/onnx': [600, floor(7) - 17, 160],
  'graph/decoder.ts': [780, floor(7) - 17, 160],
};

/** All that a room may import, by one arrow or several. */
function below(room: string): Set<string> {
  const found = new Set(ROOMS[room]!.imports);
  for (const each of found) for (const next of ROOMS[each]!.imports) found.add(next);
  return found;
}

/** The arrows of a room that do not follow from its others. */
function arrows(room: string): string[] {
  const inside = room === 'graph' ? Object.keys(ROOMS).filter((each) => each.startsWith('graph/')) : [];
  const all = [...ROOMS[room]!.imports, ...inside];
  return all.filter((each) => !all.some((other) => other !== each && below(other).has(each)));
}

/** From the lower edge of a box down to the upper edge of another, or where they stand side by side straight across. */
function arrow(from: string, to: string): string {
  const [x, y, width, height = HEIGHT] = PLACES[from]!;
  const [toX, toY, toWidth] = PLACES[to]!;
  const [left, right] = [Math.max(x, toX), Math.min(x + width, toX + toWidth)];
  if (left >= right) return line(x + width, y + height / 2, toX, y + height / 2);
  const middle = (left + right) / 2;
  // A folder's own rooms lie inside its box, below its name.
  return line(middle, from === 'graph' ? y + HEIGHT : y + height, middle, toY);
}

function line(x1: number, y1: number, x2: number, y2: number): string {
  const back = y1 === y2 ? `${x2 - 7} ${y2 - 4}V${y2 + 4}` : `${x2 - 4} ${y2 - 7}H${x2 + 4}`;
  return `<path class="line" d="M${x1} ${y1}L${x2} ${y2}"/><path class="head" d="M${x2} ${y2}L${back}Z"/>`;
}

function box(room: string): string {
  const [x, y, width, height = HEIGHT] = PLACES[room]!;
  const { does } = ROOMS[room]!;
  const built = existsSync(new URL(`../src/${room}`, import.meta.url));
  const kind = `${room.startsWith('graph/') ? 'inner' : 'room'}${built ? '' : ' waiting'}`;
  const name = room === '' ? 'index.ts' : room.replace(/^graph\//, '') + (room.endsWith('.ts') ? '' : '/');
  const middle = x + width / 2;
  return `<rect class="${kind}" x="${x}" y="${y}" width="${width}" height="${height}" rx="6"/>
<text class="name" x="${middle}" y="${y + 20}">${name}</text><text class="does" x="${middle}" y="${y + 37}">${does}</text>`;
}

/** The picture, as the text of an SVG file. */
export function drawRooms(): string {
  const height = floor(7) + HEIGHT + 20;
  const rooms = Object.keys(PLACES);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 980 ${height}" width="980" height="${height}" font-family="ui-sans-serif, system-ui, sans-serif" text-anchor="middle">
<title>The rooms of src/ and what each may import</title>
<style>
.paper{fill:#ffffff}.room{fill:#f1f5f9;stroke:#64748b}.inner{fill:#ffffff;stroke:#94a3b8}.waiting{stroke-dasharray:5 4}
.name{fill:#0f172a;font-size:15px;font-weight:600}.does{fill:#475569;font-size:12px}.line{stroke:#0f766e;stroke-width:1.5}.head{fill:#0f766e}
@media (prefers-color-scheme:dark){
.paper{fill:#0f172a}.room{fill:#1e293b;stroke:#94a3b8}.inner{fill:#0f172a;stroke:#64748b}
.name{fill:#f1f5f9}.does{fill:#cbd5e1}.line{stroke:#5eead4}.head{fill:#5eead4}
}
</style>
<rect class="paper" width="980" height="${height}"/>
${rooms.map(box).join('\n')}
${rooms.flatMap((room) => arrows(room).map((to) => arrow(room, to))).join('\n')}
</svg>
`;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await writeFile(fileURLToPath(new URL('architecture.svg', import.meta.url)), drawRooms());
}
