import { RawImage } from '@huggingface/transformers';
import { ElasticCacheError, reasonOf } from '../../errors.js';
import type { Family, Inputs } from '../families/family.js';
import type { LoadedVisionModel } from '../loaded-model.js';
import { type ImageSource, imageName } from './image-source.js';
import { onWhite } from './on-white.js';
import { refuseBlownUp, type SizedProcessor } from './prepared-size.js';
import { readImage } from './read-image.js';

/**
 * The inputs of a text with a mark for each of its images, which are read where they are not.
 * @throws ElasticCacheError `invalid-image`, with its name, for one that the model's processor cannot take, and what {@link readImage} throws
 */
export async function imageInputs(
  loaded: LoadedVisionModel,
  family: Family,
  text: string,
  sources: readonly ImageSource[],
): Promise<Inputs> {
  // Holes of a list count, as undefined.
  const images = await Promise.all(Array.from(sources, asPixels));
  const names = images.map(imageName);
  const processor = loaded.processor.image_processor as SizedProcessor | undefined;
  try {
    if (processor)
      for (const [place, image] of images.entries()) refuseBlownUp(processor, image, names[place]!);
    return await family.inputs(loaded, text, images);
  } catch (cause) {
    if (cause instanceof ElasticCacheError) throw cause;
    throw new ElasticCacheError(
      'invalid-image',
      `${names.join(' and ')} cannot be prepared for this model (${reasonOf(cause).split('\n', 1)[0]}); crop or scale it, or take another.`,
      { cause },
    );
  }
}

function asPixels(source: ImageSource): RawImage | Promise<RawImage> {
  return source instanceof RawImage ? onWhite(source) : readImage(source);
}
