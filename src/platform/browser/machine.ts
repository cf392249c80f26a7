/** Bytes of memory that WebAssembly can take: no page is told what the machine has left. */
export function memoryLeft(): number {
  return 2 ** 32;
}

/** What lets its owner in on the Hub: a page has none, since everybody who opens it would have it. */
export function accessToken(): string | undefined {
  return undefined;
}
