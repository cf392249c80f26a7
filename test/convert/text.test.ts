import { cp, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AutoModelForCausalLM, Tensor } from '@huggingface/transformers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { convertCheckpoint } from '../../src/convert/index.js';
import { ElasticCache } from '../../src/elastic-cache.js';
import { loadElastic } from '../../src/models/load.js';
import { DTYPES, edit, readTensors, scratch, type Values, writeSafetensors } from './checkpoints.js';
import { greedy, shareOff } from './transformers-js.js';

/** Random checkpoints, and what Hugging Face transformers computes with them (fixtures/make_text.py). */
const fixture = (name: string) => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));

interface TextModel {
  (inputs: object): Promise<{ logits: { data: Float32Array; dims: number[] } }>;
  generate(inputs: object): Promise<{ data: BigInt64Array }>;
  dispose(): Promise<unknown>;
}

let place: Awaited<ReturnType<typeof scratch>>;
beforeAll(async () => {
  place = await scratch();
});
afterAll(() => place.remove());

async function load(directory: string, dtype: string): Promise<TextModel> {
  const model: unknown = await AutoModelForCausalLM.from_pretrained(directory, {
    local_files_only: true,
    dtype: dtype as 'fp32',
  });
  return model as TextModel;
}

function prompt({ data, shape }: Values) {
  const int64 = (values: bigint[]) => new Tensor('int64', BigInt64Array.from(values), [...shape]);
  return { input_ids: int64(Array.from(data, BigInt)), attention_mask: int64(Array.from(data, () => 1n)) };
}

// Llama: tied, with Llama 3.1's rotation. Qwen2: biases, and an output matrix of its own. Gemma 3: windows, norms of heads. Qwen3: norms of heads, YaRN. Mistral: a window in all layers.
describe.each(['tiny-llama', 'tiny-qwen2', 'tiny-gemma3', 'tiny-qwen3', 'tiny-mistral'])(
  '%s in unmodified transformers.js',
  (name) => {
    let expected: Map<string, Values>;
    beforeAll(async () => {
      expected = await readTensors(join(fixture(name), 'expected.safetensors'));
      await convertCheckpoint({
        from: fixture(name),
        to: place.path(name),
        dtype: DTYPES,
        blockSize: 32,
      });
    });

    // Bounds, as a share of the logits' spread: float32 rounding; and what 8 and 4 bits of weights this small and random cost.
    it.each([
      ['fp32', 3e-6],
      ['fp16', 0.004],
      ['q8', 0.08],
      ['q4', 0.6],
      ['q4f16', 0.6],
    ])('%s: logits are those of Hugging Face transformers', async (dtype, bound) => {
      const model = await load(place.path(name), dtype);
      const { logits } = await model(prompt(expected.get('input_ids')!));
      expect(logits.dims).toEqual([1, 33, 96]);
      expect(shareOff(logits.data, expected.get('logits')!.data)).toBeLessThan(bound);
      await model.dispose();
    });

    it('fp32: generates the tokens of Hugging Face transformers', async () => {
      const model = await load(place.path(name), 'fp32');
      const ids = expected.get('input_ids')!;
      const output = await model.generate({ ...prompt(ids), ...greedy });
      expect(Array.from(output.data.slice(ids.shape[1]), Number)).toEqual([
        ...expected.get('generated')!.data,
      ]);
      await model.dispose();
    });

    it('budget 1 gives those tokens too', async () => {
      const { model } = await loadElastic(place.path(name), { dtype: 'fp32' });
      const ids = expected.get('input_ids')!;
      const output = await (model as unknown as TextModel).generate({
        ...prompt(ids),
        ...greedy,
        past_key_values: new ElasticCache({ budget: 1 }),
      });
      expect(Array.from(output.data.slice(ids.shape[1]), Number)).toEqual([
        ...expected.get('generated')!.data,
      ]);
      await model.dispose();
    });

    it('holds one graph for each precision, and no file of a processor', async () => {
      expect((await readdir(place.path(name))).sort()).toEqual([
        'config.json',
        'generation_config.json',
        'onnx',
        'tokenizer.json',
        'tokenizer_config.json',
      ]);
      const graphs = (await readdir(join(place.path(name), 'onnx'))).filter((file) => file.endsWith('.onnx'));
      expect(graphs.sort()).toEqual([
        'model.onnx',
        'model_fp16.onnx',
        'model_q4.onnx',
        'model_q4f16.onnx',
        'model_quantized.onnx',
      ]);
    });
  },
);

