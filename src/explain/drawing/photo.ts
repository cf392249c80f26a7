import sharp from 'sharp';
import type { Image } from '../../models/images/read-image.js';
import type { Photo } from './canvas.js';

/** Longest edge of the copy inside a picture, in pixels: twice what it is drawn at. */
const LONGEST = 900;

/** The photo as a picture carries it: a JPEG inside, so that the file stands alone. */
export async function embedPhoto({ data, width, height }: Image): Promise<Photo> {
  const jpeg = await sharp(data, { raw: { width, height, channels: 3 } })
    .resize(LONGEST, LONGEST, { fit: 'inside', withoutEnlargement: true })
    .jpeg({ quality: 86 })
    .toBuffer();
  return { width, height, href: `data:image/jpeg;base64,${jpeg.toString('base64')}` };
}
