import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openDataset } from '../open-dataset.js';

const conversations = [
  { from: 'human', value: '<image>\nWhat is this?' },
  { from: 'gpt', value: 'A dog. ' },
];

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'elastic-cache-lines-'));
  const image = sharp({ create: { width: 4, height: 3, channels: 3, background: 'teal' } }).png();
  await image.toFile(join(folder, 'a.png'));
});

afterAll(() => rm(folder, { recursive: true }));

describe('JSON Lines', () => {
  const openLines = async (lines: readonly unknown[]) => {
    const path = join(folder, 'data.jsonl');
    const text = lines.map((line) => (typeof line === 'string' ? line : JSON.stringify(line)));
    await writeFile(path, `${text.join('\n')}\n\n`);
    return openDataset(path, { count: 100 });
  };

  it('are answered by a number as by its text', async () => {
    const { samples, broken } = await openLines([
      { prompt: 'How many?', image: 'a.png', answer: 5, accepted: [5, 'five'] },
      { prompt: 'How many?', answer: true },
    ]);
    expect(samples[0]!.tasks).toMatchObject([{ reference: '5', accepted: [['5'], ['five']] }]);
    expect(broken).toHaveLength(1);
  });

  it('ask about an image or about none, or are a text to go on with', async () => {
    const { samples, broken } = await openLines([
      { id: 'a', prompt: 'What is this?', image: 'a.png', answer: 'A dog.' },
      { prompt: 'Where is Rome?', accepted: ['Italy', 'Europe'], begun: 'It is in', maxNewTokens: 4 },
      { text: 'Once upon a time.', promptTokens: 3, tokens: 2 },
    ]);
    expect(broken).toEqual([]);
    expect(samples.map(({ name, tasks }) => ({ name, tasks }))).toEqual([
      { name: 'a', tasks: [{ name: 'question', prompt: 'What is this?', reference: 'A dog.' }] },
      {
        name: 'record 2',
        tasks: [
          {
            name: 'question',
            prompt: 'Where is Rome?',
            accepted: [['Italy'], ['Europe']],
            among: true,
            begun: 'It is in',
            maxNewTokens: 4,
          },
        ],
      },
      {
        name: 'record 3',
        tasks: [
          {
            name: 'continuation',
            prompt: 'Once upon a time.',
            continuation: { promptTokens: 3, tokens: 2 },
          },
        ],
      },
    ]);
    expect((await samples[0]!.image!()).size).toEqual([4, 3]);
    expect(samples[1]!.image).toBeUndefined();
  });

  it('ask several things about one text, or have a true summary of it', async () => {
    const { samples, broken } = await openLines([
      {
        context: 'Rome is old.',
        questions: [{ prompt: 'What is old?', accepted: ['Rome'] }, { prompt: 'Is it?' }],
      },
      { id: 7, text: 'Rome is an old city.', summary: 'Rome is old.' },
    ]);
    expect(broken).toEqual([]);
    expect(samples).toEqual([
      {
        name: 'record 1',
        line: 1,
        context: 'Rome is old.',
        tasks: [
          { name: 'question 1', prompt: 'What is old?', accepted: [['Rome']], among: true },
          { name: 'question 2', prompt: 'Is it?' },
        ],
      },
      {
        name: '7',
        line: 2,
        context: 'Rome is an old city.',
        tasks: [
          { name: 'summary', prompt: 'Summarise the text in a few sentences.', reference: 'Rome is old.' },
        ],
      },
    ]);
  });

  it.each([
    ['{"prompt"', /expected object/],
    [{ context: 'x', questions: [] }, /^questions: it is empty$/],
    [{ context: 'x', questions: [{ prompt: 'y' }, { answer: 'z' }] }, /^questions\.1\.prompt: /],
    [{ text: 'x', summary: ' ' }, /^summary: it is empty$/],
    [{ prompt: ' ' }, /^prompt: it is empty$/],
    [{ prompt: 'x', imgae: 'a.png' }, /imgae/],
    [{ text: 'x', promptTokens: 0 }, /^promptTokens: /],
    [{ prompt: 'x', image: 'a.png', begun: 'It' }, /"begun" is for text alone$/],
    [{ prompt: 'x', image: 'none.png' }, /^its image none\.png is not in /],
  ])('that are broken are named with the reason: %#', async (record, reason) => {
    const { samples, broken } = await openLines([{ prompt: 'x' }, record]);
    expect(samples).toHaveLength(1);
    expect(broken).toEqual([{ name: 'record 2', reason: expect.stringMatching(reason), line: 2 }]);
  });

  it('may be records of other formats, each by what it has, and say their lines', async () => {
    const path = join(folder, 'mixed.jsonl');
    const part = (image: object) => [{ type: 'text', text: 'What is this?' }, image];
    const lines = [
      { id: 'llava', image: 'a.png', conversations },
      { question_id: 5, image: 'a.png', text: 'What is this?', category: 'x' },
      {
        messages: [
          { role: 'system', content: 'Be brief.' },
          { role: 'user', content: '<image>What?' },
        ],
        images: ['a.png'],
      },
      {
        messages: [
          { role: 'user', content: part({ type: 'image', image: 'a.png' }) },
          { role: 'assistant', content: 'A dog.' },
        ],
      },
      {
        messages: [
          {
            role: 'user',
            content: part({ type: 'image_url', image_url: { url: `file://${join(folder, 'a.png')}` } }),
          },
        ],
      },
      { messages: [{ role: 'assistant', content: 'A dog.' }] },
      { messages: [{ role: 'user', content: part({ type: 'video' }) }] },
      { messages: [{ role: 'user', content: part({ type: 'image', url: 'https://a.example/a.png' }) }] },
    ];
    await writeFile(path, lines.map((line) => `${JSON.stringify(line)}\n\n`).join(''));
    const { samples, broken } = await openDataset(path, { count: 100 });
    expect(samples.map(({ line, tasks }) => ({ line, ...tasks[0]!, maxNewTokens: undefined }))).toEqual([
      { name: 'description', line: 1, placed: true, prompt: 'What is this?', reference: 'A dog.' },
      { name: 'question', line: 3, prompt: 'What is this?' },
      { name: 'question', line: 5, placed: true, prompt: 'What?', system: 'Be brief.' },
      { name: 'question', line: 7, placed: true, before: 'What is this?', prompt: '', reference: 'A dog.' },
      { name: 'question', line: 9, placed: true, before: 'What is this?', prompt: '' },
    ]);
    for (const { image } of samples) expect((await image!()).size).toEqual([4, 3]);
    expect(broken).toEqual([
      { name: 'record 6', line: 11, reason: 'it has no message of the role "user"' },
      { name: 'record 7', line: 13, reason: expect.stringMatching(/^messages\.0\.content: /) },
      {
        name: 'record 8',
        line: 15,
        reason: expect.stringMatching(/ is on the web, from where none is fetched/),
      },
    ]);
  });

  it('without a line are refused', async () => {
    await expect(openLines([])).rejects.toThrow(/holds no records/);
  });
});
