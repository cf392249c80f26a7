import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseLlava } from './formats/llava.js';
import { parseMmVet } from './formats/mm-vet.js';
import { openDataset } from './open-dataset.js';

const turns = (question: string, answer: string) => [
  { from: 'human', value: question },
  { from: 'gpt', value: answer },
];
const good = { id: '000442786', image: 'a.png', conversations: turns('<image>\nWhat is this?', 'A dog. ') };

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'elastic-cache-data-'));
  await mkdir(join(folder, 'images'));
  const image = sharp({ create: { width: 4, height: 3, channels: 3, background: 'teal' } }).png();
  await image.toFile(join(folder, 'a.png'));
  await image.toFile(join(folder, 'images', 'v1_0.png'));
});

afterAll(() => rm(folder, { recursive: true }));

async function open(content: unknown, count = 100, images?: string) {
  const path = join(folder, 'data.json');
  await writeFile(path, typeof content === 'string' ? content : JSON.stringify(content));
  return openDataset(path, { count, images });
}

describe("LLaVA's conversations", () => {
  it('give the first question without its marker, and the answer as the reference', () => {
    expect(parseLlava(good, 'x')).toEqual({
      name: 'x',
      image: 'a.png',
      tasks: [{ name: 'description', placed: true, prompt: 'What is this?', reference: 'A dog.' }],
    });
    const placed = (question: string) =>
      parseLlava({ ...good, conversations: turns(question, 'A dog.') }, 'x').tasks[0];
    expect(placed('What is this?\n<image>')).toMatchObject({ before: 'What is this?', prompt: '' });
    expect(placed('Is <image> a dog?')).toMatchObject({ before: 'Is', prompt: 'a dog?' });
    expect(placed('What is this?')).not.toHaveProperty('before');
  });

  it.each([
    [{ ...good, image: undefined }, /^image: /],
    [{ ...good, conversations: [good.conversations[0]] }, /^conversations: it has fewer than two turns$/],
    [{ ...good, conversations: turns('<image>\n', 'A dog.') }, /^its question is empty$/],
    [
      { ...good, conversations: turns('<image><image>\nWhich?', 'A.') },
      /^its question has 2 images, and one/,
    ],
    [{ ...good, conversations: turns('What?', ' ') }, /^its answer is empty$/],
    [
      { ...good, conversations: [...good.conversations].reverse() },
      /^its first turns are from "gpt" and "human"/,
    ],
    [{ ...good, image: 'b.png' }, /^its image b\.png is not in .+ or .+images$/],
    [null, /object/],
  ])('that are broken are named with the reason: %#', async (record, reason) => {
    const { samples, broken } = await open([good, record]);
    expect(samples.map(({ name }) => name)).toEqual(['000442786']);
    expect(broken).toEqual([{ name: expect.any(String), reason: expect.stringMatching(reason) }]);
  });

  it('are named by their ids, else by their places; only the first are read', async () => {
    const { samples } = await open([good, good, { ...good, id: undefined }, { ...good, id: 7 }]);
    expect(samples.map(({ name }) => name)).toEqual(['000442786', '000442786, record 2', 'record 3', '7']);
    expect((await open([good, good], 1)).samples).toHaveLength(1);
  });
});

describe('MM-Vet', () => {
  const record = { imagename: 'v1_0.png', question: 'What is x?', imagesource: 'any', capability: ['ocr'] };

  it.each([
    ['-1<AND>-5', '-1, -5', [['-1', '-5']]],
    ['8/7<OR>eight sevenths', '8/7', [['8/7'], ['eight sevenths']]],
    ['A very long answer has many right wordings.', 'A very long answer has many right wordings.', undefined],
  ])('answers "%s"', (answer, reference, accepted) => {
    const [task] = parseMmVet({ ...record, answer }, 'v1_0').tasks;
    expect(task).toEqual({
      name: 'question',
      prompt: 'What is x?',
      reference,
      written: answer,
      ...(accepted && { accepted }),
    });
  });

  it('is known by its object, and its images are found in the folder beside it', async () => {
    const { samples, broken } = await open({
      v1_0: { ...record, answer: 'x' },
      v1_1: { ...record, answer: 'x<OR>' },
    });
    expect(samples.map(({ name }) => name)).toEqual(['v1_0']);
    expect((await samples[0]!.image!()).size).toEqual([4, 3]);
    expect(broken).toEqual([{ name: 'v1_1', reason: 'its answer "x<OR>" has an alternative that is empty' }]);
  });
});

