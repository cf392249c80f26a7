import { cat, Tensor } from '@huggingface/transformers';
import { encode, type Inputs } from '../families/family.js';
import { familyOf } from '../families/registry.js';
import { imageInputs } from '../images/image-inputs.js';
import type { ImageSource } from '../images/image-source.js';
import type { LoadedModel } from '../loaded-model.js';
import { type Question, readingImages } from './prepare-inputs.js';
import type { Said } from './reply.js';
import { nextTurnText } from './template/prompt-text.js';

/**
 * The inputs of a conversation that goes on: all its tokens and images, with another turn behind what the model said.
 * @param before the inputs that the last answer was given to
 * @throws ElasticCacheError `invalid-prompt` when the prompt and the images do not fit together
 */
export async function nextInputs(
  loaded: LoadedModel,
  before: Inputs,
  said: Said,
  { images = [], prompt }: Question,
): Promise<Inputs> {
  const text = said.rest + nextTurnText(loaded, { images: images.length, prompt });
  const turn = await behindOthers(loaded, text, images);
  const ids = BigInt64Array.from([...idsOf(before), ...said.tokens.map(BigInt), ...idsOf(turn)]);
  const tokens = (data: BigInt64Array) => new Tensor('int64', data, [1, data.length]);
  return {
    ...pictures(loaded, before, turn),
    input_ids: tokens(ids),
    attention_mask: tokens(ids.map(() => 1n)),
  };
}

/** One of these is no part of a token with what comes behind it. */
const BEFORE = ['a', '.', '1', ')'];

/**
 * The inputs of a text with its images, as they are behind other text: a tokenizer reads the beginning of a text differently, and may put a token of its
 * own there.
 */
async function behindOthers(
  loaded: LoadedModel,
  text: string,
  images: readonly ImageSource[],
): Promise<Inputs> {
  const family = familyOf(loaded.model.config.model_type);
  const prepared = async (whole: string) =>
    images.length > 0 ? imageInputs(readingImages(loaded), family, whole, images) : encode(loaded, whole);
  const beginning = BEFORE.map((anchor) => ({ anchor, ids: idsOf(encode(loaded, anchor)) })).find(
    ({ anchor, ids }) => beginsWith(idsOf(encode(loaded, anchor + text)), ids),
  );
  if (beginning) {
    const inputs = await prepared(beginning.anchor + text);
    const ids = idsOf(inputs);
    // A processor that puts images before all text does not.
    if (beginsWith(ids, beginning.ids)) {
      const own = ids.slice(beginning.ids.length);
      return { ...inputs, input_ids: new Tensor('int64', own, [1, own.length]) };
    }
  }
  return prepared(text);
}

/** The tensors of a conversation's images: those of before, and those that came with a turn. */
function pictures({ model }: LoadedModel, before: Inputs, turn: Inputs): Record<string, Tensor> {
  const { joined = (first: Tensor, second: Tensor) => cat([first, second], 0) } = familyOf(
    model.config.model_type,
  );
  const names = new Set([...Object.keys(before), ...Object.keys(turn)]);
  const tensors = [...names].flatMap((name) => {
    if (name === 'input_ids' || name === 'attention_mask') return [];
    const given = [before[name], turn[name]].filter((value) => value instanceof Tensor);
    const [first, second] = given;
    return first ? [[name, second ? joined(first, second) : first] as const] : [];
  });
  return Object.fromEntries(tensors);
}

function idsOf({ input_ids }: Inputs): BigInt64Array {
  return input_ids.data as BigInt64Array;
}

function beginsWith(ids: BigInt64Array, beginning: BigInt64Array): boolean {
  return beginning.every((id, at) => ids[at] === id);
}
