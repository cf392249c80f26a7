import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Sample } from '../../src/eval/data/dataset.js';
import { PRESETS, type Protocol, STRICT } from '../../src/eval/data/protocol.js';
import { prepareSample } from '../../src/eval/sweep/prepare-sample.js';
import { type CachePolicy, createPolicy, type LoadedModel, loadElastic } from '../../src/index.js';
import { KVCache } from '../../src/memory/kv-cache.js';
import { imageOf } from '../../src/models/images/read-image.js';
import { PromptTurns } from '../../src/models/measuring/prompt-turns.js';
import { readCompressed } from '../../src/models/measuring/read-compressed.js';
import { answerSurprise } from '../../src/models/measuring/teacher-forcing.js';
import { writeTinyLlava } from '../runtime/tiny-llava.js';
import { TEXT_MODELS, writeTinyText } from '../text/tiny-text.js';

const BUDGET = 0.5;
const pixels = Uint8Array.from({ length: 16 * 16 * 3 }, (_, index) => (index * 37) % 256);
const tasks = [
  { name: 'one', prompt: 'w11 w12 w13 w14', reference: 'w9 w8 w7' },
  { name: 'two', prompt: 'w20', reference: 'w9 w8 w7' },
];
const samples: Record<string, Sample> = {
  image: { name: 'image', tasks, image: async () => imageOf(pixels, 16, 16) },
  text: { name: 'text', context: 'w2 w3 w14 w5 w6 w17 w8 w9 w10 w31 w5 w6', tasks },
};

let directory: string;
const models: Record<string, LoadedModel> = {};

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'elastic-cache-protocols-'));
  await writeTinyLlava(join(directory, 'image'));
  await writeTinyText(join(directory, 'text'), TEXT_MODELS['optimum-llama']!);
  for (const kind of Object.keys(samples))
    models[kind] = await loadElastic(join(directory, kind), { chunk: 10 });
});

afterAll(async () => {
  for (const { model } of Object.values(models)) await model.dispose();
  await rm(directory, { recursive: true });
});

/** One that does not say what it remembers, so that its caches cannot be forked. */
const forgetful = (): CachePolicy => {
  const policy = createPolicy('h2o');
  return {
    ...policy,
    begin(layers) {
      const { save: _none, ...sequence } = policy.begin(layers);
      return sequence;
    },
  };
};

describe.each(Object.keys(samples))('a question that is not known: %s', (kind) => {
  const prepared = async (question: 'known' | 'unknown') =>
    (await prepareSample(models[kind]!, samples[kind]!, { ...STRICT, question })).tasks;
  const surprise = async (name: string, cache: KVCache) => {
    const { inputs, reference } = (await prepared('unknown')).get(name)!;
    return answerSurprise(models[kind]!, inputs, reference!, cache);
  };

  it('has the tokens of a known one, and what is read before it is the same for all', async () => {
    const [known, unknown] = [await prepared('known'), await prepared('unknown')];
    const [one, two] = ['one', 'two'].map((name) => unknown.get(name)!);
    expect(one!.inputs.input_ids.tolist()).toEqual(known.get('one')!.inputs.input_ids.tolist());
    expect(known.get('one')!.turns).toEqual([one!.turns[1]]);
    expect(one!.turns[0]).toBe(two!.turns[0]);
    const ids = one!.inputs.input_ids.tolist()[0] as bigint[];
    const question = models[kind]!.tokenizer.encode('w11 w12 w13 w14', { add_special_tokens: false });
    expect(ids.slice(one!.turns[0], one!.turns[0]! + 4).map(Number)).toEqual(question);
    expect(ids.slice(0, one!.turns[0]).map(Number)).not.toContain(question[0]);
  });

  it.each(['elastic', 'h2o', 'snapkv', 'elastic-plus', forgetful])(
    'is a turn of its own, through what was compressed before, as without sharing: %s',
    async (name) => {
      const policy = typeof name === 'string' ? createPolicy(name) : name();
      const turns = new PromptTurns(models[kind]!);
      const terms = { policy, budget: BUDGET };
      for (const task of ['one', 'two', 'one']) {
        const prompt = (await prepared('unknown')).get(task)!;
        const [context, end] = prompt.turns as [number, number];
        const own = new KVCache(terms);
        await readCompressed(models[kind]!, prompt.inputs, own, context);
        expect(own.stats()).toMatchObject({ tokensSeen: context, tokensHeld: Math.floor(BUDGET * context) });
        await readCompressed(models[kind]!, prompt.inputs, own);
        const expected = await surprise(task, own);
        const copies = turns.read(prompt, terms);
        for (let copy = 0; copy < 2; copy++) {
          const cache = await copies.next();
          expect(cache.stats()).toMatchObject({ tokensSeen: end, tokensHeld: Math.floor(BUDGET * end) });
          // A fork has other empty rows behind what it holds, and sums are rounded otherwise.
          const given = await surprise(task, cache);
          given.forEach((nats, index) => void expect(nats).toBeCloseTo(expected[index]!, 4));
        }
      }
    },
  );

  it('changes what is kept, and nothing at budget 1', async () => {
    const read = async (protocol: 'known' | 'unknown', budget: number) => {
      const prompt = (await prepared(protocol)).get('one')!;
      const terms = { policy: createPolicy('snapkv:window=4'), budget };
      return surprise('one', await new PromptTurns(models[kind]!).read(prompt, terms).next());
    };
    const [known, unknown] = [await read('known', BUDGET), await read('unknown', BUDGET)];
    expect(unknown).not.toEqual(known);
    const [whole, parted] = [await read('known', 1), await read('unknown', 1)];
    parted.forEach((nats, index) => void expect(nats).toBeCloseTo(whole[index]!, 4));
  });
});