describe('questions of VQA', () => {
  const asked = (own: object) => ({ question_id: 7, question: 'What animal?', image_id: 42, ...own });
  const said = (...answers: string[]) => answers.map((answer) => ({ answer, answer_confidence: 'yes' }));

  it('have their answers in a file of their own, and images by number', async () => {
    const path = join(folder, 'v2_OpenEnded_mscoco_val2014_questions.json');
    const questions = { data_subtype: 'val2014', questions: [asked({}), asked({ question_id: 8 })] };
    await writeFile(path, JSON.stringify(questions));
    const image = sharp({ create: { width: 4, height: 3, channels: 3, background: 'teal' } }).png();
    await image.toFile(join(folder, 'images', 'COCO_val2014_000000000042.jpg'));
    const without = await openDataset(path, { count: 9 });
    expect(without.broken).toEqual([]);
    expect(without.samples[0]!.tasks[0]).not.toHaveProperty('accepted');
    const answers = said(...'dog dog dog dog puppy puppy puppy cat cat horse'.split(' '));
    await writeFile(
      join(folder, 'v2_mscoco_val2014_annotations.json'),
      JSON.stringify({ annotations: [{ question_id: 7, answers }] }),
    );
    const { samples } = await openDataset(path, { count: 9 });
    // Right is what three of ten people said.
    expect(samples.map(({ name, tasks }) => [name, tasks[0]!.reference, tasks[0]!.accepted])).toEqual([
      ['7', 'dog', [['dog'], ['puppy']]],
      ['8', undefined, undefined],
    ]);
    await writeFile(join(folder, 'v2_mscoco_val2014_annotations.json'), '{}');
    await expect(openDataset(path, { count: 9 })).rejects.toThrow(
      /annotations\.json holds no annotations of VQAv2/,
    );
  });

  it('of TextVQA have them beside', async () => {
    const { samples, broken } = await open({
      dataset_type: 'val',
      data: [asked({ image_id: 'a.png', answers: ['nokia', 'Nokia '] }), asked({ image_id: undefined })],
    });
    expect(samples[0]!.tasks[0]).toMatchObject({ prompt: 'What animal?', accepted: [['nokia'], ['Nokia']] });
    expect(broken).toEqual([{ name: '7, record 2', reason: 'it has no "image" and no "image_id"' }]);
  });
});

describe('a folder of texts', () => {
  it('gives each text in the order of their names, and is refused without any', async () => {
    const texts = await mkdtemp(join(folder, 'texts-'));
    await expect(openDataset(texts, { count: 5 })).rejects.toThrow(/holds no \.txt or \.md files/);
    for (const name of ['b.txt', 'a.md', 'c.png'])
      await writeFile(join(texts, name), ` ${name} says this.\n`);
    const { samples, fingerprint } = await openDataset(texts, { count: 5 });
    expect(samples.map(({ name, tasks }) => [name, tasks[0]!.prompt])).toEqual([
      ['a.md', 'a.md says this.'],
      ['b.txt', 'b.txt says this.'],
    ]);
    await writeFile(join(texts, 'a.md'), 'other');
    expect((await openDataset(texts, { count: 5 })).fingerprint).not.toBe(fingerprint);
  });
});

describe('splits', () => {
  it('part records and texts by their names, and count their own', async () => {
    const texts = await mkdtemp(join(folder, 'split-'));
    const names = Array.from({ length: 20 }, (_, index) => `${index}.txt`);
    for (const name of names) await writeFile(join(texts, name), 'text');
    await writeFile(join(folder, 'split.json'), JSON.stringify(names.map((id) => ({ ...good, id }))));
    const of = async (split: 'dev' | 'report', count: number) => {
      const both = [texts, join(folder, 'split.json')].map((source) => openDataset(source, { count, split }));
      const [a, b] = (await Promise.all(both)).map(({ samples }) => samples.map(({ name }) => name).sort());
      if (count > names.length) expect(a).toEqual(b);
      return a!;
    };
    const [dev, report] = [await of('dev', 100), await of('report', 100)];
    expect([...dev, ...report].sort()).toEqual(names.sort());
    expect(Math.min(dev.length, report.length)).toBeGreaterThan(4);
    expect(await of('dev', 3)).toHaveLength(3);
  });

  it('of texts are as long as is said', async () => {
    const path = join(folder, 'long.jsonl');
    await writeFile(path, '{"text":"a b c"}\n{"text":"a b c","promptTokens":2}\n');
    const { samples } = await openDataset(path, { count: 9, promptTokens: 512 });
    expect(samples.map(({ tasks }) => tasks[0]!.continuation!.promptTokens)).toEqual([512, 2]);
  });
});

describe('files', () => {
  it.each([
    ['[', /is no JSON/],
    // Node quotes what it found.
    ['\u001b[2J\n\n\u0007PNG', /^data [^\p{Cc}]+ is no JSON \([^\p{Cc}]+\)\.$/u],
    ['[]', /holds no records/],
    ['3', /holds no records/],
  ])('with %j are refused', async (content, message) => {
    await expect(open(content)).rejects.toThrow(message);
  });

  it('that never end are refused', async () => {
    if (process.platform === 'win32') return;
    await expect(openDataset('/dev/zero', { count: 1 })).rejects.toThrow('data /dev/zero is a device');
  });

  it('that are missing are refused, and folders of images too', async () => {
    await expect(openDataset(join(folder, 'none.json'), { count: 1 })).rejects.toThrow(
      /none\.json cannot be opened/,
    );
    await expect(open([good], 1, join(folder, 'nowhere'))).rejects.toThrow(/nowhere is not a folder/);
  });

  it('may begin with a byte-order mark', async () => {
    expect((await open(`\uFEFF${JSON.stringify([good])}`)).samples).toHaveLength(1);
  });

  it('that differ have another fingerprint', async () => {
    const one = await open([good]);
    expect((await open([good])).fingerprint).toBe(one.fingerprint);
    expect((await open([good, good])).fingerprint).not.toBe(one.fingerprint);
  });
});
