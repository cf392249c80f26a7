import { copyFile, cp, mkdir, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { serializeModel } from '../../src/graph/onnx/onnx.js';
import { policyNames } from '../../src/policies/registry.js';
import { buildGqaDecoder } from '../graph/gqa-decoder.js';
import { writeTinyLlava } from '../runtime/tiny-llava.js';
import { run } from './run-cli.js';

const checkpoint = fileURLToPath(new URL('../convert/fixtures/tiny-llava', import.meta.url));

let directory: string;
const at = (name: string) => join(directory, name);

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'elastic-cache-cli-'));
  await writeTinyLlava(at('model'));
  await sharp({ create: { width: 40, height: 30, channels: 3, background: 'teal' } })
    .png()
    .toFile(at('image.png'));
  await writeFile(at('empty.png'), '');
  await writeFile(at('text.png'), 'This is no image.');
  await copyFile(at('image.png'), at('broken.png'));
  await truncate(at('broken.png'), 100);
  await writeFile(at('huge.svg'), '<svg xmlns="http://www.w3.org/2000/svg" width="20000" height="20000"/>');
});

afterAll(() => rm(directory, { recursive: true }));

/** One sentence on stderr that says what is wrong, nothing on stdout; exit status 2 where an option is wrong, however late that is found, else 1. */
async function expectError(args: string[], message: RegExp | string, status = 1): Promise<void> {
  const { stdout, stderr, code } = await run(...args);
  expect(stderr).toMatch(message);
  expect(stderr).toMatch(/^error: [^\n]+\.\n$/);
  expect(stderr).not.toMatch(/^\s+at |unexpected/m);
  expect(stdout).toBe('');
  expect(code).toBe(status);
}

const generate = (change: Record<string, string> = {}) => {
  const options = { model: at('model'), image: at('image.png'), prompt: 'w1 w2', ...change };
  return ['generate', ...Object.entries(options).flatMap(([name, value]) => [`--${name}`, value])];
};

describe('images', () => {
  it.each([
    ['missing.png', /missing\.png cannot be opened/],
    ['.', /is not a file/],
    ['empty.png', /is empty \(0 bytes\)/],
    ['text.png', /text\.png is not an image/],
    ['broken.png', /broken\.png is damaged/],
    ['huge.svg', /20000 x 20000 pixels and at most 100 million/],
  ])('%s is refused', async (name, message) => {
    await expectError(generate({ image: at(name) }), message);
  });
});

describe('options', () => {
  it.each(['0', '1.5', '-0.2', 'NaN', 'much', '2.5tokens', '0mb', ''])(
    'budget "%s" is refused',
    async (budget) => {
      await expectError(generate({ budget }), `budget "${budget}" is none`, 2);
    },
  );

  it('an unknown policy brings the list of those there are', async () => {
    await expectError(
      generate({ policy: 'best' }),
      `policy "best" is unknown; choose one of ${policyNames.join(', ')}`,
      2,
    );
  });

  it.each([
    [{ prompt: ' ' }, /the prompt is empty/],
    [{ 'max-new-tokens': '0' }, /--max-new-tokens "0" is not a whole number from 1/],
    [{ temperature: 'warm' }, /--temperature "warm" is not a number/],
    [{ chunk: '1.5' }, /--chunk "1.5" is not a whole number/],
    [{ dtype: 'q5' }, /dtype "q5" does not exist; use one of/],
    [{ device: 'abacus' }, /abacus/],
  ])('%j is refused', async (change, message) => {
    await expectError(generate(change as Record<string, string>), message, 2);
  });

  it.each([
    [['describe', 'photos', '--prompt', 'w1', '--out', ''], /--out is empty/],
    [['describe', '', '--prompt', 'w1', '--out', 'a.jsonl'], /an argument of describe is empty/],
    [['convert', '--from', 'a', '--to', ''], /--to is empty/],
    [['generate', '--prompt', 'w1', '--model', ''], /--model is empty/],
  ])('what is there and empty is refused: %j', async (args, message) => {
    await expectError(args, message, 2);
  });

  it('a command or an option that does not exist is refused with where to find them', async () => {
    for (const args of [['generat'], ['generate', '--bugdet', '1'], ['generate', '--image', 'a.png']]) {
      const { stdout, stderr, code } = await run(...args);
      expect(stderr).toMatch(/^error: .*\n/);
      expect(stderr).toMatch(/--help tells more/);
      expect({ stdout, code }).toEqual({ stdout: '', code: 2 });
    }
  });
});

