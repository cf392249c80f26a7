import type { PreTrainedModel } from '@huggingface/transformers';

/** The token whose places in a prompt the image takes; -1 where the config names none. */
export function imageTokenId({ model }: { model: Pick<PreTrainedModel, 'config'> }): number {
  const { image_token_index, image_token_id } = model.config as {
    image_token_index?: number;
    image_token_id?: number;
  };
  return image_token_index ?? image_token_id ?? -1;
}
