import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { prepareInputs } from '../../src/models/conversation/prepare-inputs.js';
import { nextTurnText, promptText } from '../../src/models/conversation/template/prompt-text.js';
import { loadElastic } from '../../src/models/load.js';
import type { LoadedModel } from '../../src/models/loaded-model.js';
import { FAMILIES, writeTinyFamily } from '../families/tiny-families.js';
import { picture } from '../picture.js';

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'elastic-cache-hostile-'));
});
afterAll(() => rm(root, { recursive: true }));

async function loaded(name: string, template?: string): Promise<LoadedModel> {
  const directory = await mkdtemp(join(root, 'model-'));
  await writeTinyFamily(directory, FAMILIES[name]!);
  if (template !== undefined) {
    const path = join(directory, 'tokenizer_config.json');
    const config = JSON.parse(await readFile(path, 'utf8'));
    await writeFile(path, JSON.stringify({ ...config, chat_template: template }));
  }
  return loadElastic(directory, { threads: 1 });
}

describe('reserved tokens that a user types', () => {
  it.each(Object.keys(FAMILIES))('are refused by name: %s', async (name) => {
    const model = await loaded(name);
    const { all_special_tokens } = model.tokenizer;
    expect(all_special_tokens.length).toBeGreaterThan(1);
    for (const token of all_special_tokens) {
      const prompt = `w2 ${token} w3`;
      const refusal = { code: 'invalid-prompt', message: expect.stringContaining(`"${token}"`) };
      await expect(prepareInputs(model, { prompt })).rejects.toMatchObject(refusal);
      await expect(prepareInputs(model, { prompt, images: [picture(3)] })).rejects.toMatchObject(refusal);
      expect(() => nextTurnText(model, { images: 0, prompt })).toThrow(`"${token}"`);
    }
    // What the tokenizer does not know becomes such a token as well, and was not typed.
    await prepareInputs(model, { prompt: 'unheard words, and < 3 > 2 | x' });
    await model.model.dispose();
  });
});

describe('a chat template', () => {
  it.each([
    [
      'with an endless range',
      '{% for i in range(1000000000) %}x{% endfor %}',
      /asks for a range of 1000000000/,
    ],
    [
      'with loops in loops',
      '{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}',
      /does not come to an end \(5 seconds\)/,
    ],
    ['that is none', '{% for %}', /cannot be rendered \(/],
    ['that throws', "{{ raise_exception('no such thing') }}", /cannot be rendered \(no such thing\)/],
  ])('%s is told in a sentence', async (_, template, message) => {
    const model = await loaded('LLaVA-1.5', template);
    await expect(prepareInputs(model, { prompt: 'w2' })).rejects.toMatchObject({
      code: 'invalid-model',
      message: expect.stringMatching(message),
    });
    await model.model.dispose();
  });

  it('may use ranges as Jinja has them', async () => {
    const template = '{% for i in range(1, 8, 3) %}w{{ i }} {% endfor %}{{ messages[0].content }}';
    const model = await loaded('LLaVA-1.5', template);
    expect(promptText(model, 0, 'w2')).toBe('w1 w4 w7 w2');
    await model.model.dispose();
  });
});