describe('a text model', () => {
  const copy = async (name: string) => {
    const from = place.path(`${name} source`);
    await cp(fixture('tiny-llama'), from, { recursive: true });
    return from;
  };

  it('misses a tensor, by the name that its own checkpoint gives it', async () => {
    const from = await copy('missing');
    const tensors = await readTensors(join(from, 'model.safetensors'));
    tensors.delete('model.layers.1.mlp.up_proj.weight');
    await writeSafetensors(join(from, 'model.safetensors'), tensors, 'BF16');
    await expect(convertCheckpoint({ from, to: place.path('missing'), dtype: 'fp32' })).rejects.toThrow(
      'no tensor "model.layers.1.mlp.up_proj.weight" [96, 64]',
    );
  });

  it.each([
    ['longrope', { rope_type: 'longrope', factor: 2 }, 'config.json asks for "longrope" rotary scaling:'],
    ['half a yarn', { rope_type: 'yarn' }, '"yarn" rotary scaling but lacks'],
    ['half a llama3', { rope_type: 'llama3', factor: 8 }, '"llama3" rotary scaling but lacks'],
  ])('rotates by %s', async (name, rope, message) => {
    const from = await copy(name);
    await edit(join(from, 'config.json'), (config) => {
      config.rope_parameters = rope;
    });
    const refused = convertCheckpoint({ from, to: place.path(name), dtype: 'fp32' });
    await expect(refused).rejects.toMatchObject({
      code: 'unsupported-model',
      message: expect.stringContaining(message),
    });
  });

  it.each<[string, Record<string, unknown>, string]>([
    ['width', { hidden_size: 0 }, 'has hidden_size = 0, which cannot be converted (too small'],
    ['type', { model_type: undefined }, 'config.json has no model_type, but only llava or'],
    ['heads', { num_key_value_heads: 3 }, 'config.json divides 4 into 3 heads'],
    ['positions', { max_position_embeddings: 1e9 }, 'max_position_embeddings for 1000000000 tokens'],
    [
      'quantized',
      { quantization_config: { quant_method: 'gptq' } },
      'quantized already (quant_method "gptq")',
    ],
  ])('has a config that cannot be: %s', async (name, change, message) => {
    const from = await copy(`config ${name}`);
    await edit(join(from, 'config.json'), (config) => void Object.assign(config, change));
    const refused = convertCheckpoint({ from, to: place.path(name), dtype: 'fp32' });
    await expect(refused).rejects.toMatchObject({ message: expect.stringContaining(message) });
  });

  it('has a weight that is no number, and no directory is left', async () => {
    const from = await copy('nan');
    const tensors = await readTensors(join(from, 'model.safetensors'));
    tensors.get('model.norm.weight')!.data[3] = Number.NaN;
    await writeSafetensors(join(from, 'model.safetensors'), tensors, 'BF16');
    await expect(convertCheckpoint({ from, to: place.path('nan'), dtype: 'fp32' })).rejects.toThrow(
      'Tensor "model.norm.weight" in model.safetensors holds NaN',
    );
    await expect(stat(place.path('nan'))).rejects.toThrow('ENOENT');
  });

  it('is no directory, or not there', async () => {
    const file = join(fixture('tiny-llama'), 'config.json');
    const from = (path: string) => convertCheckpoint({ from: path, to: place.path('none'), dtype: 'fp32' });
    await expect(from(file)).rejects.toThrow('config.json is no directory: give');
    await expect(from(`${file}s`)).rejects.toThrow('config.jsons is not there: give');
  });

  it('has an index that leads out of its directory', async () => {
    const from = await copy('elsewhere');
    await rename(join(from, 'model.safetensors'), place.path('elsewhere.safetensors'));
    const index = { weight_map: { any: '../elsewhere.safetensors' } };
    await writeFile(join(from, 'model.safetensors.index.json'), JSON.stringify(index));
    await expect(convertCheckpoint({ from, to: place.path('led'), dtype: 'fp32' })).rejects.toThrow(
      'has no usable weight_map',
    );
  });

  it('is converted beside an index of weights that are not there, and from files with byte order marks', async () => {
    const from = await copy('marked');
    await writeFile(join(from, 'model.safetensors.index.json'), '{"weight_map": {"any": "none"}}');
    const config = await readFile(join(from, 'config.json'), 'utf8');
    await writeFile(join(from, 'config.json'), `\uFEFF${config}`);
    await convertCheckpoint({ from, to: place.path('marked'), dtype: 'fp32' });
  });
});
