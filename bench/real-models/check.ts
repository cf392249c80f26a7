/**
 * Compares a converted text model with what PyTorch says (reference.py): tokens of the prompt by its tokenizer and chat
 * template, greedy tokens, and logits. Exits with 1 where the float32 model differs.
 * Run: npx tsx bench/real-models/check.ts <checkpoint directory> <model directory> [fp32|q8|q4]
 */
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { AutoModelForCausalLM, AutoTokenizer, env, Tensor } from '@huggingface/transformers';

interface Case {
  question: string;
  ids: number[];
  new: number[];
  text: string;
  gap: number;
  /** Of the 64 first tokens of the vocabulary, after the prompt. */
  last: number[];
}

const [checkpoint, directory, dtype = 'fp32'] = process.argv.slice(2);
if (checkpoint === undefined || directory === undefined) {
  throw new Error('Give the checkpoint (with its reference.json) and the converted directory.');
}
env.allowRemoteModels = false;
env.localModelPath = '';
const cases: Case[] = JSON.parse(readFileSync(join(checkpoint, 'reference.json'), 'utf8'));
const tokenizer = await AutoTokenizer.from_pretrained(resolve(directory));
const model = await AutoModelForCausalLM.from_pretrained(resolve(directory), {
  dtype: dtype as 'fp32',
  local_files_only: true,
});
let same = true;
for (const { question, ids, new: wanted, gap, last } of cases) {
  const own = tokenizer.apply_chat_template([{ role: 'user', content: question }], {
    add_generation_prompt: true,
    tokenize: true,
    return_dict: false,
    return_tensor: false,
  }) as unknown as number[];
  const int64 = (values: readonly number[]) =>
    new Tensor('int64', BigInt64Array.from(values, BigInt), [1, values.length]);
  const inputs = { input_ids: int64(ids), attention_mask: int64(ids.map(() => 1)) };
  const { logits } = (await (model as unknown as (inputs: object) => Promise<{ logits: Tensor }>)(inputs))!;
  const [, tokens = 1, vocabulary = 0] = logits.dims;
  const row = (logits.data as Float32Array).subarray((tokens - 1) * vocabulary);
  const difference = Math.max(...last.map((value, i) => Math.abs(value - row[i]!)));
  const output = (await model.generate({
    ...inputs,
    max_new_tokens: wanted.length,
    min_new_tokens: wanted.length,
    do_sample: false,
    eos_token_id: -1,
  } as Parameters<typeof model.generate>[0])) as Tensor;
  const got = Array.from(output.data as BigInt64Array, Number).slice(ids.length);
  const first = wanted.findIndex((token, i) => got[i] !== token);
  const prompt = own.join() === ids.join();
  same &&= prompt && first < 0;
  console.log(
    `${question}\n  prompt of ${ids.length} tokens ${prompt ? 'the same' : 'DIFFERS'}; ${first < 0 ? `all ${wanted.length} greedy tokens the same` : `greedy tokens part at ${first}`} (closest gap ${gap.toFixed(3)}); logits within ${difference.toExponential(1)}`,
  );
}
if (dtype === 'fp32' && !same) process.exitCode = 1;
