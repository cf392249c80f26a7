import { type FileHandle, open, readFile } from 'node:fs/promises';

/** What is done of a conversion, a line each, so that a run that comes after an interrupted one need not do it again. */
export class Journal {
  private constructor(
    private readonly handle: FileHandle,
    private readonly entries: Set<string>,
  ) {}

  /** Goes on with the journal at `path`, or begins it. */
  static async open(path: string): Promise<Journal> {
    const text = await readFile(path, 'utf8').catch(() => '');
    // The last line may have been cut off.
    const entries = new Set(text.split('\n').slice(0, -1));
    const handle = await open(path, 'a');
    const journal = new Journal(handle, entries);
    if (text !== '' && !text.endsWith('\n')) await handle.appendFile('\n');
    return journal;
  }

  /** Whether anything was done before. */
  get isNew(): boolean {
    return this.entries.size === 0;
  }

  has(entry: string): boolean {
    return this.entries.has(entry);
  }

  async add(entry: string): Promise<void> {
    this.entries.add(entry);
    await this.handle.appendFile(`${entry}\n`);
  }

  async close(): Promise<void> {
    await this.handle.close();
  }
}
