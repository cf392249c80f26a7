import type { FileHandle } from 'node:fs/promises';
import { fromRandomAccessReaderPromise, RandomAccessReader } from 'yauzl';

/** An entry of a zip archive: where its bytes lie in the file. */
export interface ZipEntry {
  /** Bytes from the start of the file. */
  readonly offset: number;
  /** Length in bytes. */
  readonly length: number;
  readonly compressed: boolean;
}

/**
 * The entries of a zip archive by name, zip64 included.
 * @throws Error when the archive is damaged.
 */
export async function zipEntries(handle: FileHandle): Promise<Map<string, ZipEntry>> {
  const { size } = await handle.stat();
  const reader = new HandleReader(handle, size);
  return Promise.race([entriesOf(reader, size), reader.failure]);
}

async function entriesOf(reader: RandomAccessReader, size: number): Promise<Map<string, ZipEntry>> {
  const zip = await fromRandomAccessReaderPromise(reader, size, { autoClose: false });
  const entries = new Map<string, ZipEntry>();
  for await (const entry of zip.eachEntry()) {
    const { fileDataStart: offset } = await zip.readLocalFileHeaderPromise(entry, { minimal: true });
    entries.set(entry.fileName, {
      offset,
      length: entry.compressedSize,
      compressed: entry.compressionMethod !== 0,
    });
  }
  return entries;
}

/**
 * Reads for yauzl, which asks for places that a damaged archive names, and throws out of its callbacks where it does not like
 * what it got: from inside `fs` both would end the process.
 */
class HandleReader extends RandomAccessReader {
  /** Rejects with what was thrown. */
  readonly failure: Promise<never>;
  private fail!: (error: unknown) => void;

  constructor(
    private readonly handle: FileHandle,
    private readonly size: number,
  ) {
    super();
    this.failure = new Promise((_, reject) => {
      this.fail = reject;
    });
    // Nobody may be waiting any more.
    this.failure.catch(() => undefined);
  }

  override read(
    buffer: Buffer,
    offset: number,
    length: number,
    position: number,
    callback: (error: Error | null, bytesRead?: number) => void,
  ): void {
    const within = position >= 0 && length <= this.size - position;
    const reading = within
      ? this.handle.read(buffer, offset, length, position)
      : Promise.resolve({ bytesRead: 0 });
    reading.then(({ bytesRead }) => callback(null, bytesRead), callback).catch(this.fail);
  }
}
