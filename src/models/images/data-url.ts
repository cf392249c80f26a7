/**
 * The bytes of a `data:` URL (RFC 2397), whatever media type it names: what they are is told by the bytes.
 * Undefined where it is not one, or its base64 is none.
 */
export function dataUrlBytes(url: string): Uint8Array | undefined {
  const match = /^data:([^,]*),/i.exec(url);
  if (!match) return undefined;
  const [head, parameters = ''] = match;
  const content = url.slice(head.length);
  if (!/;\s*base64\s*$/i.test(parameters)) return percentDecoded(content);
  // Base64 may stand in percent codes, in the alphabet for addresses, and broken into lines.
  const text = (content.includes('%') ? latin1(percentDecoded(content)) : content)
    .replaceAll(/\s/g, '')
    .replaceAll('-', '+')
    .replaceAll('_', '/');
  try {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  } catch {
    return undefined;
  }
}

function percentDecoded(text: string): Uint8Array {
  const bytes = new TextEncoder().encode(text);
  const out = new Uint8Array(bytes.length);
  let length = 0;
  for (let i = 0; i < bytes.length; i++) {
    const code =
      text.length === bytes.length ? text.slice(i + 1, i + 3) : latin1(bytes.subarray(i + 1, i + 3));
    const coded = bytes[i] === 0x25 && /^[0-9a-f]{2}$/i.test(code);
    out[length++] = coded ? Number.parseInt(code, 16) : bytes[i]!;
    if (coded) i += 2;
  }
  return out.subarray(0, length);
}

function latin1(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join('');
}
