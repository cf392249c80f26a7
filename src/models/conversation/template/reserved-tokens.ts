import { ElasticCacheError } from '../../../errors.js';
import type { LoadedModel } from '../../loaded-model.js';

/**
 * Refuses a text of a user that holds what a tokenizer makes a special token of, such as `</s>` or `<|im_end|>`: it would end the turn there, or begin one
 * in another's name. By its tokens, so that no way of writing one goes through.
 * @throws ElasticCacheError `invalid-prompt` with its name
 */
export function refuseReserved({ tokenizer }: Pick<LoadedModel, 'tokenizer'>, text: string): void {
  const { all_special_ids: ids, all_special_tokens: names } = tokenizer;
  const reserved = new Map(ids.map((id: number, index: number) => [id, names[index] as string]));
  for (const id of tokenizer.encode(text, { add_special_tokens: false })) {
    const name = reserved.get(id);
    // The token of unknown words is special too, and stands for text that is none of its name.
    if (name === undefined || !plain(text).includes(plain(name))) continue;
    throw new ElasticCacheError(
      'invalid-prompt',
      `The prompt holds "${name}", which is a token with a meaning of its own to this model; write it otherwise, for example with spaces inside.`,
    );
  }
}

const plain = (text: string) => text.normalize('NFKC').toLowerCase();
