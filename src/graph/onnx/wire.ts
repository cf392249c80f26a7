import { ElasticCacheError } from '../../errors.js';
import type { ByteSource } from './byte-source.js';

/** A field of a protobuf message: where it starts, where its payload starts, and where it ends, in bytes of the source. */
export interface Field {
  number: number;
  /** 0 varint, 1 eight bytes, 2 length-delimited, 5 four bytes. */
  wireType: number;
  start: number;
  dataStart: number;
  end: number;
}

const WINDOW_BYTES = 1 << 16;

/** Walks the protobuf wire format of a source, reading it in small windows and skipping what nobody asks for. */
export class WireReader {
  private window: Uint8Array = new Uint8Array(0);
  private windowStart = 0;

  constructor(private readonly source: ByteSource) {}

  /** The field at `start` of a message that ends at `end`. */
  async field(start: number, end: number): Promise<Field> {
    const tag = await this.varint(start, end);
    const wireType = tag.value % 8;
    const number = Math.floor(tag.value / 8);
    if (number === 0) throw damagedModel(start, 'a field has the number 0');
    const field = { number, wireType, start, dataStart: tag.end };
    switch (wireType) {
      case 0:
        return { ...field, end: (await this.varint(tag.end, end)).end };
      case 1:
        return { ...field, end: within(tag.end + 8, end, start) };
      case 2: {
        const length = await this.varint(tag.end, end);
        return { ...field, dataStart: length.end, end: within(length.end + length.value, end, start) };
      }
      case 5:
        return { ...field, end: within(tag.end + 4, end, start) };
      default:
        throw damagedModel(start, `field ${number} has the unknown wire type ${wireType}`);
    }
  }

  /** The bytes [start, end) of the source. */
  async bytes(start: number, end: number): Promise<Uint8Array> {
    if (end - start > WINDOW_BYTES) return this.read(start, end - start);
    await this.load(start, end);
    // A copy: the window moves on.
    return this.window.slice(start - this.windowStart, end - this.windowStart);
  }

  private async varint(start: number, end: number): Promise<{ value: number; end: number }> {
    await this.load(start, Math.min(start + 10, end));
    let value = 0;
    for (let i = 0; i < 10; i++) {
      const byte = start + i < end ? this.window[start + i - this.windowStart] : undefined;
      if (byte === undefined) throw damagedModel(start, `it ends at byte ${end} in the middle of a field`);
      value += (byte & 0x7f) * 2 ** (7 * i);
      if (byte < 0x80) return { value, end: start + i + 1 };
    }
    throw damagedModel(start, 'a number takes more than ten bytes');
  }

  private async load(start: number, end: number): Promise<void> {
    if (start >= this.windowStart && end <= this.windowStart + this.window.length) return;
    this.window = await this.read(start, Math.min(WINDOW_BYTES, this.source.size - start));
    this.windowStart = start;
  }

  private async read(start: number, length: number): Promise<Uint8Array> {
    const bytes = await this.source.read(start, length);
    if (bytes.length < length) throw damagedModel(start + bytes.length, 'the file ends there');
    return bytes;
  }
}

/** Writes protobuf fields. */
export class ByteWriter {
  private readonly parts: Uint8Array[] = [];
  private size = 0;

  /** Bytes as they are. */
  bytes(part: Uint8Array): void {
    this.parts.push(part);
    this.size += part.length;
  }

  /** A length-delimited field. */
  message(field: number, payload: Uint8Array): void {
    this.varint(field * 8 + 2);
    this.varint(payload.length);
    this.bytes(payload);
  }

  varintField(field: number, value: number): void {
    this.varint(field * 8);
    this.varint(value);
  }

  finish(): Uint8Array {
    const whole = new Uint8Array(this.size);
    let offset = 0;
    for (const part of this.parts) {
      whole.set(part, offset);
      offset += part.length;
    }
    return whole;
  }

  private varint(value: number): void {
    const bytes: number[] = [];
    for (let rest = value; ; rest = Math.floor(rest / 128)) {
      if (rest < 128) {
        bytes.push(rest);
        break;
      }
      bytes.push((rest % 128) + 128);
    }
    this.bytes(Uint8Array.from(bytes));
  }
}

function within(fieldEnd: number, messageEnd: number, start: number): number {
  if (fieldEnd > messageEnd) {
    throw damagedModel(start, `a field reaches to byte ${fieldEnd}, past the end at byte ${messageEnd}`);
  }
  return fieldEnd;
}

/** The file is not what a writer of protobuf wrote. */
export function damagedModel(offset: number, reason: string): ElasticCacheError {
  return new ElasticCacheError(
    'invalid-model',
    `The ONNX model is damaged at byte ${offset}: ${reason}; download or export it again.`,
  );
}
