import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  createEngine,
  type Engine,
  type EngineOptions,
  type LoadedModel,
  type Message,
} from '../../src/index.js';
import { picture } from '../picture.js';
import { heard, tinyModel, words } from './tiny-engine.js';

let loaded: LoadedModel;
let remove: () => Promise<void>;
let folder: string;
const warnings: string[] = [];

beforeAll(async () => {
  ({ loaded, remove } = await tinyModel());
  folder = await mkdtemp(join(tmpdir(), 'parked-'));
});
afterAll(async () => {
  await remove();
  await rm(folder, { recursive: true });
});

const open = (options: EngineOptions = {}) => {
  warnings.length = 0;
  return createEngine(loaded, {
    budget: 0.4,
    park: 0,
    parkDir: folder,
    onWarning: (message) => void warnings.push(message),
    ...options,
  });
};
const settings = { maxNewTokens: 10, temperature: 1, seed: 4 };
const first: Message = { role: 'user', content: words(40, 1), images: [picture(3)] };
const second: Message = { role: 'user', content: words(12, 2) };

async function ask(engine: Engine, messages: Message[], rest: object = {}) {
  const { events, text, error } = await heard(engine.add({ messages, ...settings, ...rest }));
  expect(error).toBeUndefined();
  return { text, cached: (events[0] as { cachedTokens: number }).cachedTokens };
}

describe('conversations in a folder', () => {
  it('are gone on with by another engine of the same model, as by the same', async () => {
    const same = await createEngine(loaded, { budget: 0.4 });
    const { text } = await ask(same, [first]);
    const messages: Message[] = [first, { role: 'assistant', content: text }, second];
    const expected = await ask(same, messages);
    expect(expected.cached).toBeGreaterThan(60);
    await same.close();

    const one = await open();
    await ask(one, [first]);
    await one.close();
    expect(one.stats.bytesOnDisk).toBeGreaterThan(1000);
    const [name] = await readdir(folder);
    // Nobody else reads what was said.
    expect((await stat(join(folder, name!))).mode & 0o077).toBe(0);
    const other = await open();
    expect(await ask(other, messages)).toEqual(expected);
    // Not under another budget, and not with another picture.
    expect((await ask(other, messages, { budget: 0.5 })).cached).toBe(0);
    const elsewhere = [{ ...first, images: [picture(9)] }, ...messages.slice(1)];
    expect((await ask(other, elsewhere)).cached).toBe(0);
    expect(warnings).toEqual([]);
    await other.close();
  });

  it('that are broken or of another model are not used, and said', async () => {
    const one = await open();
    const { text } = await ask(one, [first]);
    const messages: Message[] = [first, { role: 'assistant', content: text }, second];
    const files = await readdir(folder);
    for (const name of files) {
      const bytes = await readFile(join(folder, name));
      bytes[bytes.length - 5]! ^= 1;
      await writeFile(join(folder, name), bytes);
    }
    expect((await ask(one, messages)).cached).toBe(0);
    expect(warnings[0]).toMatch(
      /cannot be used \(its bytes are not those that were written\); it is taken away\.$/,
    );
    await one.close();
    const [whole] = await readdir(folder);
    const model = whole!.split('-')[0];
    await writeFile(
      join(folder, `${model}-cut.safetensors`),
      (await readFile(join(folder, whole!))).subarray(0, 100),
    );
    await writeFile(join(folder, `${model}-empty.safetensors`), '');
    await writeFile(join(folder, `0123456789abcdef-other.safetensors`), 'of another model');
    const other = await open();
    expect(warnings).toHaveLength(3);
    expect(warnings.at(-1)).toMatch(/^1 files in parkDir are of other models/);
    expect((await readdir(folder)).filter((name) => /cut|empty/.test(name))).toEqual([]);
    expect(await readdir(folder)).toContain('0123456789abcdef-other.safetensors');
    await other.close();
  });

  it('take so many bytes, and no more', async () => {
    const engine = await open({ parkDirSize: 100_000 });
    for (let from = 0; from < 5; from++)
      await ask(engine, [{ role: 'user', content: words(50, from) }], { budget: 1 });
    await engine.close();
    expect(engine.stats.bytesOnDisk).toBeGreaterThan(0);
    expect(engine.stats.bytesOnDisk).toBeLessThanOrEqual(100_000);
    const sizes = await Promise.all(
      (await readdir(folder))
        .filter((name) => !name.includes('other'))
        .map(async (name) => (await stat(join(folder, name))).size),
    );
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(engine.stats.bytesOnDisk);
  });

  it('cannot be where nothing can be written', async () => {
    await expect(open({ parkDir: join(folder, '0123456789abcdef-other.safetensors') })).rejects.toMatchObject(
      {
        code: 'invalid-option',
        message: expect.stringContaining('name a folder that can be written to'),
      },
    );
  });
});
