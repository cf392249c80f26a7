import { ElasticCacheError, shown } from '../../errors.js';
import { KVCache } from '../../memory/kv-cache.js';
import { refuseUnknown } from '../../options.js';
import type { ImageSource } from '../images/image-source.js';
import type { LoadedModel } from '../loaded-model.js';

/** What a model is asked: one turn of a conversation. */
export interface Question {
  /** None, one or several, in the order in which the model shall see them; what is not read yet is, as {@link readImage} does. */
  images?: readonly ImageSource[];
  prompt: string;
  /** What the model is told before the first turn. */
  system?: string | undefined;
}

/**
 * Refuses what is no question, whatever its types said.
 * @param where the function that takes it
 * @throws ElasticCacheError 'invalid-option', or 'invalid-prompt' for a prompt that is no text
 */
export function checkQuestion(where: string, question: Question): void {
  refuseUnknown(where, question ?? null, ['images', 'prompt', 'system']);
  const { images = [], prompt, system } = question;
  if (typeof prompt !== 'string') {
    throw new ElasticCacheError('invalid-prompt', `prompt is ${shown(prompt)}; give a text.`);
  }
  refuseOtherSystem(system);
  if (!Array.isArray(images)) {
    throw new ElasticCacheError(
      'invalid-option',
      `images is ${shown(images)}; give a list, also of one image, such as images: [image].`,
    );
  }
}

/** @throws ElasticCacheError 'invalid-option' for what is no loaded model */
export function checkLoaded(loaded: LoadedModel): void {
  const { model, tokenizer } = Object(loaded) as Partial<LoadedModel>;
  if (model?.config && typeof tokenizer === 'function') return;
  throw new ElasticCacheError(
    'invalid-option',
    `the model is ${shown(loaded)}; give what loadElastic() returned, whole and awaited.`,
  );
}

/** Refuses what is no loaded model, no cache, or no text for what the model is told. @throws ElasticCacheError 'invalid-option' */
export function checkConversation(loaded: LoadedModel, cache: KVCache, system: string | undefined): void {
  checkLoaded(loaded);
  if (!(cache instanceof KVCache)) {
    throw new ElasticCacheError(
      'invalid-option',
      `cache is ${shown(cache)}; give one, such as new ElasticCache({ budget: 0.2 }).`,
    );
  }
  refuseOtherSystem(system);
}

function refuseOtherSystem(system: unknown): void {
  if (system === undefined || typeof system === 'string') return;
  throw new ElasticCacheError('invalid-option', `system is ${shown(system)}; give a text.`);
}
