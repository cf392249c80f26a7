import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ElasticCache } from '../../src/elastic-cache.js';
import { createEngine } from '../../src/engine/create-engine.js';
import { bytesPerEntry } from '../../src/memory/shape.js';
import { type ChatEvent, chat } from '../../src/models/conversation/chat.js';
import { prepareInputs } from '../../src/models/conversation/prepare-inputs.js';
import { loadElastic } from '../../src/models/load.js';
import type { LoadedModel } from '../../src/models/loaded-model.js';
import { type PolicyName, policyNames } from '../../src/policies/registry.js';
import { heard, words } from '../engine/tiny-engine.js';
import { picture } from '../picture.js';
import { SHAPE, writeTinyLlava } from './tiny-llava.js';

const CHUNK = 32;
const LONG = 150;

let directory: string;
let whole: LoadedModel;
let bounded: LoadedModel;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'bounded-'));
  await writeTinyLlava(directory);
  whole = await loadElastic(directory, { chunk: CHUNK, threads: 1 });
  bounded = await loadElastic(directory, { chunk: CHUNK, threads: 1, peak: 'bounded' });
});

afterAll(async () => {
  for (const loaded of [whole, bounded]) await loaded?.model.dispose();
  await rm(directory, { recursive: true });
});

/** A cache that remembers the most that it had allocated. */
class Watched extends ElasticCache {
  most = 0;

  override async appendTurn(...part: Parameters<ElasticCache['appendTurn']>): Promise<void> {
    await super.appendTurn(...part);
    this.most = Math.max(this.most, this.stats().bytesAllocated);
  }
}

/** The cache after a picture and many words, and the next tokens. */
async function read(loaded: LoadedModel, policy: PolicyName, budget: number) {
  const cache = new Watched({ policy, budget });
  const inputs = await prepareInputs(loaded, { images: [picture(3)], prompt: words(LONG, 1) });
  const output = await loaded.model.generate({ ...inputs, max_new_tokens: 8, past_key_values: cache });
  return { cache, tokens: Array.from((output as { data: BigInt64Array }).data, Number) };
}

const said = async (events: AsyncIterable<ChatEvent>) => {
  let text = '';
  for await (const event of events) if (event.type === 'finish') text = event.text;
  return text;
};

describe("peak: 'bounded'", () => {
  it.each(policyNames)('%s: the same tokens where everything is kept', async (policy) => {
    const [one, other] = await Promise.all([read(whole, policy, 1), read(bounded, policy, 1)]);
    expect(other.tokens).toEqual(one.tokens);
    expect(other.cache.stats().tokensHeld).toBe(one.cache.stats().tokensHeld);
  });

  it.each(policyNames.filter((name) => name !== 'full'))(
    '%s: never more than what is kept and one chunk, and exactly the budget at the end',
    async (policy) => {
      const { cache } = await read(bounded, policy, 0.2);
      const { tokensSeen, tokensHeld, layers } = cache.stats();
      expect(tokensHeld).toBe((await read(whole, policy, 0.2)).cache.stats().tokensHeld);
      // Room to grow, and the bias of each row, beside the rows themselves.
      const perRow = bytesPerEntry({
        ...SHAPE,
        batch: 1,
        format: 'float32',
        stockFormat: 'float32',
        model: '',
      });
      const rows = Math.floor(0.2 * tokensSeen) + CHUNK + 32;
      expect(cache.most).toBeLessThan(rows * (perRow + 4 * SHAPE.layers * SHAPE.kvHeads));
      expect(cache.most).toBeLessThan(((tokensSeen - 8) * perRow * 2) / 3);
      expect(layers).toHaveLength(SHAPE.layers);
    },
  );

  it('counts a prompt as one turn, to which a cache can go back', async () => {
    const { cache } = await read(bounded, 'snapkv', 0.3);
    const { tokensSeen } = cache.stats();
    cache.trim(1);
    expect(cache.seen).toBe(tokensSeen - 7);
    expect(() => cache.trim(2)).toThrow(/has read 1 turns/);
  });

  it('goes on with a conversation after a turn that was aborted midway', async () => {
    const told = async (loaded: LoadedModel, aborting: boolean) => {
      const { ask } = chat(loaded, { cache: new ElasticCache({ policy: 'full', budget: 1 }) });
      const texts = [await said(ask({ images: [picture(1)], prompt: words(20, 2), maxNewTokens: 6 }))];
      if (aborting) {
        const abort = new AbortController();
        const cut = said(ask({ prompt: words(LONG, 3), signal: abort.signal }));
        setTimeout(() => abort.abort(), 1);
        await cut.catch(() => {});
      }
      texts.push(await said(ask({ prompt: words(LONG, 4), maxNewTokens: 6 })));
      return texts;
    };
    expect(await told(bounded, true)).toEqual(await told(whole, false));
  });

  it('lets an engine in the same memory take longer prompts', async () => {
    const memory = 60_000;
    const request = () => ({
      messages: [{ role: 'user' as const, content: words(LONG, 5) }],
      maxNewTokens: 4,
      budget: 0.2,
      policy: 'snapkv' as const,
    });
    const [refused, taken] = await Promise.all(
      [whole, bounded].map(async (loaded) => {
        const engine = await createEngine(loaded, { memory });
        try {
          return await heard(engine.add(request()));
        } finally {
          await engine.close();
        }
      }),
    );
    expect(refused!.error).toMatchObject({ code: 'out-of-memory' });
    expect(taken!.error).toBeUndefined();
  });

  it('is refused by another name', async () => {
    await expect(loadElastic(directory, { peak: 'small' as 'bounded' })).rejects.toThrow(
      'peak is "small"; choose one of prompt, bounded',
    );
  });
});
