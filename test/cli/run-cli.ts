import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const built = join(root, 'dist/cli/main.js');
/** The build, which starts three times as fast, unless a source has changed since. */
const program = buildIsFresh() ? [built] : ['--import', 'tsx', join(root, 'src/cli/main.ts')];

export interface Run {
  stdout: string;
  stderr: string;
  code: number | null;
}

/** Starts the command line in a process of its own. */
export function start(...args: string[]): ChildProcessWithoutNullStreams {
  return spawn(process.execPath, [...program, ...args]);
}

/** Starts it as a terminal does, in a process group of its own, which signals can be sent to. */
export function startGroup(...args: string[]): ChildProcessWithoutNullStreams {
  return spawn(process.execPath, [...program, ...args], { detached: true });
}

/** Runs the command line to its end. */
export async function run(...args: string[]): Promise<Run> {
  return finished(start(...args));
}

export async function finished(child: ChildProcessWithoutNullStreams): Promise<Run> {
  const result: Run = { stdout: '', stderr: '', code: null };
  child.stdout.on('data', (data) => {
    result.stdout += data;
  });
  child.stderr.on('data', (data) => {
    result.stderr += data;
  });
  result.code = await new Promise((resolve) => child.on('close', resolve));
  return result;
}

function buildIsFresh(): boolean {
  const time = (path: string) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' });
  return sources.every((file) => !file.endsWith('.ts') || time(join(root, 'src', file)) < time(built));
}
