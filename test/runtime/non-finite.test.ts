import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Tensor } from '@huggingface/transformers';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { ElasticCache } from '../../src/elastic-cache.js';
import { graphOf, parseModel, serializeModel } from '../../src/graph/onnx/onnx.js';
import { answer } from '../../src/models/conversation/answer.js';
import { loadElastic } from '../../src/models/load.js';
import type { LoadedModel } from '../../src/models/loaded-model.js';
import type { PolicyName } from '../../src/policies/registry.js';
import { run } from '../cli/run-cli.js';
import { HIDDEN } from '../families/tiny-parts.js';
import { picture } from '../picture.js';
import { writeTinyLlava } from './tiny-llava.js';

const LARGEST = 'the largest';

let root: string;
const loaded: LoadedModel[] = [];

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'elastic-cache-non-finite-'));
  await writeTinyLlava(join(root, 'sound'));
  await picture(3).save(join(root, 'image.png'));
});

afterAll(async () => {
  for (const { model } of loaded) await model.dispose();
  await rm(root, { recursive: true });
});

/** A model with `value` in the place of one number of a weight. */
async function damaged(file: string, weight: string, value: number, at = 0): Promise<string> {
  const directory = join(root, `${file}-${weight}-${value}`);
  await cp(join(root, 'sound'), directory, { recursive: true });
  const path = join(directory, 'onnx', `${file}.onnx`);
  const model = parseModel(await readFile(path));
  const tensors = graphOf(model).initializer.toSorted((a, b) => b.rawData.length - a.rawData.length);
  const tensor = tensors.find(({ name }) => weight === LARGEST || name === weight)!;
  const numbers = new Float32Array(Uint8Array.from(tensor.rawData).buffer);
  numbers[at] = value;
  tensor.rawData = new Uint8Array(numbers.buffer);
  await writeFile(path, serializeModel(model));
  return directory;
}

async function load(directory: string): Promise<LoadedModel> {
  const model = await loadElastic(directory, { threads: 1 });
  loaded.push(model);
  return model;
}

const ask = (model: LoadedModel, policy: PolicyName) =>
  answer(
    model,
    { images: [picture(3)], prompt: 'w2 w3' },
    { cache: new ElasticCache({ policy, budget: policy === 'full' ? 1 : 0.5 }), maxNewTokens: 6 },
  );

describe('scores that are not finite', () => {
  it.each([
    ['decoder_model_merged', 'v.1.weight', Number.NaN, /in the values of layer 1\./],
    ['decoder_model_merged', 'k.0.weight', Number.POSITIVE_INFINITY, /in the keys of layer 0\./],
    [
      'decoder_model_merged',
      'lm_head.weight',
      Number.NEGATIVE_INFINITY,
      /come up in layer 1 after its keys, or behind it\./,
    ],
    ['vision_encoder', LARGEST, Number.NaN, /the embeddings that the decoder was given/],
  ])('from %s, %s = %d, are an error that says where', async (file, weight, value, message) => {
    const model = await load(await damaged(file, weight, value));
    for (const policy of ['full', 'elastic-plus', 'snapkv'] as const) {
      await expect(ask(model, policy)).rejects.toMatchObject({
        code: 'non-finite',
        message: expect.stringMatching(message),
      });
    }
  });

  it('are told by generate() without the tensors of the step', async () => {
    const model = await load(join(root, 'decoder_model_merged-v.1.weight-NaN'));
    const said = vi.spyOn(console, 'error').mockImplementation(() => {});
    try {
      await expect(ask(model, 'full')).rejects.toThrow(/tokens 1 to \d+ are not finite/);
      expect(said).not.toHaveBeenCalled();
    } finally {
      said.mockRestore();
    }
  });

  it('leave a cache as it was when a later turn has them', async () => {
    const model = await load(await damaged('embed_tokens', LARGEST, Number.NaN, (4 + 3) * HIDDEN));
    const cache = new ElasticCache({ policy: 'full', budget: 1 });
    await answer(model, { images: [], prompt: 'w2' }, { cache, maxNewTokens: 2 });
    const { seen } = cache;
    const { input_ids } = model.tokenizer('w3', { add_special_tokens: false });
    const attention_mask = new Tensor('int64', new BigInt64Array(seen + 1).fill(1n), [1, seen + 1]);
    const turn = { input_ids, attention_mask, past_key_values: cache, max_new_tokens: 1 };
    await expect(model.model.generate(turn)).rejects.toThrow(`for token ${seen + 1} are not finite numbers`);
    expect(cache.seen).toBe(seen);
  });
});

describe('the command line, on a model whose scores are not finite', () => {
  const commands = {
    generate: ['generate', '--max-new-tokens', '4'],
    compare: ['compare', '--max-new-tokens', '4', '--policies', 'full,h2o', '--budgets', '0.5'],
    explain: ['explain', '--json'],
  };

  it.each(Object.entries(commands))('%s ends with one sentence and reports nothing', async (_, args) => {
    const model = join(root, 'decoder_model_merged-v.1.weight-NaN');
    const options = ['--model', model, '--image', join(root, 'image.png'), '--prompt', 'w2 w3'];
    const { stdout, stderr, code } = await run(...args, ...options);
    expect(stderr).toMatch(/^error: The model's scores for tokens .* layer 1\. [^\n]*\n$/m);
    expect({ stdout, code }).toEqual({ stdout: '', code: 1 });
  });

  it('eval makes no table of it, whatever becomes of broken records', async () => {
    await writeFile(
      join(root, 'data.json'),
      JSON.stringify([
        {
          id: 'a',
          image: 'image.png',
          conversations: [
            { from: 'human', value: '<image>\nw2 w3' },
            { from: 'gpt', value: 'w4 w5' },
          ],
        },
      ]),
    );
    const model = join(root, 'decoder_model_merged-v.1.weight-NaN');
    const { stdout, stderr, code } = await run(
      ...['eval', '--model', model, '--data', join(root, 'data.json'), '--out', join(root, 'results')],
      ...['--metrics', 'rouge', '--on-error', 'skip', '--max-new-tokens', '4', '--json'],
    );
    expect(stderr).toMatch(/error: The model's scores for tokens/);
    expect({ stdout, code }).toEqual({ stdout: '', code: 1 });
  });
});
