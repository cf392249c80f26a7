import { constants, type FileHandle, open, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ElasticCacheError } from '../../errors.js';
import type { Journal } from './journal.js';

/** Reads a tensor from the checkpoint and rounds it: the bytes of a file, as they come. */
export type Bytes = () => Promise<Iterable<Uint8Array>>;

/** Where the bytes of a tensor lie. */
export interface Place {
  readonly tensor: string;
  readonly file: string;
  /** Bytes from the start of the file. */
  readonly offset: number;
  readonly length: number;
}

/** What is done with the bytes of a model's files: a model is described once, and gone through in several passes. */
export interface Pass {
  /** Whether the bytes of tensors inside a graph are wanted. */
  readonly wantsSmall: boolean;
  tensor(place: Place, bytes: Bytes): Promise<void>;
  /** The graph itself, when all of its tensors have been. */
  graph(file: string, bytes: Uint8Array): Promise<void>;
  /** Closes what is open. */
  close(): Promise<void>;
}

/** Adds up how large everything will be, without reading a number. */
export class MeasuringPass implements Pass {
  readonly wantsSmall = false;
  /** Bytes of all tensors outside of graphs. */
  bytes = 0;

  async tensor({ length }: Place): Promise<void> {
    this.bytes += length;
  }
  async graph(): Promise<void> {}
  async close(): Promise<void> {}
}

/** Told of every tensor, done now or by an earlier run. */
export type OnTensor = (place: Place, earlier: boolean) => void;

abstract class FilePass implements Pass {
  readonly wantsSmall = true;
  private opened: { file: string; handle: FileHandle } | undefined;

  constructor(
    protected readonly folder: string,
    private readonly name: string,
    private readonly journal?: Journal,
    private readonly onTensor?: OnTensor,
  ) {}

  async tensor(place: Place, bytes: Bytes): Promise<void> {
    const entry = `${this.name} ${place.file} ${place.offset} ${place.length}`;
    const earlier = this.journal?.has(entry) ?? false;
    if (!earlier) {
      await this.run(place, await bytes(), await this.handle(place.file));
      await this.journal?.add(entry);
    }
    this.onTensor?.(place, earlier);
  }

  abstract graph(file: string, bytes: Uint8Array): Promise<void>;

  async close(): Promise<void> {
    const { handle } = this.opened ?? {};
    this.opened = undefined;
    await handle?.close();
  }

  protected abstract run(place: Place, chunks: Iterable<Uint8Array>, handle: FileHandle): Promise<void>;

  private async handle(file: string): Promise<FileHandle> {
    if (this.opened?.file !== file) {
      await this.close();
      // What an earlier run has written stays.
      const handle = await open(join(this.folder, file), constants.O_RDWR | constants.O_CREAT);
      this.opened = { file, handle };
    }
    return this.opened!.handle;
  }
}

/** Writes what an earlier run has not written. */
export class WritingPass extends FilePass {
  constructor(folder: string, journal?: Journal, onTensor?: OnTensor) {
    super(folder, 'written', journal, onTensor);
  }

  async graph(file: string, bytes: Uint8Array): Promise<void> {
    await writeFile(join(this.folder, file), bytes);
  }

  protected async run({ offset }: Place, chunks: Iterable<Uint8Array>, handle: FileHandle): Promise<void> {
    let end = offset;
    for (const chunk of chunks) {
      for (let done = 0; done < chunk.length; ) {
        const { bytesWritten } = await handle.write(chunk, done, Math.min(chunk.length - done, 1 << 30), end);
        done += bytesWritten;
        end += bytesWritten;
      }
    }
  }
}

/** Holds what was written against the checkpoint: every tensor is read there and rounded once more. */
export class VerifyingPass extends FilePass {
  constructor(folder: string, journal: Journal, onTensor: OnTensor) {
    super(folder, 'verified', journal, onTensor);
  }

  /** @throws ElasticCacheError 'invalid-data' */
  async graph(file: string, bytes: Uint8Array): Promise<void> {
    const written = await readFile(join(this.folder, file));
    if (!written.equals(bytes)) throw differs(file);
  }

  protected async run(
    { tensor, file, offset }: Place,
    chunks: Iterable<Uint8Array>,
    handle: FileHandle,
  ): Promise<void> {
    let at = offset;
    for (const chunk of chunks) {
      const written = Buffer.allocUnsafe(Math.min(chunk.length, 1 << 24));
      for (let done = 0; done < chunk.length; ) {
        const wanted = chunk.subarray(done, done + written.length);
        const { bytesRead } = await handle.read(written, 0, wanted.length, at);
        if (bytesRead === 0 || written.compare(wanted, 0, bytesRead, 0, bytesRead) !== 0)
          throw differs(file, tensor);
        done += bytesRead;
        at += bytesRead;
      }
    }
  }
}

function differs(file: string, tensor?: string): ElasticCacheError {
  return new ElasticCacheError(
    'invalid-data',
    `${file} is not what was written there${tensor === undefined ? '' : `, at tensor "${tensor}"`}: the disk or the memory is at fault, or the checkpoint was changed meanwhile; nothing was left, convert again.`,
  );
}
