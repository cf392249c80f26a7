import { ElasticCacheError } from '../../errors.js';

/** A file of named arrays and a text, in Hugging Face's safetensors format: the length of a JSON header, the header, the bytes of the arrays. */
export interface TensorFile {
  readonly text: string;
  readonly tensors: ReadonlyMap<string, StoredArray>;
}

export type StoredArray = Float32Array | Float64Array | Int32Array | Int8Array | Uint8Array | Uint16Array;

const TYPES = {
  F32: Float32Array,
  F64: Float64Array,
  I32: Int32Array,
  I8: Int8Array,
  U8: Uint8Array,
  F16: Uint16Array,
} as const;

type TypeName = keyof typeof TYPES;

const LENGTH_BYTES = 8;
/** The key under which a safetensors header has texts instead of a tensor. */
const METADATA = '__metadata__';
/** Where a file has the sum of all its other bytes: first in its header. */
const SUM_AT = LENGTH_BYTES + `{"${METADATA}":{"sum":"`.length;
const NO_SUM = '00000000';

export function encodeTensors({ text, tensors }: TensorFile): Uint8Array {
  const header: Record<string, unknown> = { [METADATA]: { sum: NO_SUM, text } };
  let size = 0;
  // Each array begins where its numbers may lie, so that none has to be copied when it is read.
  const places = [...tensors].map(([name, array]) => {
    const start = Math.ceil(size / 8) * 8;
    size = start + array.byteLength;
    const dtype = (Object.keys(TYPES) as TypeName[]).find((type) => array instanceof TYPES[type])!;
    header[name] = { dtype, shape: [array.length], data_offsets: [start, size] };
    return { start, array };
  });
  const json = new TextEncoder().encode(JSON.stringify(header));
  const headerSize = Math.ceil(json.length / 8) * 8;
  const bytes = new Uint8Array(LENGTH_BYTES + headerSize + size);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(headerSize), true);
  bytes.fill(0x20, LENGTH_BYTES, LENGTH_BYTES + headerSize).set(json, LENGTH_BYTES);
  for (const { start, array } of places) {
    const own = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
    bytes.set(own, LENGTH_BYTES + headerSize + start);
  }
  bytes.set(new TextEncoder().encode(sumOf(bytes)), SUM_AT);
  return bytes;
}

/** A sum of a file's bytes that no change of a few of them leaves as it was (FNV-1a, by words): eight hexadecimal digits. */
function sumOf(bytes: Uint8Array): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const add = (sum: number, number: number) => Math.imul(sum ^ number, 0x01000193);
  const words = bytes.length - (bytes.length % 4);
  let sum = 0x811c9dc5;
  for (let at = 0; at < SUM_AT; at += 4) sum = add(sum, view.getUint32(at, true));
  for (let at = SUM_AT + NO_SUM.length; at < words; at += 4) sum = add(sum, view.getUint32(at, true));
  for (let at = words; at < bytes.length; at++) sum = add(sum, bytes[at]!);
  return (sum >>> 0).toString(16).padStart(NO_SUM.length, '0');
}

/** @throws ElasticCacheError 'invalid-data' for bytes that are none of this format, end too early, or are others than were written */
export function decodeTensors(bytes: Uint8Array): TensorFile {
  const refuse = (reason: string, cause?: unknown) =>
    new ElasticCacheError(
      'invalid-data',
      `this is no saved cache, or a damaged one (${reason}); save it again.`,
      {
        cause,
      },
    );
  if (bytes.length < LENGTH_BYTES) throw refuse(`${bytes.length} bytes`);
  const headerSize = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  const data = LENGTH_BYTES + headerSize;
  if (data > bytes.length) throw refuse('its header ends behind the file');
  let header: Record<
    string,
    { dtype: TypeName; data_offsets: [number, number]; text?: string; sum?: string }
  >;
  try {
    header = JSON.parse(new TextDecoder().decode(bytes.subarray(LENGTH_BYTES, data)));
  } catch (cause) {
    throw refuse('its header is no JSON', cause);
  }
  const sum = header?.[METADATA]?.sum;
  if (sum === undefined || sum !== sumOf(bytes)) throw refuse('its bytes are not those that were written');
  const tensors = new Map<string, StoredArray>();
  for (const [name, { dtype, data_offsets }] of Object.entries(header)) {
    if (name === METADATA) continue;
    const [start, end] = data_offsets;
    if (!(TYPES[dtype] && start <= end && data + end <= bytes.length)) throw refuse(`${name} does not fit`);
    // A copy: the numbers begin at a multiple of their size there, and the bytes of the file can go. (The slice() of what Node reads is none.)
    tensors.set(name, new TYPES[dtype](new Uint8Array(bytes.subarray(data + start, data + end)).buffer));
  }
  return { text: header[METADATA]?.text ?? '', tensors };
}
