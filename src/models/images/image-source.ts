import { RawImage } from '@huggingface/transformers';

/**
 * An image, wherever it is: a path, an address (`file:`, `data:`, `http:`, `https:`) as text or `URL`, the bytes of a file, a `Blob`, or pixels.
 */
export type ImageSource = string | URL | Uint8Array | ArrayBuffer | Blob | RawImage;

const names = new WeakMap<object, string>();

/** Remembers what errors shall call an image. */
export function nameImage(image: RawImage, name: string): RawImage {
  names.set(image, name);
  return image;
}

/** Gives an image the name of the one that it was made of. */
export function nameLike(image: RawImage, source: RawImage): RawImage {
  const known = names.get(source);
  return known === undefined ? image : nameImage(image, known);
}

/** What errors call an image of a question, the `place`-th (from 0): its file, or its place and size. */
export function imageName(image: RawImage, place: number): string {
  const size = `${image.width} x ${image.height} pixels`;
  const known = names.get(image);
  return known === undefined ? `image ${place + 1} (${size})` : `${known} (${size})`;
}

/** What errors call an image that is still to be read; never its content. */
export function sourceName(source: ImageSource): string {
  if (source instanceof RawImage)
    return names.get(source) ?? `image of ${source.width} x ${source.height} pixels`;
  if (typeof source === 'string' || source instanceof URL) return `image ${addressName(String(source))}`;
  if (source instanceof Blob) {
    const { name } = source as { name?: unknown };
    return typeof name === 'string' && name !== '' ? `image ${name}` : `image of ${source.size} bytes`;
  }
  return `image of ${source.byteLength} bytes`;
}

const LONGEST_NAME = 200;

function addressName(address: string): string {
  if (/^data:/i.test(address)) return 'in a data URL';
  // Neither what opens a door nor pages of text belong into a message.
  const shown = address.replace(/^(https?:\/\/)[^/@]*@/i, '$1').replaceAll(/\p{Cc}/gu, '?');
  return shown.length > LONGEST_NAME ? `${shown.slice(0, LONGEST_NAME)}...` : shown;
}
