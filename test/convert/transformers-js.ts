import { env, LlavaForConditionalGeneration, Tensor } from '@huggingface/transformers';
import { readExpected, type Values } from './checkpoints.js';

env.allowRemoteModels = false;
env.localModelPath = '';

/** What the tests call of a transformers.js model, whose own types leave it open. */
export interface LoadedLlava {
  (inputs: object): Promise<{ logits: Output }>;
  encode_image(inputs: object): Promise<Output>;
  generate(inputs: object): Promise<{ data: BigInt64Array }>;
  dispose(): Promise<unknown>;
}

interface Output {
  data: Float32Array;
  dims: number[];
}

/** Loads a converted directory with transformers.js as it is; without `dtype`, the one its config.json names. */
export async function loadConverted(directory: string, dtype: string | undefined): Promise<LoadedLlava> {
  const options = { local_files_only: true, ...(dtype === undefined ? {} : { dtype }) };
  const model: unknown = await LlavaForConditionalGeneration.from_pretrained(
    directory,
    options as Parameters<typeof LlavaForConditionalGeneration.from_pretrained>[1],
  );
  return model as LoadedLlava;
}

/** The prompt and the pixels that fixtures/make.py, or a script like it, gave to Hugging Face transformers. */
export async function promptInputs(expected?: ReadonlyMap<string, Values>) {
  const pixels = expected?.get('pixel_values') ?? (await readExpected('pixel_values'));
  const ids = expected?.get('input_ids') ?? (await readExpected('input_ids'));
  const int64 = (values: bigint[], dims: number[]) => new Tensor('int64', BigInt64Array.from(values), dims);
  return {
    pixel_values: new Tensor('float32', pixels.data, [...pixels.shape]),
    input_ids: int64(
      Array.from(ids.data, (id) => BigInt(id)),
      [...ids.shape],
    ),
    attention_mask: int64(
      Array.from(ids.data, () => 1n),
      [...ids.shape],
    ),
    scalar: (value: bigint) => int64([value], []),
  };
}

/** 32 tokens, each the likeliest, whatever ends an answer. */
export const greedy = { max_new_tokens: 32, min_new_tokens: 32, do_sample: false, eos_token_id: -1 };

/** The root mean square of what differs, as a share of the expected numbers' own. */
export function shareOff(given: Float32Array, expected: Float32Array): number {
  const squares = (values: Float32Array) => values.reduce((sum, value) => sum + value ** 2, 0);
  return Math.sqrt(squares(expected.map((value, i) => value - given[i]!)) / squares(expected));
}
