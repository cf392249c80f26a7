import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { embeddedImage, embeddedModel } from '../../src/index.js';
import { TEXT_MODELS, writeTinyText } from '../text/tiny-text.js';

const folder = fileURLToPath(new URL('../../examples/', import.meta.url));

/** What an example prints; it imports the package by its name, as it was built. */
async function run(name: string, ...args: string[]): Promise<string> {
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [join(folder, name), ...args]);
  expect(stderr).toBe('');
  return stdout;
}

describe('the examples run', () => {
  it('a chat', async () => {
    const running = promisify(execFile)(process.execPath, [join(folder, 'chat.mjs')]);
    running.child.stdin!.end('How many objects are there?\n');
    expect(await running).toMatchObject({
      stdout: expect.stringMatching(/^> 5\n\(\d+ of \d+ tokens held\)\n> \n$/),
      stderr: '',
    });
  });

  it('streaming', async () => {
    const said = await run('streaming.mjs');
    const told = /^ ?The picture shows 5 objects and 1 printed text .*\n(\d+) of (\d+) tokens held\n$/s.exec(
      said,
    );
    expect(Number(told?.[1]), said).toBe(Math.floor(0.2 * Number(told?.[2])));
  });

  it('several images', async () => {
    const scenes = [
      'The picture shows 5 objects and 1 printed text on a speckled light green background.',
      'The picture shows 8 objects and no printed text on a shaded beige background.',
      'The picture shows 3 objects and 1 printed text on a speckled lavender background.',
    ];
    const one = (scene: string) => `1 of 3 pictures, 589 tokens of prompt: ${scene}\n`;
    expect(await run('several-images.mjs')).toBe(scenes.map(one).join(''));
    const together = [embeddedModel(), embeddedImage(1), embeddedImage(2)];
    expect(await run('several-images.mjs', ...together)).toMatch(
      /^2 of 2 pictures, 1166 tokens of prompt: The picture shows [^\n]*\.\n$/,
    );
  });

  it('a text model', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'text-example-'));
    try {
      await writeTinyText(directory, Object.values(TEXT_MODELS)[0]!);
      expect(await run('text-model.mjs', directory, 'w2 w3 w14')).toMatch(/^w\d+ .*tokensSeen: \d+/s);
    } finally {
      await rm(directory, { recursive: true });
    }
  });

  it('many requests at once', async () => {
    const lines = (await run('engine.mjs')).trim().split('\n');
    for (const line of [
      /^1: The picture shows 5 objects/,
      /^2: \d$/,
      /^3: (yes|no)$/,
      /^3: \d+ tokens said, 17\d of/,
    ])
      expect(lines.some((each) => line.test(each))).toBe(true);
    expect(lines.length).toBe(9);
  });

  it('a policy of your own', async () => {
    expect(await run('own-policy.mjs')).toMatch(
      /^every-other, \d+ tokens held:\nThe picture .*\nelastic-plus, \d+ tokens held:\nThe picture/s,
    );
  });

  it('and their README lists them all', async () => {
    const readme = await readFile(join(folder, 'README.md'), 'utf8');
    const files = (await readdir(folder)).filter((file) => file.endsWith('.mjs'));
    expect(files.filter((file) => !readme.includes(`](${file})`))).toEqual([]);
  });
});
