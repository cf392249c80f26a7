/** Bytes that can be read at any place, for instance a file of 2 GB that nobody wants in memory. */
export interface ByteSource {
  /** Bytes in all. */
  readonly size: number;
  /** The `length` bytes at `offset`; a result shorter than asked for means that the source ends there. */
  read(offset: number, length: number): Uint8Array | Promise<Uint8Array>;
}

/** A source over bytes that are in memory already. */
export function bytesSource(bytes: Uint8Array): ByteSource {
  return { size: bytes.length, read: (offset, length) => bytes.subarray(offset, offset + length) };
}
