import type { FileHandle } from 'node:fs/promises';
import { basename } from 'node:path';
import { z } from 'zod';
import { ElasticCacheError } from '../../errors.js';
import { ForbiddenGlobal, PickleGlobal, type PickleNames, readPickle } from './pickle.js';
import { bytesPerElement, type TensorEntry, truncated } from './tensor-file.js';
import { type ZipEntry, zipEntries } from './zip.js';

/** Where the numbers of a storage lie. */
type Place = Pick<ZipEntry, 'offset' | 'length'>;

/** A storage of numbers that tensors are views of. */
class Storage {
  constructor(
    readonly dtype: string,
    readonly place: Place,
  ) {}
}

/** A tensor as a pickle has it: a view of a storage. */
class PickledTensor implements TensorEntry {
  constructor(
    readonly dtype: string,
    readonly shape: readonly number[],
    readonly offset: number,
    readonly length: number,
    readonly obstacle?: string,
  ) {}
}

/** safetensors' names of the types of PyTorch's storages. */
const storageTypes: ReadonlyMap<string, string> = new Map([
  ['torch.FloatStorage', 'F32'],
  ['torch.HalfStorage', 'F16'],
  ['torch.BFloat16Storage', 'BF16'],
  ['torch.DoubleStorage', 'F64'],
  ['torch.LongStorage', 'I64'],
  ['torch.IntStorage', 'I32'],
  ['torch.ShortStorage', 'I16'],
  ['torch.CharStorage', 'I8'],
  ['torch.ByteStorage', 'U8'],
  ['torch.BoolStorage', 'BOOL'],
]);

/** A pickle is a list of names: a megabyte is enough for the largest model there is. */
const pickleLimit = 1 << 26;

const natural = z.number().int().nonnegative();
const storageId = z.tuple([
  z.literal('storage'),
  z.instanceof(PickleGlobal),
  z.string(),
  z.string(),
  natural,
]);
/** Storage, first number, shape, strides; then what only training needs. */
const view = z
  .tuple([z.instanceof(Storage), natural, z.array(natural), z.array(z.number().int())])
  .rest(z.unknown());

/**
 * The tensors of a file that `torch.save` wrote from a dictionary of them: a zip archive, uncompressed, of a pickle and of the
 * numbers, one entry a storage. The pickle is read as data: what it names beside tensors is refused and never run.
 * @throws ElasticCacheError 'invalid-checkpoint' when it is refused or damaged, older than the zip format, or of other byte order.
 */
export async function readPytorch(path: string, handle: FileHandle): Promise<Map<string, TensorEntry>> {
  const name = basename(path);
  const start = Buffer.alloc(4);
  if ((await handle.read(start, 0, 4, 0)).bytesRead < 4) throw truncated(path);
  if (start.readUInt16BE(0) === 0x8002) {
    throw invalid(
      `${name} was saved by a PyTorch before 1.6 or without its zip format: load it once in Python and save it with torch.save, or as safetensors.`,
    );
  }
  if (start.toString('latin1') !== 'PK\x03\x04') {
    throw invalid(`${name} is not a file of PyTorch weights: download it again.`);
  }
  try {
    return await tensorsOf(name, await zipEntries(handle), handle);
  } catch (cause) {
    if (cause instanceof ElasticCacheError) throw cause;
    throw invalid(`${name} is truncated or damaged: download it again.`, cause);
  }
}

async function tensorsOf(
  name: string,
  entries: ReadonlyMap<string, ZipEntry>,
  handle: FileHandle,
): Promise<Map<string, TensorEntry>> {
  const pickled = [...entries.keys()].find((entry) => /^[^/]+\/data\.pkl$/.test(entry));
  if (pickled === undefined)
    throw invalid(`${name} holds no weights of PyTorch, it has no data.pkl: download it again.`);
  const folder = pickled.slice(0, -'data.pkl'.length);
  if ([...entries.values()].some(({ compressed }) => compressed)) {
    throw invalid(
      `${name} was compressed, which PyTorch does not do: download the file as it was published.`,
    );
  }
  const read = async (place: Place): Promise<Uint8Array> => {
    if (place.length > pickleLimit) throw new RangeError('That is no list of names.');
    const bytes = new Uint8Array(place.length);
    await handle.read(bytes, 0, bytes.length, place.offset);
    return bytes;
  };
  const order = entries.get(`${folder}byteorder`);
  if (order && new TextDecoder().decode(await read(order)) !== 'little') {
    throw invalid(
      `${name} was saved on a big-endian machine: load it once in Python on this one and save it with torch.save.`,
    );
  }
  return pickledTensors(name, await read(entries.get(pickled)!), (key) =>
    entries.get(`${folder}data/${key}`),
  );
}

/**
 * The tensors that a pickle names.
 * @param name of the file, in messages.
 * @param place where a storage lies, by its key.
 * @throws ElasticCacheError 'invalid-checkpoint'.
 */
export function pickledTensors(
  name: string,
  pickle: Uint8Array,
  place: (key: string) => Place | undefined,
): Map<string, TensorEntry> {
  const names: PickleNames = {
    calls: new Map<string, (args: readonly unknown[]) => unknown>([
      ['collections.OrderedDict', () => new Map()],
      ['torch._utils._rebuild_tensor', tensorOf],
      ['torch._utils._rebuild_tensor_v2', tensorOf],
      ['torch._utils._rebuild_parameter', ([tensor]) => tensor],
    ]),
    types: new Set(storageTypes.keys()),
    persistent(id) {
      const [, type, key] = storageId.parse(id);
      const found = place(key);
      const dtype = storageTypes.get(type.name);
      if (!found || !dtype) throw new RangeError(`Storage ${key} is not there.`);
      return new Storage(dtype, found);
    },
  };
  try {
    const dictionary = z.map(z.unknown(), z.unknown()).parse(readPickle(pickle, names));
    const tensors = new Map<string, TensorEntry>();
    for (const [key, value] of dictionary) {
      if (typeof key === 'string' && value instanceof PickledTensor) tensors.set(key, value);
    }
    return tensors;
  } catch (cause) {
    if (cause instanceof ForbiddenGlobal) {
      throw invalid(
        `${name} asks Python for ${JSON.stringify(cause.global.slice(0, 100))}, which is not part of a tensor: nothing was run; use weights in safetensors, or a file that holds nothing but tensors.`,
      );
    }
    throw invalid(
      `${name} holds a pickle that is damaged or more than a dictionary of tensors: download it again.`,
      cause,
    );
  }
}

/** What `_rebuild_tensor` makes of its arguments. */
function tensorOf(args: readonly unknown[]): PickledTensor {
  const [{ dtype, place }, first, shape, strides] = view.parse(args);
  // Of other types it can only be said that they are there.
  const width = bytesPerElement.get(dtype) ?? 0;
  const length = shape.reduce((product, dim) => product * dim, width);
  if (first * width + length > place.length) throw new RangeError('A tensor is larger than its storage.');
  return new PickledTensor(
    dtype,
    shape,
    place.offset + first * width,
    length,
    isContiguous(shape, strides)
      ? undefined
      : `is a view [${shape.join(', ')}] with strides [${strides.join(', ')}], not stored row by row: save it with .contiguous().`,
  );
}

function isContiguous(shape: readonly number[], strides: readonly number[]): boolean {
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && strides[i] !== step) return false;
    step *= shape[i]!;
  }
  return shape.length === strides.length;
}

function invalid(message: string, cause?: unknown): ElasticCacheError {
  return new ElasticCacheError('invalid-checkpoint', message, { cause });
}
