import type { PreTrainedModel, PretrainedConfig } from '@huggingface/transformers';
import * as transformers from '@huggingface/transformers';
import { ElasticCacheError } from '../errors.js';

type Constructor = new (
  config: PretrainedConfig,
  sessions: Record<string, unknown>,
  configs: Record<string, object>,
) => PreTrainedModel;

/** The class of transformers.js that runs a model. */
export interface ModelClass {
  Model: Constructor;
  /** Whether it reads text alone: its decoder takes ids, and nothing is there for images. */
  textOnly: boolean;
}

/** Names of classes by `model_type`. */
type ClassNames = readonly ReadonlyMap<string, string>[];

const OF_IMAGES: ClassNames = [
  ...transformers.AutoModelForImageTextToText.MODEL_CLASS_MAPPINGS,
  // For images and text, but transformers.js lists it among those for text.
  new Map([['phi3_v', 'Phi3VForCausalLM']]),
];
const OF_TEXT: ClassNames = transformers.AutoModelForCausalLM.MODEL_CLASS_MAPPINGS;

/**
 * The class that a config asks for by its `model_type`. Where transformers.js has one for images and one for text alone, as for Gemma 3, it
 * is that for images unless `architectures` names the other.
 * @throws ElasticCacheError 'unsupported-model' for what transformers.js does not run as a decoder
 */
export function modelClass(id: string, config: PretrainedConfig): ModelClass {
  const type = config.model_type ?? '';
  const [architecture = ''] = (config as { architectures?: string[] }).architectures ?? [];
  const [ofImages, ofText] = [nameOf(OF_IMAGES, type), nameOf(OF_TEXT, type)];
  const textOnly = ofText !== undefined && ofText !== ofImages && (!ofImages || architecture === ofText);
  const name = textOnly ? ofText : ofImages;
  const Model = name && (transformers as unknown as Record<string, Constructor | undefined>)[name];
  if (Model && !config.is_encoder_decoder) return { Model, textOnly };
  throw new ElasticCacheError(
    'unsupported-model',
    `${id} is of type "${type}", which transformers.js does not run as a decoder over text, or over images and text; the types it does are: ${typesOf(OF_IMAGES)}, and for text alone ${typesOf(OF_TEXT)}.`,
  );
}

/** Whether all models of a type read text alone. */
export function isOfTextAlone(type: string): boolean {
  return nameOf(OF_TEXT, type) !== undefined && nameOf(OF_IMAGES, type) === undefined;
}

function nameOf(classes: ClassNames, type: string): string | undefined {
  return classes.map((mapping) => mapping.get(type)).find((name) => name !== undefined);
}

function typesOf(classes: ClassNames): string {
  return classes.flatMap((mapping) => [...mapping.keys()]).join(', ');
}
