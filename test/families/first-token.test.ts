import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { prepareInputs } from '../../src/models/conversation/prepare-inputs.js';
import { loadElastic } from '../../src/models/load.js';
import { picture } from '../picture.js';
import { FAMILIES, writeTinyFamily } from './tiny-families.js';

// biome-ignore lint/suspicious/noExplicitAny: whatever a file of JSON holds
type Json = any;

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'elastic-cache-first-'));
});
afterAll(() => rm(root, { recursive: true }));

/** A family whose tokenizer begins every text with a token that its template, if it has one, begins with as well. */
async function beginning(name: string): Promise<{ directory: string; first: number }> {
  const directory = join(root, name.replaceAll(' ', '-'));
  await writeTinyFamily(directory, FAMILIES[name]!);
  const change = async (file: string, edit: (json: Json) => void) => {
    const json = JSON.parse(await readFile(join(directory, file), 'utf8'));
    edit(json);
    await writeFile(join(directory, file), JSON.stringify(json));
  };
  let token = '';
  await change('tokenizer_config.json', (config) => {
    token = config.bos_token ??= config.unk_token;
    config.chat_template &&= `{{ bos_token }}${config.chat_template.replace('{{ bos_token }}', '')}`;
  });
  let first = -1;
  await change('tokenizer.json', (tokenizer) => {
    first = tokenizer.added_tokens.find(({ content }: { content: string }) => content === token).id;
    const special = { SpecialToken: { id: token, type_id: 0 } };
    tokenizer.post_processor = {
      type: 'TemplateProcessing',
      single: [special, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [],
      special_tokens: { [token]: { id: token, ids: [first], tokens: [token] } },
    };
  });
  return { directory, first };
}

describe('the token that begins a text', () => {
  it.each(Object.keys(FAMILIES))('stands there once: %s', async (name) => {
    const { directory, first } = await beginning(name);
    const loaded = await loadElastic(directory, { threads: 1 });
    for (const images of [[], [picture(3)], [picture(3), picture(5)]]) {
      const { input_ids } = await prepareInputs(loaded, { images, prompt: 'w2 w3' });
      const found = (input_ids.tolist()[0] as bigint[]).filter((id) => Number(id) === first);
      expect(found, `${images.length} images`).toHaveLength(1);
    }
    await loaded.model.dispose();
  });
});
