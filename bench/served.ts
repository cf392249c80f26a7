/** A server of its own process for benchmarks, on this machine alone, and what is asked of it. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { embeddedImage } from '../src/models/embedded.js';
import type { Random } from '../src/random.js';

export interface Served {
  readonly url: string;
  readonly child: ChildProcess;
  /** How often its log had a text. */
  logged(text: string): number;
  /** Ends it in good order. */
  stop(): Promise<void>;
}

const images = await Promise.all(
  Array.from({ length: 10 }, async (_, scene) =>
    (await readFile(embeddedImage(scene + 1))).toString('base64'),
  ),
);
const QUESTIONS = ['Describe the image in detail.', 'How many objects are there?', 'What is printed?'];

/** @param fileBytes no file grows beyond so many: a disk that is full */
export async function serve(options: readonly string[], fileBytes?: number): Promise<Served> {
  const main = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));
  const command = [process.execPath, main, 'serve', '--port', '0', ...options];
  // In blocks of 512 bytes; what is over them is an error, and no signal that ends the process.
  const limit = `trap '' XFSZ; ulimit -f ${Math.ceil((fileBytes ?? 0) / 512)}; exec "$@"`;
  const child =
    fileBytes === undefined
      ? spawn(command[0]!, command.slice(1))
      : spawn('sh', ['-c', limit, 'sh', ...command]);
  let log = '';
  child.stderr!.on('data', (data) => {
    log += String(data).replaceAll(/^.*"answered".*$\n?/gm, '');
  });
  const url = await new Promise<string>((resolve, reject) => {
    let said = '';
    child.stderr!.on('data', (data) => {
      said = (said + data).slice(-10_000);
      const found = /answers at (http:\S+)\/v1/.exec(said)?.[1];
      if (found) resolve(found);
    });
    child.once('exit', () => reject(new Error(said)));
  });
  const stop = async () => {
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGTERM');
    await gone;
  };
  return { url, child, logged: (text) => log.split(text).length - 1, stop };
}

/** A question about a picture, or now and then about none, streamed. */
export function bodyOf(random: Random, lengths: readonly number[]): string {
  const text = { type: 'text', text: random.pick(QUESTIONS) };
  const image = { type: 'image_url', image_url: { url: `data:image/png;base64,${random.pick(images)}` } };
  const content = random.chance(0.75) ? [image, text] : [text];
  return JSON.stringify({
    messages: [{ role: 'user', content }],
    max_tokens: random.pick(lengths),
    stream: true,
    stream_options: { include_usage: true },
  });
}

export interface Answer {
  readonly text: string;
  /** Milliseconds to the first piece of text, and between tokens on average. */
  readonly ttft: number;
  readonly tpot: number;
  readonly tokens: number;
}

/** An answer, or the code of what went wrong. */
export async function ask(url: string, body: string, signal?: AbortSignal): Promise<Answer | string> {
  const start = performance.now();
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
    ...(signal && { signal }),
  });
  if (!response.ok) return ((await response.json()) as { error: { code: string } }).error.code;
  let [first, last, tokens, text, rest] = [0, 0, 0, '', ''];
  for await (const part of response.body!.pipeThrough(new TextDecoderStream())) {
    const events = (rest + part).split('\n\n');
    rest = events.pop()!;
    for (const event of events) {
      if (!event.startsWith('data: {')) continue;
      const { error, choices, usage } = JSON.parse(event.slice(6));
      if (error) return error.code;
      tokens = usage?.completion_tokens ?? tokens;
      const piece = choices[0]?.delta.content ?? '';
      if (piece === '') continue;
      last = performance.now();
      first ||= last;
      text += piece;
    }
  }
  const tpot = tokens > 1 ? (last - first) / (tokens - 1) : Number.NaN;
  return { text, ttft: first - start, tpot, tokens };
}

/** Processes that another has made, with their megabytes, the largest first. */
export function childrenOf(parent: number): { pid: number; megabytes: number }[] {
  const lines = execFileSync('ps', ['-A', '-o', 'ppid=,pid=,rss='], { encoding: 'utf8' }).trim().split('\n');
  return lines
    .map((line) => line.trim().split(/\s+/).map(Number) as [number, number, number])
    .filter(([of]) => of === parent)
    .map(([, pid, kilobytes]) => ({ pid, megabytes: kilobytes / 1000 }))
    .sort((a, b) => b.megabytes - a.megabytes);
}
