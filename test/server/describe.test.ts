import { appendFile, copyFile, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { embeddedImage } from '../../src/index.js';
import { finished, run, start } from '../cli/run-cli.js';

let folder: string;
let photos: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'describe-'));
  photos = join(folder, 'photos');
  await mkdir(join(photos, 'more'), { recursive: true });
  for (const scene of [1, 2, 3, 4]) await copyFile(embeddedImage(scene), join(photos, `${scene}.png`));
  await copyFile(embeddedImage(5), join(photos, 'more', '5.png'));
  await writeFile(join(photos, '2x.jpg'), 'no image');
  // As a pipe is, which would be waited for.
  await mkdir(join(photos, '2y.png'));
  await symlink(photos, join(photos, 'more', 'again'), 'junction');
  await writeFile(join(photos, 'notes.txt'), 'none either');
});
afterAll(() => rm(folder, { recursive: true }));

const asked = (out: string, ...more: string[]) => [
  ...['describe', photos],
  ...['--prompt', 'How many objects are there?'],
  ...['--out', out],
  ...['--max-new-tokens', '4'],
  ...more,
];
const linesOf = async (out: string) =>
  (await readFile(out, 'utf8'))
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
const names = ['1.png', '2.png', '2x.jpg', '2y.png', '3.png', '4.png', 'more/5.png'];

describe('elastic-cache describe', () => {
  it('writes a line for each photo in their order, a broken one with its error, and goes on where it stopped', async () => {
    const out = join(folder, 'captions.jsonl');
    const { code, stderr, stdout } = await run(...asked(out));
    expect([code, stdout]).toEqual([0, '']);
    expect(stderr).toContain('7 images described, 2 of them with an error in their line');
    const whole = await linesOf(out);
    expect(whole.map(({ image }) => image)).toEqual(names.map((name) => join(photos, name)));
    expect(whole[0]).toEqual({
      image: join(photos, '1.png'),
      text: '5',
      finish: 'stop',
      prompt_tokens: expect.any(Number),
      new_tokens: expect.any(Number),
    });
    expect(whole[2].error).toEqual({ code: 'invalid-image', message: expect.stringContaining('2x.jpg') });
    expect(whole[3].error).toEqual({
      code: 'invalid-image',
      message: expect.stringContaining('2y.png is not a file'),
    });
    // As a kill leaves it: in the midst of the third line.
    const text = await readFile(out, 'utf8');
    await writeFile(out, text.split('\n').slice(0, 2).join('\n'));
    await appendFile(out, '\n{"image":');
    expect((await run(...asked(out))).code).toBe(0);
    expect(await readFile(out, 'utf8')).toBe(text);
    const other = await run(...asked(out, '--budget', '0.5'));
    expect([other.code, other.stderr]).toEqual([2, expect.stringContaining('begun with other settings')]);
    expect(await readFile(out, 'utf8')).toBe(text);
  });

  it.each([
    ['photoz', ['--out', 'none/a.jsonl'], 'photoz is not there'],
    ['photos', ['--out', '-'], '--out - is no file'],
    ['photos', ['--out', tmpdir()], 'is no file'],
    ['photos', ['--out', '/nowhere/a.jsonl'], 'cannot be written (ENOENT: no such file or directory)'],
  ])('is refused before a model is loaded: %s %j', async (named, args, message) => {
    const { code, stderr } = await run('describe', join(folder, named), '--prompt', 'What?', ...args);
    expect([code, stderr]).toEqual([named === 'photoz' ? 1 : 2, expect.stringMatching(/^error: [^\n]*\n$/)]);
    expect(stderr).toContain(message);
  });

  it('loses nothing when it is interrupted', async () => {
    const out = join(folder, 'interrupted.jsonl');
    const child = start(...asked(out, '--lanes', '1'));
    const ended = finished(child);
    await expect.poll(() => readFile(out, 'utf8').catch(() => ''), { timeout: 30_000 }).toContain('\n');
    child.kill('SIGINT');
    expect((await ended).code).toBe(130);
    await run(...asked(out, '--lanes', '1'));
    expect((await linesOf(out)).map(({ image }) => image)).toEqual(names.map((name) => join(photos, name)));
  });
});
