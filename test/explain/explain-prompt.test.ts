import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Explanation, explainPrompt } from '../../src/explain/prompt/explain-prompt.js';
import { createPolicy, ElasticCache, type LoadedModel, loadElastic, readImage } from '../../src/index.js';
import { prepareInputs } from '../../src/models/conversation/prepare-inputs.js';

const path = (name: string) => fileURLToPath(new URL(`../../demo-model/${name}`, import.meta.url));

let loaded: LoadedModel;
let question: Parameters<typeof explainPrompt>[1];
let elastic: Explanation;

beforeAll(async () => {
  loaded = await loadElastic(path('llava-scenes'));
  const images = [await readImage(path('samples/01.png'))];
  question = { images, prompt: 'Describe the image in detail.' };
  elastic = await explained('elastic', 0.2);
});

afterAll(() => loaded.model.dispose());

const explained = (policy: string, budget: number, model = loaded) =>
  explainPrompt(model, question, { policy: createPolicy(policy), budget });

const keptOf = (anchor: readonly (number | null)[]) =>
  anchor.flatMap((holder, token) => (holder === token ? [token] : []));
const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

/** The most attended tokens and the first and last, by the slowest way. */
function anchorsByHand({ attention, held }: Explanation['layers'][number]): number[] {
  const last = attention.length - 1;
  const between = attention.map((value, token) => ({ value, token })).slice(1, last);
  between.sort((a, b) => b.value - a.value || a.token - b.token);
  return [0, ...between.slice(0, held - 2).map(({ token }) => token), last].sort((a, b) => a - b);
}

