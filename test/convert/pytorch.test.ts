import { readFile, truncate, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { pickledTensors, readPytorch } from '../../src/convert/reading/pytorch.js';
import { TensorFile } from '../../src/convert/reading/tensor-file.js';
import { ElasticCacheError } from '../../src/errors.js';
import { scratch } from './checkpoints.js';

/** What torch.save makes of a few tensors (fixtures/make_pytorch.py). */
const fixture = (name: string) => fileURLToPath(new URL(`fixtures/pytorch/${name}`, import.meta.url));

let place: Awaited<ReturnType<typeof scratch>>;
beforeAll(async () => {
  place = await scratch();
});
afterAll(() => place.remove());

const counting = Array.from({ length: 24 }, (_, i) => i / 8);

describe('a file of torch.save', () => {
  let file: TensorFile;
  beforeAll(async () => {
    file = await TensorFile.open(fixture('tensors.bin'), readPytorch);
  });
  afterAll(() => file.close());

  it.each([
    ['float', [4, 6], counting],
    ['half', [4, 6], counting],
    ['bfloat', [4, 6], counting],
    ['rows', [2, 6], counting.slice(6, 18)],
    ['scalar', [], [2.5]],
    ['parameter', [4, 6], counting.map((value) => value * 2)],
  ])('%s is read as it was saved', async (name, shape, values) => {
    expect(file.tensors.get(name)!.shape).toEqual(shape);
    expect([...(await file.read(name))]).toEqual(values);
  });

  it.each([
    [
      'transposed',
      'Tensor "transposed" in tensors.bin is a view [6, 4] with strides [1, 6], not stored row by row',
    ],
    ['double', 'Tensor "double" in tensors.bin is stored as F64: save the checkpoint as float32'],
    ['position_ids', 'Tensor "position_ids" in tensors.bin is stored as I64'],
  ])('%s stands in nobody’s way until it is asked for', async (name, message) => {
    await expect(file.read(name)).rejects.toMatchObject({
      code: 'invalid-checkpoint',
      message: expect.stringContaining(message),
    });
  });
});

describe('a file that is more, or less, than tensors', () => {
  it.each([
    ['code.bin', 'code.bin asks Python for "posix.system", which is not part of a tensor: nothing was run'],
    ['module.bin', 'module.bin asks Python for "torch.nn.modules.linear.Linear"'],
    ['legacy.bin', 'legacy.bin was saved by a PyTorch before 1.6'],
  ])('%s is refused by name', async (name, message) => {
    await expect(TensorFile.open(fixture(name), readPytorch)).rejects.toMatchObject({
      code: 'invalid-checkpoint',
      message: expect.stringContaining(message),
    });
  });

  const changed = async (change: (path: string) => Promise<void>) => {
    const path = place.path('weights.bin');
    await writeFile(path, await readFile(fixture('tensors.bin')));
    await change(path);
    return TensorFile.open(path, readPytorch);
  };

  it.each<[string, (path: string) => Promise<void>, string]>([
    ['truncated', (path) => truncate(path, 2000), 'weights.bin is truncated or damaged'],
    ['empty', (path) => truncate(path, 0), 'weights.bin is truncated'],
    ['a page of text', (path) => writeFile(path, '<html>'), 'is not a file of PyTorch weights'],
    [
      'of a repository without its large files',
      (path) => writeFile(path, 'version https://git-lfs.github.com/spec/v1\n'),
      'is a Git LFS pointer',
    ],
    [
      'of the other byte order',
      async (path) => {
        const bytes = await readFile(path);
        bytes.write('bigend', bytes.indexOf('little'));
        await writeFile(path, bytes);
      },
      'was saved on a big-endian machine',
    ],
  ])('%s is refused in one sentence', async (_, change, message) => {
    await expect(changed(change)).rejects.toMatchObject({
      code: 'invalid-checkpoint',
      message: expect.stringContaining(message),
    });
  });
});

describe('a damaged pickle', () => {
  const mutations = fc.array(fc.tuple(fc.nat(9999), fc.nat(255)), {
    minLength: 1,
    maxLength: 6,
  });
  const mutated = (bytes: Uint8Array, changes: [number, number][]) => {
    const copy = Uint8Array.from(bytes);
    for (const [where, value] of changes) copy[where % copy.length] = value;
    return copy;
  };

  it('gives tensors within the file or one clear error, whatever was changed', async () => {
    const bytes = await readFile(fixture('tensors.bin'));
    const begin = bytes.indexOf(Buffer.from([0x80, 0x02]));
    const pickle = bytes.subarray(begin, bytes.indexOf(Buffer.from('PK'), begin));
    const storage = { offset: 100, length: 96 };
    let read = 0;
    fc.assert(
      fc.property(mutations, (changes) => {
        try {
          const tensors = pickledTensors('weights.bin', mutated(pickle, changes), () => storage);
          for (const { offset, length } of tensors.values()) {
            expect(offset).toBeGreaterThanOrEqual(storage.offset);
            expect(offset + length).toBeLessThanOrEqual(storage.offset + storage.length);
          }
          read++;
        } catch (error) {
          if (!(error instanceof ElasticCacheError)) throw error;
          expect(error.code).toBe('invalid-checkpoint');
        }
      }),
      { numRuns: 1000 },
    );
    expect(read).toBeGreaterThan(20);
    expect(Object.keys(Object.prototype)).toEqual([]);
  });

  it('so does a damaged archive', async () => {
    const bytes = await readFile(fixture('tensors.bin'));
    const path = place.path('archive.bin');
    // The end of the archive, where its places are.
    const end = bytes.length - 150;
    const damage = fc.oneof(
      mutations,
      mutations.map((list) => list.map(([at, value]): [number, number] => [end + (at % 150), value])),
    );
    await fc.assert(
      fc.asyncProperty(damage, async (changes) => {
        await writeFile(path, mutated(bytes, changes));
        try {
          const file = await TensorFile.open(path, readPytorch);
          await file.close();
        } catch (error) {
          if (!(error instanceof ElasticCacheError)) throw error;
        }
      }),
      { numRuns: 60 },
    );
  });
});
