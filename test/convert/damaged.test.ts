import { cp, open, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ConvertOptions, convertCheckpoint } from '../../src/convert/index.js';
import { ElasticCacheError } from '../../src/errors.js';
import { edit, readTensors, scratch, type Values, writeSafetensors } from './checkpoints.js';
import { writeQwenVl } from './qwen-vl-checkpoint.js';

const fixture = (name: string) => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));
const weights = 'model.safetensors';

/** Writes a sound checkpoint of a family, its weights in one safetensors file, and says what else converting it takes. */
type Family = (to: string) => Promise<Partial<ConvertOptions>>;
const copied =
  (name: string): Family =>
  async (to) => {
    await cp(fixture(name), to, { recursive: true });
    return {};
  };
const families: Readonly<Record<string, Family>> = {
  llava: copied('tiny-llava'),
  async originalLlava(to) {
    await cp(fixture('original-llava'), to, {
      recursive: true,
      filter: (path) => !/pytorch_model/.test(path),
    });
    const tensors = new Map<string, Values>();
    for (const part of ['1', '2'])
      for (const [name, values] of await readTensors(
        join(fixture('original-llava'), `pytorch_model-0000${part}-of-00002.bin`),
      ))
        tensors.set(name, values);
    await writeSafetensors(join(to, weights), tensors, 'F16');
    return { visionTower: fixture('original-llava-tower') };
  },
  async qwenVl(to) {
    await writeQwenVl(to);
    return {};
  },
  qwen2Vl: copied('tiny-qwen2-vl'),
  qwen25Vl: copied('tiny-qwen2-5-vl'),
  smolvlm: copied('tiny-smolvlm'),
  llama: copied('tiny-llama'),
  qwen2: copied('tiny-qwen2'),
  gemma3: copied('tiny-gemma3'),
};

type Header = Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>;

/** Changes what a safetensors file says of its tensors, not their numbers. */
async function editHeader(path: string, change: (header: Header) => void): Promise<void> {
  const bytes = await readFile(path);
  const end = 8 + Number(bytes.readBigUInt64LE());
  const header = JSON.parse(bytes.toString('utf8', 8, end)) as Header;
  change(header);
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  await writeFile(path, Buffer.concat([length, text, bytes.subarray(end)]));
}

/** A matrix of the second layer of the text's decoder. */
const matrix = (header: object) =>
  Object.keys(header).find((name) => /(layers|h)\.1\.mlp\.(up_proj|w1)\.weight$/.test(name))!;

