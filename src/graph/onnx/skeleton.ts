import { ElasticCacheError, shown } from '../../errors.js';
import type { ByteSource } from './byte-source.js';
import { DataType, type Model, parseModel } from './onnx.js';
import { ByteWriter, damagedModel, type Field, WireReader } from './wire.js';

/** Tensors up to this many bytes stay in the skeleton: the shapes and axes that ONNX Runtime folds and checks. */
export const INLINE_BYTES = 1024;

/**
 * Up to how many bytes tensors of types that no weights have stay as well: what each of 8,192 tokens sees of the others, and
 * positions of 131,072 tokens.
 */
const TABLE_BYTES: Partial<Record<number, number>> = { [DataType.BOOL]: 2 ** 26, [DataType.INT64]: 2 ** 20 };

/** Which fields of a message hold messages that can hold a large tensor, by field number. */
type Kind = 'model' | 'graph' | 'node' | 'attribute' | 'tensor';
const CHILDREN: Record<Kind, Readonly<Record<number, Kind>>> = {
  model: { 7: 'graph' },
  graph: { 1: 'node', 5: 'tensor' },
  node: { 5: 'attribute' },
  attribute: { 6: 'graph', 11: 'graph' },
  tensor: {},
};
const DATA_TYPE = 2;
const RAW_DATA = 9;
const DATA_LOCATION = 14;
/** As protobuf's own limit: a damaged file may nest messages as deep as it is long. */
const DEEPEST = 100;

/**
 * Reads an ONNX model without the weights inside it: each initializer of more than 1 KB that is no table of booleans or
 * of positions, also in subgraphs, becomes external data that names the place of its bytes in the original file. What is external already stays as it is.
 * @param source the bytes of the .onnx file; only the graph is read, however large the file is.
 * @param location the file's name as external data shall give it, relative to where the skeleton will be loaded.
 * @throws ElasticCacheError 'invalid-model' with the offset and the reason when the file is truncated or damaged.
 */
export async function readSkeleton(source: ByteSource, location: string): Promise<Model> {
  const { size, read } = Object(source) as Partial<ByteSource>;
  if (!Number.isSafeInteger(size) || typeof read !== 'function' || typeof location !== 'string') {
    throw new ElasticCacheError(
      'invalid-model',
      `readSkeleton() takes a source of bytes, { size, read() }, and the name of the file; ${shown(source)} and ${shown(location)} are not these.`,
    );
  }
  const reader = new WireReader(source);
  return parseModel(await skeletonOf(reader, 'model', 0, source.size, location, 0));
}

async function skeletonOf(
  reader: WireReader,
  kind: Kind,
  start: number,
  end: number,
  location: string,
  depth: number,
): Promise<Uint8Array> {
  if (depth > DEEPEST) throw damagedModel(start, `its messages are nested more than ${DEEPEST} deep`);
  const writer = new ByteWriter();
  let offset = start;
  let moved = false;
  let inline = INLINE_BYTES;
  while (offset < end) {
    const field = await reader.field(offset, end);
    offset = field.end;
    const size = field.end - field.dataStart;
    const large = field.wireType === 2 && size > INLINE_BYTES;
    const child = large ? CHILDREN[kind][field.number] : undefined;
    if (child) {
      const { dataStart, number } = field;
      writer.message(number, await skeletonOf(reader, child, dataStart, field.end, location, depth + 1));
    } else if (large && kind === 'tensor' && field.number === RAW_DATA && size > inline) {
      writeExternal(writer, field, location);
      moved = true;
    } else if (moved && field.number === DATA_LOCATION) {
      // Says that the data are inside, where they were.
    } else {
      const bytes = await reader.bytes(field.start, field.end);
      // A writer of protobuf puts the type before the elements.
      if (kind === 'tensor' && field.number === DATA_TYPE)
        inline = TABLE_BYTES[bytes.at(-1)!] ?? INLINE_BYTES;
      writer.bytes(bytes);
    }
  }
  return writer.finish();
}

function writeExternal(writer: ByteWriter, field: Field, location: string): void {
  const entries = { location, offset: String(field.dataStart), length: String(field.end - field.dataStart) };
  for (const [key, value] of Object.entries(entries)) {
    const entry = new ByteWriter();
    entry.message(1, new TextEncoder().encode(key));
    entry.message(2, new TextEncoder().encode(value));
    writer.message(13, entry.finish());
  }
  // EXTERNAL
  writer.varintField(DATA_LOCATION, 1);
}
