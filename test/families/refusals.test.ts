import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Tensor } from '@huggingface/transformers';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ElasticCache } from '../../src/elastic-cache.js';
import { GraphBuilder } from '../../src/graph/onnx/builder.js';
import { DataType, serializeModel } from '../../src/graph/onnx/onnx.js';
import { prepareInputs } from '../../src/models/conversation/prepare-inputs.js';
import { familyOf } from '../../src/models/families/registry.js';
import { loadElastic } from '../../src/models/load.js';
import { run } from '../cli/run-cli.js';
import { buildGqaDecoder } from '../graph/gqa-decoder.js';
import { picture } from '../picture.js';
import { followedBy } from './family-runs.js';
import { FAMILIES, writeTinyFamily } from './tiny-families.js';
import { VOCAB } from './tiny-parts.js';

let root: string;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'families-'));
});
afterAll(async () => {
  await rm(root, { recursive: true });
});

async function directoryOf(name: string): Promise<string> {
  const directory = join(root, name);
  await writeTinyFamily(directory, FAMILIES[name]!);
  return directory;
}

async function loaded(name: string) {
  return loadElastic(await directoryOf(name), { threads: 1 });
}

/** A model and its cache after a turn about one image. */
async function afterOneTurn(name: string) {
  const elastic = await loaded(name);
  const cache = new ElasticCache({ policy: 'elastic', budget: 0.5 });
  const first = await prepareInputs(elastic, { images: [picture(37)], prompt: 'w2' });
  const output = (await elastic.model.generate({
    ...first,
    past_key_values: cache,
    max_new_tokens: 2,
  })) as Tensor;
  return { elastic, cache, first, output };
}

describe('what a family does not take is refused in one sentence', () => {
  it('new tokens alone, where positions follow from those before them', async () => {
    const { elastic, cache, first, output } = await afterOneTurn('Qwen2-VL');
    const second = followedBy(first, output, await prepareInputs(elastic, { images: [], prompt: 'w7' }));
    const input_ids = second.input_ids.slice(null, [cache.seen, second.input_ids.dims[1]!]);
    await expect(elastic.model.generate({ ...second, input_ids, past_key_values: cache })).rejects.toThrow(
      /^input_ids are \d+ new tokens alone, and this model's positions follow from those before them; pass the whole conversation.$/,
    );
    await elastic.model.dispose();
  });

  it('the images of some turns only', async () => {
    const { elastic, cache, first, output } = await afterOneTurn('LLaVA-1.5');
    const turn = await prepareInputs(elastic, { images: [picture(91)], prompt: 'w7' });
    const { pixel_values } = turn;
    const second = { ...followedBy(first, output, turn), pixel_values };
    await expect(elastic.model.generate({ ...second, past_key_values: cache })).rejects.toThrow(
      'The prompt has 32 image tokens, 16 of them seen before, and pixel_values holds 1 pictures, which does not fit; pass the images of the whole conversation.',
    );
    await elastic.model.dispose();
  });

  it.each(Object.keys(FAMILIES))('an image token in the text of a prompt: %s', async (name) => {
    const elastic = await loaded(name);
    const mark = familyOf(elastic.model.config.model_type).mark(elastic);
    for (const images of [[], [picture(37)]]) {
      await expect(prepareInputs(elastic, { images, prompt: `w2 ${mark} w3` })).rejects.toThrow(
        `The prompt holds "${mark}", which stands for an image in this model's text; leave it out`,
      );
    }
    await elastic.model.dispose();
  });

  it('a tokenizer without the image token that config.json names', async () => {
    const elastic = await loaded('Moondream');
    Object.assign(elastic.model.config, { image_token_index: 90 });
    await expect(prepareInputs(elastic, { images: [picture(37)], prompt: 'w2' })).rejects.toThrow(
      'The prompt has 0 image tokens (id 90) for 1 images; check that the tokenizer has the one that config.json names.',
    );
    await elastic.model.dispose();
  });

  it('Phi-3.5-vision in the files of another family', async () => {
    const directory = join(root, 'phi3_v');
    const config = { ...FAMILIES['Phi-3.5-vision']!.config };
    await writeTinyFamily(directory, { ...FAMILIES.SmolVLM!, config, className: 'Phi3VForCausalLM' });
    await expect(loadElastic(directory)).rejects.toThrow(
      /phi3_v has no onnx\/prepare_inputs_embeds.onnx; fetch or convert it again.$/,
    );
  });

  it('a model of text alone whose decoder takes embeddings, which nothing makes', async () => {
    const directory = join(root, 'phi3');
    const config = { ...FAMILIES['Phi-3.5-vision']!.config, model_type: 'phi3' };
    await writeTinyFamily(directory, {
      ...FAMILIES['Phi-3.5-vision']!,
      config,
      className: 'Phi3ForCausalLM',
    });
    await expect(loadElastic(directory)).rejects.toThrow(
      /^.*phi3 is a model of text alone \(phi3\), and its decoder onnx\/model\.onnx takes inputs_embeds, which no other part of it makes; .*without exclude_embeds.*\.$/,
    );
  });

  it('a decoder that takes more than embeddings, mask and positions', async () => {
    const directory = await directoryOf('Gemma 3');
    const builder = new GraphBuilder(buildGqaDecoder({ vocab: VOCAB }));
    const dims = ['batch_size', 'sequence_length', 2, 16];
    builder.input('per_layer_inputs', DataType.FLOAT, dims);
    builder.ops('Identity', ['per_layer_inputs'], { outputs: ['used'] });
    builder.output('used', DataType.FLOAT, dims);
    await writeFile(join(directory, 'onnx/decoder_model_merged.onnx'), serializeModel(builder.model));
    await expect(loadElastic(directory)).rejects.toThrow(
      /decoder_model_merged.onnx: The decoder takes "per_layer_inputs" beside embeddings, mask and positions/,
    );
  });
});

describe('elastic-cache generate', () => {
  it.each([0, 1, 2])('takes %i images', async (count) => {
    const directory = await directoryOf('SmolVLM');
    const images: string[] = [];
    for (let i = 0; i < count; i++) {
      const path = join(root, `${i}.png`);
      await sharp({ create: { width: 20, height: 20, channels: 3, background: i ? 'red' : 'blue' } }).toFile(
        path,
      );
      images.push('--image', path);
    }
    const options = ['--model', directory, '--prompt', 'w2 w3', '--max-new-tokens', '3', '--json'];
    const { stdout, code } = await run('generate', ...options, ...images);
    expect(code).toBe(0);
    const { promptTokens } = JSON.parse(stdout);
    expect(promptTokens).toBeGreaterThan(20 * count);
    expect(promptTokens).toBeLessThan(20 * count + 40);
  });
});
