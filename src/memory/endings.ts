/** What is to be done once something ends; each thing once. */
export class Endings {
  #all: (() => void)[] = [];

  add(end: () => void): void {
    this.#all.push(end);
  }

  /** It has ended. */
  reached(): void {
    for (const end of this.#all.splice(0)) end();
  }
}
