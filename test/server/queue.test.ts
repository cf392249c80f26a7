import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { chown, copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openPhotoQueue } from '../../src/describe/photo-queue.js';
import { embeddedImage } from '../../src/index.js';
import { finished, run, start } from '../cli/run-cli.js';

/** PostgreSQL refuses to run as root. */
const NOBODY = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {};
const hasPostgres = ['initdb', 'postgres'].every((name) => spawnSync(name, ['--version']).status === 0);

let folder: string;
let photos: string;
let address: string;
let postgres: ChildProcess;

beforeAll(async () => {
  if (!hasPostgres) return;
  folder = await mkdtemp(join(tmpdir(), 'queue-'));
  photos = join(folder, 'photos');
  await mkdir(photos);
  for (let scene = 1; scene <= 6; scene++) await copyFile(embeddedImage(scene), join(photos, `${scene}.png`));
  await writeFile(join(photos, '3x.png'), 'no image');
  const database = await mkdtemp(join(tmpdir(), 'postgres-'));
  if (NOBODY.uid) await chown(database, NOBODY.uid, NOBODY.gid);
  const data = join(database, 'data');
  execFileSync('initdb', ['-D', data, '-A', 'trust', '-U', 'postgres', '--no-sync'], {
    ...NOBODY,
    cwd: database,
  });
  const port = await freePort();
  const settings = ['-c', 'listen_addresses=127.0.0.1', '-c', 'fsync=off'];
  postgres = spawn('postgres', ['-D', data, '-p', String(port), '-k', database, ...settings], {
    ...NOBODY,
    cwd: database,
  });
  await new Promise<void>((resolve, reject) => {
    postgres.stderr!.on('data', (said) => String(said).includes('ready to accept connections') && resolve());
    postgres.once('exit', () => reject(new Error('postgres ended')));
  });
  postgres.once('exit', () => void rm(database, { recursive: true, force: true }));
  address = `postgres://postgres@127.0.0.1:${port}/postgres`;
});
afterAll(async () => {
  if (!hasPostgres) return;
  const gone = new Promise((resolve) => postgres.once('exit', resolve));
  postgres.kill('SIGINT');
  await gone;
  await rm(folder, { recursive: true });
});

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

const worker = () => start('worker', '--queue', address, '--lanes', '1');
const asked = (out: string, ...more: string[]) => [
  ...['describe', photos, '--prompt', 'How many objects are there?', '--max-new-tokens', '4'],
  ...['--out', out, '--queue', address, ...more],
];

describe.skipIf(!hasPostgres)('a queue that machines share', () => {
  it('has every photo described, in order and once, though a worker is killed', async () => {
    const out = join(folder, 'captions.jsonl');
    const describing = run(...asked(out, '--expire-seconds', '10'));
    // Killed with what it was given.
    const killed = worker();
    const queue = await openPhotoQueue(address, () => {});
    const active = async () =>
      (await queue.states())
        .filter(({ state }) => state === 'active')
        .reduce((sum, { count }) => sum + count, 0);
    await expect.poll(active, { timeout: 60_000, interval: 50 }).toBeGreaterThan(0);
    killed.kill('SIGKILL');
    const second = worker();
    const ended = finished(second);
    const { code, stderr } = await describing;
    expect([code, stderr]).toEqual([
      0,
      expect.stringContaining('7 images described, 1 of them with an error'),
    ]);
    const lines = (await readFile(out, 'utf8'))
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines.map(({ image }) => image)).toEqual(
      ['1', '2', '3', '3x', '4', '5', '6'].map((name) => join(photos, `${name}.png`)),
    );
    expect(lines[3].error.code).toBe('invalid-image');
    expect(await queue.states()).toEqual([{ state: 'completed', count: 7 }]);
    // What was put in is there once, and what is written stays.
    const [first] = await queue.results(JSON.parse(await readFile(`${out}.run`, 'utf8')).run, 0);
    expect(first).toMatchObject({ text: lines[0].text });
    await rm(out);
    await rm(`${out}.settings.json`);
    expect((await run(...asked(out))).code).toBe(0);
    expect(await queue.states()).toEqual([{ state: 'completed', count: 7 }]);
    // One that was put among them later is described, and has its own line.
    await copyFile(embeddedImage(7), join(photos, '2x.png'));
    expect((await run(...asked(out))).code).toBe(0);
    const [last] = (await readFile(out, 'utf8')).trimEnd().split('\n').slice(7);
    expect(JSON.parse(last!)).toMatchObject({ image: join(photos, '2x.png'), text: expect.any(String) });
    expect(await queue.states()).toEqual([{ state: 'completed', count: 8 }]);
    await queue.close();
    second.kill('SIGTERM');
    expect(await ended).toMatchObject({
      code: 0,
      stderr: expect.stringMatching(/\d+ described, \d+ with an error, 0 given back/),
    });
  });

  it('has the samples of a sweep measured by two machines, as by one', async () => {
    const sweep = (out: string, ...more: string[]) =>
      run(
        ...['eval', '--out', join(folder, out), '--samples', '3', '--policies', 'snapkv', '--budgets', '0.2'],
        ...['--metrics', 'rouge', '--max-new-tokens', '6', ...more],
      );
    const queued = ['--queue', address];
    const [alone, one, two] = await Promise.all([
      sweep('alone'),
      sweep('one', ...queued),
      sweep('two', ...queued),
    ]);
    expect([alone.code, one.code, two.code], one.stderr + two.stderr).toEqual([0, 0, 0]);
    const lines = (out: string) => readFile(join(folder, out, 'results.jsonl'), 'utf8');
    expect(await lines('one')).toBe(await lines('alone'));
    expect(await lines('two')).toBe(await lines('alone'));
    const measured = [one, two].map(({ stderr }) =>
      Number(/(\d) of 3 samples measured here/.exec(stderr)![1]),
    );
    expect(measured[0]! + measured[1]!).toBe(3);
    expect(one.stdout).toBe(alone.stdout);
    const timed = await sweep('timed', ...queued, '--metrics', 'latency');
    expect([timed.code, timed.stderr]).toEqual([
      2,
      expect.stringContaining('leave latency out of --metrics'),
    ]);
  });

  it('is refused where there is none', async () => {
    const { code, stderr } = await run('worker', '--queue', 'postgres://postgres@127.0.0.1:1/none');
    expect([code, stderr]).toEqual([
      2,
      expect.stringMatching(/^error: The queue cannot be opened .*--queue postgres:[^\n]*\n$/),
    ]);
    const other = await run('worker', '--queue', 'localhost');
    expect(other.stderr).toMatch(/^error: --queue "localhost" is no address of a PostgreSQL; [^\n]*\n$/);
  });
});