/** How to damage a checkpoint, and what the sentence about it says. */
const damages: Readonly<Record<string, readonly [(directory: string) => Promise<unknown>, RegExp]>> = {
  'a shard is missing': [
    async (directory) => {
      await rm(join(directory, weights));
      const index = { weight_map: { any: 'model-00002-of-00002.safetensors' } };
      await writeFile(join(directory, `${weights}.index.json`), JSON.stringify(index));
    },
    /model-00002-of-00002\.safetensors cannot be read: download the whole checkpoint/,
  ],
  'the index is none': [
    async (directory) => {
      await rm(join(directory, weights));
      await writeFile(join(directory, `${weights}.index.json`), '{"weight_map": 3}');
    },
    /model\.safetensors\.index\.json has no usable weight_map/,
  ],
  'the weights are cut off': [
    async (directory) => {
      const handle = await open(join(directory, weights), 'r+');
      const { size } = await handle.stat();
      await handle.truncate(size - 100);
      await handle.close();
    },
    /model\.safetensors is truncated, it ends before the end of tensor ".+"/,
  ],
  'the weights end in their header': [
    (directory) => truncate(join(directory, weights), 100),
    /model\.safetensors is truncated/,
  ],
  'a tensor is of another type': [
    (directory) =>
      editHeader(join(directory, weights), (header) => {
        header[matrix(header)]!.dtype = 'F8_E4M3';
      }),
    /Tensor ".*\.1\.mlp.*" in model\.safetensors is stored as F8_E4M3/,
  ],
  'a tensor is of another shape': [
    (directory) =>
      editHeader(join(directory, weights), (header) => {
        header[matrix(header)]!.shape.reverse();
      }),
    /Tensor ".*\.1\.mlp.*" in model\.safetensors should be \[\d+, \d+\] by config\.json but is \[\d+, \d+\]/,
  ],
  'a tensor says more bytes than it has': [
    (directory) =>
      editHeader(join(directory, weights), (header) => {
        header[matrix(header)]!.shape[0]! += 1;
      }),
    /Tensor ".*\.1\.mlp.*" in model\.safetensors says \w+ \[.*\] but has \d+ bytes/,
  ],
  'a tensor is missing': [
    (directory) =>
      editHeader(join(directory, weights), (header) => {
        delete header[matrix(header)];
      }),
    /has no tensor ".*(layers|h)\.1\.mlp\.(up_proj|w1)\.weight" \[\d+, \d+\]/,
  ],
  'the weights are a pickle with code': [
    async (directory) => {
      await rm(join(directory, weights));
      await cp(join(fixture('pytorch'), 'code.bin'), join(directory, 'pytorch_model.bin'));
    },
    /pytorch_model\.bin asks Python for "(posix|nt)\.system", which is not part of a tensor: nothing was run/,
  ],
  'the weights are a pointer': [
    (directory) => writeFile(join(directory, weights), 'version https://git-lfs.github.com/spec/v1\n'),
    /model\.safetensors is a Git LFS pointer/,
  ],
  'the config is of an unknown architecture': [
    (directory) =>
      edit(join(directory, 'config.json'), (config) => {
        config.model_type = 'mamba';
      }),
    /config\.json has model_type = "mamba", but only .* can be converted/,
  ],
  'the config has a layer more than the weights': [
    (directory) =>
      edit(join(directory, 'config.json'), (config) => {
        const text = (config.text_config ?? config) as { num_hidden_layers: number; layer_types?: string[] };
        text.num_hidden_layers += 1;
        text.layer_types?.push('full_attention');
      }),
    /has no tensor ".*(layers|h)\.\d+\..*" \[[\d, ]+\]/,
  ],
  'the config is no JSON': [
    (directory) => writeFile(join(directory, 'config.json'), '{"model_type": '),
    /config\.json is not a JSON object/,
  ],
  'there is no tokenizer': [
    async (directory) => {
      await rm(join(directory, 'tokenizer.json'), { force: true });
      await rm(join(directory, 'qwen.tiktoken'), { force: true });
    },
    /has no tokenizer\.json/,
  ],
  'the tokenizer has no vocabulary': [
    (directory) => writeFile(join(directory, 'tokenizer.json'), '{"version": "1.0"}'),
    /tokenizer\.json has no vocabulary/,
  ],
  'the tokenizer is cut off': [
    (directory) => writeFile(join(directory, 'tokenizer.json'), '{"version": "1.0", "model": {'),
    /tokenizer\.json is not a JSON object/,
  ],
};

let place: Awaited<ReturnType<typeof scratch>>;
beforeAll(async () => {
  place = await scratch();
});
afterAll(() => place.remove());

describe.each(Object.entries(families))('%s', (name, write) => {
  const sound = () => place.path(`${name} sound`);
  let options: Partial<ConvertOptions>;
  beforeAll(async () => {
    options = await write(sound());
  });

  it.each(Object.entries(damages))(
    '%s: one sentence, and nothing is left',
    async (damage, [harm, message]) => {
      const from = place.path(`${name} ${damage}`);
      await cp(sound(), from, { recursive: true });
      await harm(from);
      const to = place.path('made/model');
      const error = await convertCheckpoint({ from, to, dtype: 'q4', ...options }).catch(
        (cause: unknown) => cause,
      );
      expect(error).toBeInstanceOf(ElasticCacheError);
      expect((error as ElasticCacheError).message).toMatch(message);
      expect((error as ElasticCacheError).message).toMatch(/^[^\n]+\.$/);
      expect(await readdir(place.path('made')).catch(() => [])).toEqual([]);
    },
  );
});

it.each<[string, string, RegExp]>([
  ['a rank twice', 'IQ== 0\nIQ== 1\n', /qwen\.tiktoken is damaged, line 2 is not the token of rank 1/],
  ['no rank', 'IQ==\n', /qwen\.tiktoken is damaged, line 1/],
  ['no bytes', 'IQ== 0\nIg== 1\n', /qwen\.tiktoken is incomplete, it has no token for the byte 0/],
])('Qwen-VL with a tokenizer of %s is refused', async (name, text, message) => {
  const from = place.path(`ranks ${name}`);
  await writeQwenVl(from);
  await writeFile(join(from, 'qwen.tiktoken'), text);
  await expect(convertCheckpoint({ from, to: place.path('made/model'), dtype: 'q4' })).rejects.toThrow(
    message,
  );
});
