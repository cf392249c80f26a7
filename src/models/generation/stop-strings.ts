/** Ends a text where one of several strings begins, whatever pieces it comes in. */
export class StopStrings {
  /** The string that was found. */
  found: string | undefined;
  /** The end of the text so far that may be the beginning of one. */
  private held = '';

  constructor(private readonly stops: readonly string[]) {}

  /** The text that is certain to come before any of the strings; nothing once one is found. */
  push(piece: string): string {
    if (this.found !== undefined) return '';
    const text = this.held + piece;
    let end = text.length;
    for (const stop of this.stops) {
      const at = text.indexOf(stop);
      if (at < 0 || at >= end) continue;
      end = at;
      this.found = stop;
    }
    if (this.found === undefined) end = this.safeEnd(text);
    this.held = text.slice(end);
    return text.slice(0, end);
  }

  /** Whether the end of the text so far may be the beginning of one. */
  get isHolding(): boolean {
    return this.held !== '';
  }

  /** What was held back, when no more text comes. */
  end(): string {
    const rest = this.found === undefined ? this.held : '';
    this.held = '';
    return rest;
  }

  /** Where the longest end of `text` that a string begins with begins. */
  private safeEnd(text: string): number {
    const longest = Math.max(0, ...this.stops.map((stop) => stop.length - 1));
    for (let at = Math.max(0, text.length - longest); at < text.length; at++) {
      if (this.stops.some((stop) => stop.startsWith(text.slice(at)))) return at;
    }
    return text.length;
  }
}