describe('a prompt that is too long for the model', () => {
  it('is told in one sentence, without the tensors it was made into', async () => {
    const { stderr, code } = await run(...generate({ prompt: 'w1 '.repeat(3000) }));
    expect(stderr).toMatch(/^loading [^\n]*\nerror: The text has [^\n]* does not take as many[^\n]*\n$/);
    expect(code).toBe(1);
  });
});

describe('models', () => {
  it('a directory without one is refused', async () => {
    await mkdir(at('nothing'));
    await expectError(generate({ model: at('nothing') }), /holds no config\.json/);
    await expectError(['inspect', at('nothing')], /holds no onnx\/decoder_model_merged/);
  });

  it('a path that does not exist is refused', async () => {
    await expectError(generate({ model: './nowhere/model' }), /neither a directory nor a model id/);
    await expectError(
      generate({ model: 'package.json' }),
      /"package\.json" is a file and no model directory/,
    );
    await expectError(['playground', '--out', 'package.json'], /package\.json cannot be made a folder/, 2);
    await expectError(['inspect', at('nowhere.onnx')], /nowhere\.onnx cannot be opened/);
  });

  it('a truncated decoder is refused', async () => {
    await cp(at('model'), at('truncated'), { recursive: true });
    const decoder = join(at('truncated'), 'onnx', 'decoder_model_merged.onnx');
    await truncate(decoder, 50_000);
    await expectError(
      generate({ model: at('truncated') }),
      /decoder_model_merged\.onnx: .* damaged at byte \d+/,
    );
    await expectError(['inspect', decoder], /decoder_model_merged\.onnx: .* damaged at byte \d+/);
  });

  it('a graph with attention of an unknown kind is refused with its node', async () => {
    await cp(at('model'), at('uncausal'), { recursive: true });
    const decoder = join(at('uncausal'), 'onnx', 'decoder_model_merged.onnx');
    await writeFile(decoder, serializeModel(buildGqaDecoder({ vocab: 94, extraAttributes: { causal: 0 } })));
    const refusal = /Node "\/model\/layers\.0\/attn\/GroupQueryAttention" .* is not causal/;
    await expectError(generate({ model: at('uncausal') }), refusal);
    await expectError(['inspect', decoder], refusal);
  });
});

describe('checkpoints', () => {
  it('with a missing tensor are refused, and nothing is written', async () => {
    await cp(checkpoint, at('checkpoint'), { recursive: true });
    const weights = join(at('checkpoint'), 'model.safetensors');
    const bytes = await readFile(weights);
    const name = bytes.indexOf('layers.0.self_attn.q_proj.weight');
    bytes.write('layers.0.self_attn.x_proj.weight', name);
    await writeFile(weights, bytes);
    const to = at('converted');
    await expectError(
      ['convert', '--from', at('checkpoint'), '--to', to, '--dtype', 'fp32'],
      /layers\.0\.self_attn\.q_proj\.weight/,
    );
    await expect(readFile(to)).rejects.toThrow(/ENOENT/);
  });

  it('are refused where there is none, or in a number format that does not exist', async () => {
    await expectError(['convert', '--from', at('nowhere'), '--to', at('x')], /nowhere/);
    await expectError(
      ['convert', '--from', checkpoint, '--to', at('x'), '--dtype', 'int3'],
      /choose one or several of fp32, fp16, q8, q4, q4f16/,
      2,
    );
  });
});
