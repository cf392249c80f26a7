import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { fetchFile, partPath } from '../../src/models/download.js';
import { lookAt } from '../../src/models/hub-file.js';
import { cachePath, type ModelSource, modelSource } from '../../src/models/model-source.js';
import { HubServer } from './hub-server.js';

const FILE = 'onnx/weights.bin';
const CONTENT = 'what the file holds';

let root: string;
let hub: HubServer;
let source: ModelSource;
let target: string;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'download-'));
  await mkdir(join(root, 'model/onnx'), { recursive: true });
  await writeFile(join(root, 'model', FILE), CONTENT);
  hub = await HubServer.open(join(root, 'model'));
});
afterAll(async () => {
  await hub.close();
  await rm(root, { recursive: true });
});
beforeEach(async () => {
  hub.asked.length = 0;
  source = modelSource('tiny/llava', { cache_dir: await mkdtemp(join(root, 'cache-')) });
  target = cachePath(source, FILE);
  await mkdir(dirname(target), { recursive: true });
});

async function fetched(): Promise<string> {
  await fetchFile(source, FILE, (await lookAt(source, FILE))!, () => {});
  return await readFile(target, 'utf8');
}

it.each([
  ['whole', CONTENT],
  ['longer than the file', `${CONTENT} and more`],
])(
  'a part that is %s is fetched anew where the server does not say how long the file is',
  async (_, part) => {
    hub.trouble[FILE] = { saysNoLength: true };
    const remote = (await lookAt(source, FILE))!;
    expect(remote.size).toBeUndefined();
    await writeFile(partPath(target, remote), part);
    expect(await fetched()).toBe(CONTENT);
    expect(hub.fetched(FILE)).toEqual([`bytes=${part.length}-`, undefined]);
    expect(await readdir(dirname(target))).toEqual([basename(target)]);
    delete hub.trouble[FILE];
  },
);

it('leaves no part of what the file was before, and those of other files', async () => {
  const others = [`${target}_data.0123456789abcdef.part`, `${target}.mine.part`];
  for (const path of [partPath(target, { etag: '"before"', size: 9 }), ...others]) await writeFile(path, 'x');
  expect(await fetched()).toBe(CONTENT);
  const left = [target, ...others].map((path) => basename(path));
  expect((await readdir(dirname(target))).sort()).toEqual(left.sort());
});
