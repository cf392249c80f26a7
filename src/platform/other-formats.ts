import type { ElasticCacheError } from '../errors.js';
import { invalidImage } from './images.js';

/** What a file may be that is taken for an image and cannot be read as one, by how it begins; bytes as Latin-1, those that are no text as their pictures in Unicode. */
const FORMATS: readonly (readonly [begins: RegExp, name: string])[] = [
  [/^BM/, 'a BMP picture'],
  [/^␀␀␁␀/, 'an icon (ICO)'],
  [/^(\xff\n|␀␀␀␌JXL )/, 'a JPEG XL picture'],
  [/^(\xffO\xffQ|␀␀␀␌jP {2})/, 'a JPEG 2000 picture'],
  [/^8BPS/, 'a Photoshop picture'],
  [/^%PDF/, 'a PDF document'],
  [/^(\xef\xbb\xbf)?\s*<(!doctype html|html|head|body)[\s>]/i, 'a web page (HTML) and not the picture on it'],
  [/^version https:\/\/git-lfs/, 'a pointer of Git LFS and not what it points to'],
  [/^....ftyp(mp4|isom|iso[2-6]|qt|M4V|avc1)|^␚E\xdf\xa3/s, 'a video'],
  [/^(\xef\xbb\xbf)?\s*[{[]/, 'JSON'],
];

/** An ISO media file (ISO/IEC 23008-12) whose pictures are compressed as HEVC, whose decoder is not free to ship. */
const HEIC = /^....ftyp(?!.*avi[fs]).*(heic|heix|heim|heis|hevc|hevx|mif1|msf1)/s;

/** What to throw for bytes that could not be decoded and are known to be something else; undefined when they are not. */
export function otherFormat(bytes: Uint8Array, name: string, cause: unknown): ElasticCacheError | undefined {
  const head = Array.from(bytes.subarray(0, 64), letter).join('');
  if (HEIC.test(head)) {
    return invalidImage(
      `${name} is a HEIC picture, as phones save them, which cannot be read here; convert it to JPEG or PNG`,
      cause,
    );
  }
  const known = FORMATS.find(([begins]) => begins.test(head));
  return known && invalidImage(`${name} is ${known[1]}, which cannot be read; give a JPEG or PNG`, cause);
}

/** A byte as a letter. */
function letter(byte: number): string {
  const isText = byte >= 0x20 || [0x09, 0x0a, 0x0d].includes(byte);
  return String.fromCharCode(isText ? byte : 0x2400 + byte);
}