it('an image stands where a record has it, and first where the question is not known', async () => {
  const { image } = samples.image!;
  const placed = {
    name: 'placed',
    tasks: [{ name: 'one', prompt: 'w20', before: 'w11 w12' }],
    ...(image && { image }),
  };
  const words = async (question: 'known' | 'unknown') => {
    const { inputs, turns } = (await prepareSample(models.image!, placed, { ...STRICT, question })).tasks.get(
      'one',
    )!;
    const text = (ids: bigint[]) => models.image!.tokenizer.decode(ids).replace(/(<image>\s*)+/, '<image> ');
    const ids = inputs.input_ids.tolist()[0] as bigint[];
    return [text(ids), text(ids.slice(0, turns[0]))];
  };
  expect((await words('known'))[0]).toMatch(/w11 w12.*<image>.*w20/s);
  const [whole, first] = await words('unknown');
  expect(whole).toMatch(/<image>.*w11 w12.*w20/s);
  expect(first).toMatch(/<image>/);
  expect(first).not.toContain('w11');
});

it('needs something that can be read before it', async () => {
  const alone = { name: 'alone', tasks };
  await expect(prepareSample(models.text!, alone, { ...STRICT, question: 'unknown' })).rejects.toThrow(
    /^it has nothing that could be read before its question is known/,
  );
});

describe("a paper's protocol", () => {
  const preparedAs = async (protocol: Protocol, task: object, width = 16) => {
    const image = async () => imageOf(new Uint8Array(width * 16 * 3).fill(200), width, 16);
    const sample = { name: 'one', tasks: [{ name: 'one', prompt: 'w20 w21', ...task }], image };
    const prepared = (await prepareSample(models.image!, sample, protocol)).tasks.get('one')!;
    const ids = prepared.inputs.input_ids.tolist()[0] as bigint[];
    return { ...prepared, text: models.image!.tokenizer.decode(ids).replace(/(<image>\s*)+/, '<image> ') };
  };
  const published = PRESETS['elastic-cache'];

  it('puts an image behind the question where the record does not say, and leaves it where it does', async () => {
    expect((await preparedAs(published, {})).text).toMatch(/w20 w21.*<image>/s);
    expect((await preparedAs(published, { placed: true })).text).toMatch(/<image>.*w20 w21/s);
    const placed = { placed: true, before: 'w11', prompt: 'w20' };
    expect((await preparedAs(published, placed)).text).toMatch(/w11.*<image>.*w20/s);
    expect((await preparedAs(STRICT, {})).text).toMatch(/<image>.*w20 w21/s);
  });

  it('tells the model what a record does not', async () => {
    const told = { ...STRICT, system: 'w5 w6 w7' };
    expect((await preparedAs(told, {})).text).toMatch(/w5 w6 w7.*w20 w21/s);
    const own = (await preparedAs(told, { system: 'w8 w9' })).text;
    expect(own).toMatch(/w8 w9.*w20 w21/s);
    expect(own).not.toContain('w5 w6');
  });

  it('measures the answer as it is written, without its last token, from the pass over the prompt', async () => {
    const task = { reference: 'w9 w8', written: 'w9 w8 w7 w6' };
    const all = await preparedAs(STRICT, { reference: 'w9 w8 w7 w6' });
    const { reference, turns } = await preparedAs(published, task);
    expect(reference).toEqual(all.reference!.slice(0, -1));
    expect(turns).toEqual([]);
    expect((await preparedAs(PRESETS.prefixkv, task)).reference).toEqual(all.reference);
    expect((await preparedAs(STRICT, task)).reference).toHaveLength(all.reference!.length / 2);
  });

  it('pads an image to a square, so that nothing of it is cut off', async () => {
    const sides = async (protocol: Protocol) => {
      const { inputs } = await preparedAs(protocol, {}, 32);
      const [{ data }] = [inputs.pixel_values as { data: Float32Array }];
      return new Set(Array.from(data, (value) => value.toFixed(2))).size;
    };
    // One colour stays one in each channel, and is framed by another where it is padded.
    expect(await sides({ ...STRICT, padImages: true })).toBeGreaterThan(await sides(STRICT));
  });
});
