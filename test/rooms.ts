/** A room of the house: a folder of src/, a folder inside one, or a single file that others stand on. */
export interface Room {
  /** What it knows, for docs/architecture.svg. */
  readonly does: string;
  /** Rooms that its files may import; a room's own folders are among them without being named. */
  readonly imports: readonly string[];
}

/**
 * The rooms of src/ by path, and every import between them that is allowed. '' is a file directly in src/: the public entry. Some are
 * not built yet; their arrows stand already.
 *
 * `docs/architecture.svg` is drawn from this: `npx tsx docs/architecture.ts`.
 */
export const ROOMS: Readonly<Record<string, Room>> = {
  cache: { does: 'which entries stay', imports: [] },
  memory: { does: 'where keys and values lie', imports: ['cache'] },
  policies: { does: 'one method, one file', imports: ['cache'] },
  grammar: { does: 'forms of answers', imports: [] },
  'graph/decoder.ts': { does: 'what our decoders take', imports: [] },
  'graph/onnx': { does: 'the ONNX format', imports: [] },
  'graph/analysis': { does: 'what a value computes', imports: ['graph/decoder.ts', 'graph/onnx'] },
  'graph/patterns': {
    does: 'attention, as exporters write it',
    imports: ['graph/decoder.ts', 'graph/onnx', 'graph/analysis'],
  },
  'graph/rewriting': {
    does: 'what stands in its place',
    imports: ['graph/decoder.ts', 'graph/onnx', 'graph/analysis', 'graph/patterns'],
  },
  graph: { does: 'a decoder, bytes to bytes', imports: [] },
  platform: { does: 'Node or browser', imports: ['graph'] },
  runtime: { does: 'ONNX Runtime', imports: ['cache', 'memory', 'graph', 'platform'] },
  models: {
    does: 'transformers.js: loading, families, prompts',
    imports: ['cache', 'memory', 'policies', 'grammar', 'graph', 'platform', 'runtime'],
  },
  engine: {
    does: 'many sequences at once',
    imports: ['cache', 'memory', 'policies', 'platform', 'runtime', 'models'],
  },
  server: { does: "OpenAI's API", imports: ['cache', 'platform', 'models', 'engine'] },
  queue: { does: 'many machines', imports: [] },
  describe: {
    does: 'many photos',
    imports: ['platform', 'engine', 'eval', 'queue'],
  },
  scenes: { does: 'what the demo model sees', imports: [] },
  convert: { does: 'checkpoints to ONNX', imports: ['graph'] },
  eval: {
    does: 'quality and time',
    imports: ['cache', 'memory', 'policies', 'models', 'engine', 'queue'],
  },
  explain: {
    does: 'pictures of what is kept',
    imports: ['cache', 'memory', 'policies', 'models', 'engine'],
  },
  '': {
    does: 'the public entry',
    imports: ['cache', 'memory', 'policies', 'graph', 'runtime', 'models', 'engine', 'server', 'convert'],
  },
  cli: {
    does: 'commands',
    imports: [
      ...['', 'cache', 'memory', 'policies', 'graph', 'platform', 'runtime', 'models'],
      ...['engine', 'server', 'describe', 'queue', 'scenes', 'convert', 'eval', 'explain'],
    ],
  },
};

/** Files that every room may import. */
export const FOR_ALL = [
  'errors.ts',
  'half-floats.ts',
  'make-folder.ts',
  'options.ts',
  'random.ts',
  'size-name.ts',
  'svg.ts',
];

/** The room of a file of src/: the longest path of a room that it lies under. Undefined in a folder that no room names. */
export function roomOf(file: string): string | undefined {
  if (!file.includes('/')) return '';
  return Object.keys(ROOMS)
    .filter((room) => room !== '' && liesIn(file, room))
    .sort((a, b) => b.length - a.length)[0];
}

/** Whether files of one room may import those of another. */
export function mayImport(from: string, to: string): boolean {
  if (from === to || (from !== '' && liesIn(to, from))) return true;
  return ROOMS[from]!.imports.some((room) => room === to || (room !== '' && liesIn(to, room)));
}

function liesIn(path: string, room: string): boolean {
  return path === room || path.startsWith(`${room}/`);
}