describe('what a policy made of a prompt', () => {
  it('has every token: the image as a grid on the photo, the text as it is read', async () => {
    const { tokens, grids, noGrid, queries } = elastic;
    const { input_ids } = await prepareInputs(loaded, question);
    expect(tokens.map(({ id }) => id)).toEqual(Array.from(input_ids.data as BigInt64Array, Number));
    expect(grids).toEqual([{ rows: 24, columns: 24, box: { x: 0, y: 0, width: 336, height: 336 } }]);
    expect(noGrid).toBeUndefined();
    const patches = tokens.flatMap(({ patch }) => (patch ? [patch] : []));
    expect(patches).toEqual(
      Array.from({ length: 576 }, (_, index) => ({
        grid: 0,
        row: Math.floor(index / 24),
        column: index % 24,
      })),
    );
    const text = tokens.filter(({ patch }) => !patch).map(({ text }) => text.trim());
    expect(text.join(' ')).toContain('Describe the image in detail .');
    expect(queries).toBe(tokens.length);
  });

  it('elastic: every token stayed or was merged into the nearest that stayed, of equally near ones the earlier', () => {
    const { tokens, layers } = elastic;
    expect(layers.map(({ layer }) => layer)).toEqual([0, 1, 2, 3]);
    for (const layer of layers) {
      const kept = keptOf(layer.anchor);
      expect(layer.held).toBe(Math.floor(0.2 * tokens.length));
      expect(kept).toHaveLength(layer.held);
      expect(kept).toEqual(anchorsByHand(layer));
      const nearest = tokens.map((_, token) =>
        kept.reduce((best, anchor) => (Math.abs(anchor - token) < Math.abs(best - token) ? anchor : best)),
      );
      expect(layer.anchor).toEqual(nearest);
    }
  });

  it('elastic-plus: a token stayed where one head keeps it, and a layer holds what its heads do on average', async () => {
    const { tokens, layers } = await explained('elastic-plus', 0.1);
    const cache = new ElasticCache({ policy: 'elastic-plus', budget: 0.1 });
    const inputs = await prepareInputs(loaded, question);
    await loaded.model.generate({ ...inputs, past_key_values: cache, max_new_tokens: 1, do_sample: false });
    const { kvHeads } = cache.rows()[0]!.block.shape;
    for (const { layer, anchor, held, attention } of layers) {
      const heads = Array.from({ length: kvHeads }, (_, head) => [
        ...cache.entries(layer, 0, head).positions,
      ]);
      expect(keptOf(anchor)).toEqual([...new Set(heads.flat())].sort((a, b) => a - b));
      expect(held).toBe(Math.round(heads.flat().length / kvHeads));
      expect(attention).toHaveLength(tokens.length);
    }
  });

  it('is what a cache of the same policy and budget holds', async () => {
    const cache = new ElasticCache({ policy: 'elastic', budget: 0.2 });
    const inputs = await prepareInputs(loaded, question);
    await loaded.model.generate({ ...inputs, past_key_values: cache, max_new_tokens: 1, do_sample: false });
    for (const { layer, anchor } of elastic.layers) {
      const { positions, counts } = cache.entries(layer);
      expect(keptOf(anchor)).toEqual(Array.from(positions));
      const standsFor = Array.from(positions, (kept) => anchor.filter((holder) => holder === kept).length);
      expect(Array.from(counts)).toEqual(standsFor);
    }
  });

  it.each(['elastic', 'h2o', 'local', 'full'])(
    '%s: each query gives one whole attention, whether the policy looks at it or not',
    async (policy) => {
      const { tokens, layers } = await explained(policy, 0.3);
      for (const { attention } of layers) {
        expect(Math.min(...attention)).toBeGreaterThanOrEqual(0);
        expect(Math.abs(sum(attention) - tokens.length)).toBeLessThan(1e-3);
        // The last token is seen by itself alone.
        expect(attention.at(-1)).toBeLessThanOrEqual(1);
      }
    },
  );

  it('tells that h2o drops what it does not keep', async () => {
    const { tokens, layers } = await explained('h2o', 0.2);
    for (const { anchor, held } of layers) {
      expect(keptOf(anchor)).toHaveLength(held);
      expect(anchor.filter((holder) => holder === null)).toHaveLength(tokens.length - held);
    }
  });

  it('at budget 1 everything stayed', async () => {
    const { tokens, layers } = await explained('elastic', 1);
    const itself = tokens.map((_, token) => token);
    for (const { anchor, held } of layers) {
      expect(anchor).toEqual(itself);
      expect(held).toBe(tokens.length);
    }
  });

  it('counts the attention of as many last tokens as the policy looks at', async () => {
    const { queries, layers } = await explained('snapkv', 0.2);
    expect(queries).toBe(32);
    for (const { attention } of layers) expect(Math.abs(sum(attention) - 32)).toBeLessThan(1e-3);
  });

  it('is the same for a prompt that is read in chunks', async () => {
    const inChunks = await loadElastic(path('llava-scenes'), { chunk: 97 });
    try {
      const parts = await explained('elastic', 0.2, inChunks);
      parts.layers.forEach((layer, index) => {
        const { attention } = elastic.layers[index]!;
        const farthest = layer.attention.map((value, token) => Math.abs(value - attention[token]!));
        expect(Math.max(...farthest)).toBeLessThan(1e-3);
        expect(keptOf(layer.anchor)).toEqual(anchorsByHand(layer));
      });
    } finally {
      await inChunks.model.dispose();
    }
  });
});

describe('refused', () => {
  it('a layer that the model does not have, before the prompt is read', async () => {
    const options = { policy: createPolicy('elastic'), budget: 0.2, layer: 4 };
    const start = explainPrompt(loaded, question, options);
    await expect(start).rejects.toThrow('layer 4 is not in this model, which has 4; choose one from 0 to 3.');
  });

  it('several images', async () => {
    const twice = { ...question, images: [question.images[0]!, question.images[0]!] };
    const options = { policy: createPolicy('elastic'), budget: 0.2 };
    await expect(explainPrompt(loaded, twice, options)).rejects.toThrow(
      /looks at one image and 2 were given/,
    );
  });
});
