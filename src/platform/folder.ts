/** A folder of files, as far as parked sequences need one. */
export interface Folder {
  files(): Promise<{ readonly name: string; readonly bytes: number; readonly used: number }[]>;
  /** The first bytes of a file, as many as it has of these. */
  head(name: string, length: number): Promise<Uint8Array>;
  read(name: string): Promise<Uint8Array>;
  /** Whole or not at all. */
  write(name: string, bytes: Uint8Array): Promise<void>;
  remove(name: string): Promise<void>;
}
