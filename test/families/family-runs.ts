import { cat, type PreTrainedModel, Tensor } from '@huggingface/transformers';
import type { InferenceSession, Tensor as OnnxTensor } from '#platform/ort.js';
import type { Inputs } from '../../src/models/conversation/prepare-inputs.js';
import { ElasticSession } from '../../src/runtime/elastic-session.js';

export function idsOf(output: unknown): number[] {
  return (output as Tensor).tolist()[0].map(Number);
}

/** A conversation so far, and another turn with what images it has, as inputs. */
export function followedBy(before: Inputs, output: Tensor, turn: Inputs): Inputs {
  const input_ids = cat([output, turn.input_ids], 1);
  const inputs: Inputs = {
    ...before,
    input_ids,
    attention_mask: new Tensor('int64', new BigInt64Array(input_ids.size).fill(1n), input_ids.dims),
  };
  // Tiles with a mask are along the second axis, pictures and patches along the first.
  const axis = before.pixel_attention_mask ? 1 : 0;
  for (const name of ['pixel_values', 'pixel_attention_mask', 'image_grid_thw', 'image_sizes']) {
    const given = [before[name], turn[name]].filter((tensor) => tensor !== undefined) as Tensor[];
    if (given.length > 0) inputs[name] = cat(given, axis);
  }
  return inputs;
}

/** Inputs of several prompts of one length as those of a batch. */
export function together(prompts: readonly Inputs[]): Inputs {
  const joined = Object.entries(prompts[0]!).map(([name, first]) =>
    first instanceof Tensor
      ? [
          name,
          cat(
            prompts.map((each) => each[name] as Tensor),
            0,
          ),
        ]
      : [name, first],
  );
  return Object.fromEntries(joined);
}

/** Inputs of prompts of unequal length, each with zeros before it, as many as the longest is longer. */
export function padded(prompts: readonly Inputs[]): Inputs[] {
  const longest = Math.max(...prompts.map(({ input_ids }) => input_ids.dims[1]!));
  return prompts.map((prompt) => {
    const length = prompt.input_ids.dims[1]!;
    const row = (name: 'input_ids' | 'attention_mask') => {
      const data = new BigInt64Array(longest);
      data.set((prompt[name] as Tensor).data as BigInt64Array, longest - length);
      return new Tensor('int64', data, [1, longest]);
    };
    return { ...prompt, input_ids: row('input_ids'), attention_mask: row('attention_mask') };
  });
}

type Run = (feeds: Record<string, OnnxTensor>) => ReturnType<InferenceSession['run']>;

/** Positions of the new tokens at each run of a session while `task` runs, in one flat list for each run. */
export async function positionsDuring(
  session: { run: Run },
  task: () => Promise<unknown>,
): Promise<bigint[][]> {
  const run = session.run;
  const seen: bigint[][] = [];
  session.run = function (this: unknown, feeds, ...rest: []) {
    seen.push(positionsIn(feeds));
    return run.call(this, feeds, ...rest);
  };
  try {
    await task();
  } finally {
    session.run = run;
  }
  return seen;
}

/** A graph without position_ids counts tokens from the attention mask. */
function positionsIn(feeds: Record<string, OnnxTensor>): bigint[] {
  const { position_ids, attention_mask, inputs_embeds, input_ids } = feeds;
  if (position_ids) return Array.from(position_ids.data as BigInt64Array);
  const fresh = (inputs_embeds ?? input_ids)!.dims[1]!;
  const before = attention_mask!.dims[1]! - fresh;
  return Array.from({ length: fresh }, (_, i) => BigInt(before + i));
}

/** The session of ONNX Runtime that decodes: of an unmodified model, or the one behind our cache. */
export function decoderOf(model: PreTrainedModel): { run: Run } {
  const session = model.sessions.decoder_model_merged ?? model.sessions.model;
  return session instanceof ElasticSession
    ? (session.decoder as unknown as { session: { run: Run } }).session
    : session;
}
