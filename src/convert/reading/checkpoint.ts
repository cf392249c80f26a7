import { access, readdir, readFile, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { z } from 'zod';
import { ElasticCacheError } from '../../errors.js';
import { readPytorch } from './pytorch.js';
import { readSafetensors } from './safetensors.js';
import { type HeaderReader, type Part, TensorFile } from './tensor-file.js';

/** A tensor a model needs: its canonical name and its shape. */
export interface NeededTensor {
  readonly name: string;
  readonly shape: readonly number[];
}

/** How weights are laid out, one file or, without it, shards that an index names; the first that is there is read, as in transformers. */
const layouts = [
  { single: 'model.safetensors', readHeader: readSafetensors },
  { single: 'pytorch_model.bin', readHeader: readPytorch },
] as const;

/** Replaces a spelling of tensor names by the canonical one; all are tried, one after another. */
export type Spellings = readonly (readonly [RegExp, string])[];

/** Tensors that hold several others, one behind the other along the first axis, or, in groups, those of each group. */
export interface Packed {
  /** Matches the canonical name; what it matches is replaced by each of `names`. */
  readonly pattern: RegExp;
  readonly names: readonly string[];
  readonly groups: number;
}

/** Where the rows of a tensor lie: in a tensor of its own, or as one part of each group of another. */
interface Place {
  readonly file: TensorFile;
  readonly name: string;
  readonly part?: Part;
}

/** A directory of weights that another model's tensors are read from, as far as their canonical names match. */
export interface Supplement {
  readonly directory: string;
  readonly names: RegExp;
}

/** A directory of weights, safetensors or PyTorch's own, in one file or several, read tensor by tensor under canonical names. */
export class Checkpoint {
  private constructor(
    readonly directory: string,
    private readonly files: readonly TensorFile[],
    private readonly places: ReadonlyMap<string, Place>,
  ) {}

  /**
   * Opens `model.safetensors` or the shards that `model.safetensors.index.json` names, else `pytorch_model.bin` or its shards.
   * @param supplement has what the directory has not.
   * @param packed a tensor that holds several is read as these.
   * @throws ElasticCacheError 'missing-file' when none is there, 'invalid-checkpoint' when a file is damaged.
   */
  static async open(
    directory: string,
    spellings: Spellings,
    supplement?: Supplement,
    packed: readonly Packed[] = [],
  ): Promise<Checkpoint> {
    const sources = [{ directory, names: /./ }, ...(supplement ? [supplement] : [])];
    const files: TensorFile[] = [];
    const places = new Map<string, Place>();
    try {
      for (const source of sources) {
        const { names, readHeader } = await weightFiles(source.directory);
        for (const fileName of names) {
          const file = await TensorFile.open(join(source.directory, fileName), readHeader);
          files.push(file);
          for (const name of file.tensors.keys()) {
            const known = canonical(name, spellings);
            if (!source.names.test(known)) continue;
            for (const [own, part] of partsOf(known, packed))
              if (!places.has(own)) places.set(own, { file, name, ...part });
          }
        }
      }
    } catch (error) {
      await Promise.all(files.map((file) => file.close()));
      throw error;
    }
    return new Checkpoint(directory, files, places);
  }

  has(name: string): boolean {
    return this.places.has(name);
  }

  /**
   * Makes sure that every tensor is there, of the right shape and of a type that can be read, before anything is written.
   * @throws ElasticCacheError 'invalid-checkpoint' naming the first tensor that is not.
   */
  check(needed: readonly NeededTensor[]): void {
    for (const { name, shape } of needed) {
      const place = this.places.get(name);
      if (!place) {
        throw new ElasticCacheError(
          'invalid-checkpoint',
          `The checkpoint in ${this.directory} has no tensor "${this.storedName(name)}" [${shape.join(', ')}]: it is incomplete, or its config.json describes another model.`,
        );
      }
      const found = place.file.tensors.get(place.name)!.shape;
      const whole = shape.with(0, shape[0]! * (place.part?.of ?? 1));
      if (found.length !== whole.length || found.some((dim, i) => dim !== whole[i])) {
        throw new ElasticCacheError(
          'invalid-checkpoint',
          `Tensor "${place.name}" in ${basename(place.file.path)} should be [${whole.join(', ')}] by config.json but is [${found.join(', ')}]: use the config.json that belongs to these weights.`,
        );
      }
      place.file.check(place.name);
    }
  }

  /** What the checkpoint itself would call a tensor that it has not, going by one of the same kind in another layer. */
  private storedName(name: string): string {
    const kind = (each: string) => each.replace(/\d+/, '#');
    const number = /\d+/.exec(name)?.[0];
    const alike = [...this.places].find(([known]) => number !== undefined && kind(known) === kind(name));
    const [known, place] = alike ?? [];
    return place ? place.name.replace(/\d+/.exec(known!)![0], number!) : name;
  }

  /** The values of a tensor that `check` has seen, as float32, row-major. @throws ElasticCacheError 'invalid-checkpoint' where one is not finite. */
  async read(name: string): Promise<Float32Array> {
    const { file, name: stored, part } = this.places.get(name)!;
    const values = await file.read(stored, part);
    // What is no number, or infinite, is none less itself.
    let sum = 0;
    for (const value of values) sum += value - value;
    if (sum === 0) return values;
    throw new ElasticCacheError(
      'invalid-checkpoint',
      `Tensor "${stored}" in ${basename(file.path)} holds ${values.find((value) => !Number.isFinite(value))}, which is no weight: download it again.`,
    );
  }

  /** What changes where a file of the checkpoint does: names, sizes and times. */
  async fingerprint(): Promise<readonly unknown[]> {
    const folders = new Set(this.files.map(({ path }) => dirname(path)));
    const found = await Promise.all(
      [...folders].map(async (folder) => {
        const names = (await readdir(folder)).toSorted();
        return Promise.all(
          names.map(async (name) => {
            const found = await stat(join(folder, name));
            // What is made may lie in a directory beside them.
            return found.isFile() ? [folder, name, found.size, found.mtimeMs] : [];
          }),
        );
      }),
    );
    return found.flat();
  }

  async close(): Promise<void> {
    await Promise.all(this.files.map((file) => file.close()));
  }
}

function canonical(name: string, spellings: Spellings): string {
  return spellings.reduce((spelled, [pattern, replacement]) => spelled.replace(pattern, replacement), name);
}

/** The tensors that one of a canonical name is read as. */
function* partsOf(name: string, packed: readonly Packed[]): Generator<[string, Pick<Place, 'part'>]> {
  const holds = packed.find(({ pattern }) => pattern.test(name));
  if (!holds) return yield [name, {}];
  const { pattern, names, groups } = holds;
  for (const [index, own] of names.entries())
    yield [name.replace(pattern, own), { part: { index, of: names.length, groups } }];
}

async function weightFiles(directory: string): Promise<{ names: string[]; readHeader: HeaderReader }> {
  for (const { single, readHeader } of layouts) {
    if (await isThere(join(directory, single))) return { names: [single], readHeader };
    const index = `${single}.index.json`;
    const text = await readFile(join(directory, index), 'utf8').catch(() => undefined);
    if (text !== undefined) return { names: shardsOf(index, text), readHeader };
  }
  throw new ElasticCacheError(
    'missing-file',
    `${directory} holds neither ${layouts.map(({ single }) => single).join(' nor ')}, nor an index of shards: give a Hugging Face checkpoint directory with its weights.`,
  );
}

function shardsOf(index: string, text: string): string[] {
  try {
    // Shards lie beside their index: a path that leads elsewhere is nobody's shard.
    const shard = z.string().regex(/^[^/\\]+$/);
    const { weight_map } = z.object({ weight_map: z.record(z.string(), shard) }).parse(JSON.parse(text));
    return [...new Set(Object.values(weight_map))];
  } catch (cause) {
    throw new ElasticCacheError(
      'invalid-checkpoint',
      `${index} has no usable weight_map: download it again.`,
      { cause },
    );
  }
}

function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
