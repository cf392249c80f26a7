import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { convertCheckpoint } from '../../src/convert/index.js';
import { finished, run, start } from '../cli/run-cli.js';
import { DTYPES } from './checkpoints.js';

const checkpoint = fileURLToPath(new URL('fixtures/tiny-llava', import.meta.url));

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'elastic-cache-interrupted-'));
  await convertCheckpoint({ from: checkpoint, to: join(root, 'whole'), dtype: DTYPES });
});
afterAll(() => rm(root, { recursive: true }));

const args = (to: string) => [
  'convert',
  '--from',
  checkpoint,
  '--to',
  join(root, to),
  '--dtype',
  DTYPES.join(),
];
const lines = async (name: string) =>
  (await readFile(join(root, `.${name}.converting/journal`), 'utf8').catch(() => '')).split('\n').length - 1;

async function contents(name: string): Promise<Map<string, Buffer>> {
  const files = await readdir(join(root, name), { recursive: true, withFileTypes: true });
  const read = files
    .filter((file) => file.isFile())
    .map(async (file) => [file.name, await readFile(join(file.parentPath, file.name))] as const);
  return new Map(await Promise.all(read));
}

it.each(['SIGINT', 'SIGKILL'] as const)(
  '%s leaves nothing that looks finished, and the same command goes on from there',
  async (signal) => {
    const child = start(...args(signal));
    const done = finished(child);
    while ((await lines(signal)) < 10 && child.exitCode === null) {
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    child.kill(signal);
    const { code, stderr } = await done;
    if (signal === 'SIGINT') {
      expect({ code, stderr }).toEqual({
        code: 130,
        stderr: 'stopped; the same command goes on from here.\n',
      });
    }
    expect(await readdir(root)).not.toContain(signal);
    const before = await lines(signal);
    expect(before).toBeGreaterThanOrEqual(10);
    const first = `${signal}.converting/model/onnx/vision_encoder.onnx_data`;
    const { ino } = await stat(join(root, `.${first}`));

    const again = await run(...args(signal));
    expect({ code: again.code, stdout: again.stdout }).toEqual({
      code: 0,
      stdout: `${join(root, signal)}\n`,
    });
    expect((await readdir(root)).filter((name) => name.includes(signal))).toEqual([signal]);
    expect((await stat(join(root, signal, 'onnx/vision_encoder.onnx_data'))).ino).toBe(ino);
    expect(await contents(signal)).toEqual(await contents('whole'));
  },
);

it('what another checkpoint or another format left is not gone on with', async () => {
  const place = join(root, '.other.converting');
  await mkdir(join(place, 'model/onnx'), { recursive: true });
  await writeFile(join(place, 'plan'), 'another');
  await writeFile(join(place, 'process'), `${hostname()} 0`);
  await writeFile(join(place, 'journal'), 'written vision_encoder.onnx_data 0 6144\n');
  await writeFile(join(place, 'model/stray'), 'x');
  await convertCheckpoint({ from: checkpoint, to: join(root, 'other'), dtype: DTYPES });
  expect(await contents('other')).toEqual(await contents('whole'));
});
