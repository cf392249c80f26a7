import { mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { lookAt } from '../../src/platform/hub-file.js';
import type { ModelSource } from '../../src/platform/model-source.js';
import { fetchFile, partPath } from '../../src/platform/node/download.js';
import { modelSource } from '../../src/platform/node/model-source.js';
import { cachePath } from '../../src/platform/node/places.js';
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

it('leaves no part of what the file was before, and those of other files or that somebody may be writing', async () => {
  const ofTag = (etag: string) => partPath(target, { etag, size: 9 });
  const others = [`${target}_data.0123456789abcdef.part`, `${target}.mine.part`];
  for (const path of [ofTag('"before"'), ...others]) {
    await writeFile(path, 'x');
    const twoDaysAgo = Date.now() / 1000 - 2 * 24 * 60 * 60;
    await utimes(path, twoDaysAgo, twoDaysAgo);
  }
  await writeFile(ofTag('"meanwhile"'), 'x');
  expect(await fetched()).toBe(CONTENT);
  const left = [target, ofTag('"meanwhile"'), ...others].map((path) => basename(path));
  expect((await readdir(dirname(target))).sort()).toEqual(left.sort());
});

describe('while another fetches', () => {
  afterEach(async () => {
    delete hub.trouble[FILE];
    await writeFile(join(root, 'model', FILE), CONTENT);
  });

  /** Fetches `content` up to where some of it is here; `finish` waits for the rest. */
  async function begun(content: string) {
    await writeFile(join(root, 'model', FILE), content);
    let send!: () => void;
    hub.trouble[FILE] = {
      waitsFor: new Promise((resolve) => {
        send = resolve;
      }),
    };
    const remote = (await lookAt(source, FILE))!;
    let done!: Promise<void>;
    await new Promise<void>((resolve) => {
      done = fetchFile(source, FILE, remote, (loaded) => loaded > 0 && resolve());
    });
    const finish = async () => {
      send();
      await done;
      return await readFile(target, 'utf8');
    };
    return { finish, part: partPath(target, remote) };
  }

  it('what the file was before, it ends with what it is now', async () => {
    const [before, now] = [await begun('what it held before'), await begun(CONTENT)];
    expect(await before.finish()).toBe('what it held before');
    expect(await now.finish()).toBe(CONTENT);
    expect(await readdir(dirname(target))).toEqual([basename(target)]);
  });

  it('the same, both have it', async () => {
    const [one, two] = [await begun(CONTENT), await begun(CONTENT)];
    expect(two.part).toBe(one.part);
    expect(await one.finish()).toBe(CONTENT);
    expect(await two.finish()).toBe(CONTENT);
    expect(await readdir(dirname(target))).toEqual([basename(target)]);
  });

  it('and takes away what is here, it does not take another file for it', async () => {
    const { finish, part } = await begun(CONTENT);
    await rm(part);
    await writeFile(target, 'what it held before');
    await expect(finish()).rejects.toThrow(
      /^onnx\/weights\.bin of tiny\/llava was fetched but could not be given its name \(ENOENT: .*\); see that nothing else changes .*, and load again\.$/,
    );
    expect(await readFile(target, 'utf8')).toBe('what it held before');
  });
});
