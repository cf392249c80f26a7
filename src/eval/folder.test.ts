import { appendFile, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { claimFolder, hashModel, type Manifest } from './manifest.js';
import { writeReport } from './report/write-report.js';
import { type ResultLine, ResultsFile } from './results.js';

const manifest: Manifest = {
  model: 'm',
  modelHash: 'a',
  dtype: '',
  device: '',
  chunk: 0,
  peak: 'prompt',
  accuracyLevel: 0,
  data: 'scenes:1000',
  dataHash: '',
  images: '',
  split: '',
  promptTokens: 0,
  question: 'known',
  system: '',
  imagePlace: 'before',
  padImages: false,
  answers: 'first',
  firstToken: 'compressed',
  lastToken: 'counted',
  metrics: 'ppl',
  maxNewTokens: 256,
  version: '1.0.0',
};
const line = (sample: string): ResultLine => ({
  sample,
  task: 'description',
  policy: 'elastic',
  budget: '0.2',
  perplexity: { nats: 1.5, tokens: 3 },
});

let folder: string;
let path: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'elastic-cache-run-'));
  path = join(folder, 'results.jsonl');
});

afterEach(() => rm(folder, { recursive: true }));

describe('results', () => {
  it('are there again when the file is opened again', async () => {
    const results = await ResultsFile.open(path);
    expect(results.lines).toEqual([]);
    results.append(line('a'));
    results.append(line('b'));
    const again = await ResultsFile.open(path);
    expect(again.lines).toEqual([line('a'), line('b')]);
    expect(again.get(line('b'))).toEqual(line('b'));
    expect(again.get(line('c'))).toBeUndefined();
  });

  it('lose a torn last line and nothing else', async () => {
    (await ResultsFile.open(path)).append(line('a'));
    const whole = await readFile(path, 'utf8');
    for (const torn of [JSON.stringify(line('b')).slice(0, 40), JSON.stringify(line('b')), '{', 'ä']) {
      await writeFile(path, whole + torn);
      const results = await ResultsFile.open(path);
      expect(results.lines).toEqual([line('a')]);
      expect(await readFile(path, 'utf8')).toBe(whole);
    }
  });

  it('with another damaged line are refused with its place', async () => {
    const results = await ResultsFile.open(path);
    results.append(line('a'));
    await appendFile(path, `{"sample":3}\n${JSON.stringify(line('b'))}\n`);
    await expect(ResultsFile.open(path)).rejects.toThrow(/results\.jsonl:2 is damaged/);
  });

  it('may have blank lines between them', async () => {
    await writeFile(path, `\n${JSON.stringify(line('a'))}\n \r\n${JSON.stringify(line('b'))}\n\n`);
    expect((await ResultsFile.open(path)).lines).toEqual([line('a'), line('b')]);
    await appendFile(path, '{}\n');
    await expect(ResultsFile.open(path)).rejects.toThrow(/results\.jsonl:6 is damaged/);
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY])('are never %s, which JSON cannot hold', async (nats) => {
    const results = await ResultsFile.open(path);
    results.append(line('a'));
    expect(() => results.append({ ...line('b'), perplexity: { nats, tokens: 3 } })).toThrow(
      /^perplexity\.nats of b, description is no finite number with elastic at budget 0\.2: .*another --dtype/,
    );
    results.append(line('c'));
    expect((await ResultsFile.open(path)).lines).toEqual([line('a'), line('c')]);
  });

  it('are written by one run at a time', async () => {
    const [mine, other] = [await ResultsFile.open(path), await ResultsFile.open(path)];
    mine.append(line('a'));
    expect(() => other.append(line('a'))).toThrow(/results\.jsonl .*another run writes there/);
    mine.append(line('b'));
    expect((await ResultsFile.open(path)).lines).toEqual([line('a'), line('b')]);
  });
});

describe('what the disk will not do is told with the file and the way out', () => {
  const wayOut = 'mend that and run the same command again, which goes on from what is there';

  it.each(['run.json', 'run.json.part'])('%s', async (name) => {
    await mkdir(join(folder, name));
    await expect(claimFolder(folder, manifest)).rejects.toMatchObject({
      code: 'invalid-option',
      message: expect.stringMatching(`${name} cannot be (read|written) \\(EISDIR: [^)]*\\); ${wayOut}`),
    });
  });

  it('results.jsonl', async () => {
    await symlink(join(folder, 'nowhere', 'file'), path);
    const results = await ResultsFile.open(path);
    expect(() => results.append(line('a'))).toThrow(
      `${path} cannot be written (ENOENT: no such file or directory); ${wayOut}`,
    );
    await rm(path);
    await mkdir(path);
    await expect(ResultsFile.open(path)).rejects.toThrow(
      `${path} cannot be read (EISDIR: illegal operation on a directory); ${wayOut}`,
    );
  });

  it('the reports', async () => {
    await mkdir(join(folder, 'table.md'));
    await expect(writeReport(folder, { quality: [], latency: [] }, [])).rejects.toThrow(
      `table.md cannot be written (EISDIR: illegal operation on a directory); ${wayOut}`,
    );
  });
});

describe('the folder of a run', () => {
  it('takes the same run again', async () => {
    const run = join(folder, 'deep', 'run');
    await claimFolder(run, manifest);
    await claimFolder(run, manifest);
    expect(JSON.parse(await readFile(join(run, 'run.json'), 'utf8'))).toEqual(manifest);
  });

  it.each([
    [{ model: 'n' }, /holds a run with another model \(m there, n now\)/],
    [{ modelHash: 'b' }, /another state of the model; /],
    [{ data: 'x.json' }, /another data \(scenes:1000 there, x\.json now\)/],
    [{ metrics: 'ppl,rouge' }, /another --metrics \(ppl there, ppl,rouge now\)/],
    [{ version: '1.0.1' }, /another version of elastic-cache/],
  ])('does not take another: %j', async (change, message) => {
    await claimFolder(folder, manifest);
    await expect(claimFolder(folder, { ...manifest, ...change })).rejects.toThrow(message);
  });

  it('is no folder of other files, and no file', async () => {
    await writeFile(path, 'mine');
    await expect(claimFolder(folder, manifest)).rejects.toThrow(/holds files but no run\.json/);
    await expect(claimFolder(path, manifest)).rejects.toThrow(/cannot be made a folder/);
    // Node's own mkdir never comes back from there.
    if (process.platform === 'linux')
      await expect(claimFolder('/proc/a/b', manifest)).rejects.toThrow(/cannot be made a folder \(ENOENT/);
    await writeFile(join(folder, 'run.json'), '{}');
    await expect(claimFolder(folder, manifest)).rejects.toThrow(/run\.json in .* is not that of a run/);
  });

  it('tells a model that was trained on from what it was', async () => {
    expect(await hashModel('owner/name')).toBe('');
    await mkdir(join(folder, 'onnx'));
    const weights = join(folder, 'onnx', 'decoder_model_merged.onnx_data');
    await writeFile(weights, Buffer.alloc(3 << 20, 1));
    const before = await hashModel(folder);
    expect(await hashModel(folder)).toBe(before);
    await writeFile(weights, Buffer.concat([Buffer.alloc((3 << 20) - 1, 1), Buffer.from([2])]));
    expect(await hashModel(folder)).not.toBe(before);
  });
});
