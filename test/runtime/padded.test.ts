import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Tensor } from '#platform/ort.js';
import type { Budget } from '../../src/cache/budget.js';
import { shapeOf } from '../../src/graph/onnx/builder.js';
import { graphOf, type Model } from '../../src/graph/onnx/onnx.js';
import { rewriteDecoder } from '../../src/graph/rewrite.js';
import { KVCache } from '../../src/memory/kv-cache.js';
import { isPreset } from '../../src/policies/presets.js';
import { createPolicy, policyNames } from '../../src/policies/registry.js';
import { Decoder } from '../../src/runtime/decoder.js';
import { openModel } from '../graph/decoder-runs.js';
import { fixture, largestDifference } from '../graph/exported-runs.js';
import { buildGqaDecoder, gaussian } from '../graph/gqa-decoder.js';

/** Three sequences that read turns of unequal length, a single token among them, and write in between. */
const EVENTS = [
  [23, 9, 40],
  ...new Array<'step'>(8).fill('step'),
  [5, 1, 12],
  ...new Array<'step'>(4).fill('step'),
] as const;
const LANES = 3;
const CHUNK = 16;

type Side = 'left' | 'right';

const MODELS: Record<string, () => Model | Promise<Model>> = {
  'positions that are given': () => buildGqaDecoder({}),
  'windows, heads that share keys': () => buildGqaDecoder({ windows: [9, 0] }),
  'three rows of positions': () => fixture('torch-mrope-slim'),
  'positions counted by the mask, a window': () => fixture('optimum-onnx-gemma3-eager'),
  'a rotation chosen by the length of the text': () => fixture('genai-longrope'),
};

/** Runs some of the sequences together, padded to one length; gives the logits of each after every event. */
class PaddedRun {
  private readonly cache: KVCache;
  private readonly seen: number[];

  constructor(
    private readonly decoder: Decoder,
    private readonly hidden: number,
    private readonly lanes: readonly number[],
    options: { policy: string; budget: Budget },
    private readonly side: Side = 'left',
  ) {
    this.cache = new KVCache({ policy: createPolicy(options.policy), budget: options.budget });
    this.cache.bind({ ...decoder.shape, batch: lanes.length }, decoder.windows);
    this.seen = lanes.map(() => 0);
  }

  /** [lanes] the logits of the last token, or of all. */
  async read(lengths: readonly number[], logits: 'last' | 'all'): Promise<Float32Array[]> {
    const { hidden, lanes, side, decoder } = this;
    const batch = lanes.length;
    const longest = Math.max(...lengths);
    const embeds = new Float32Array(batch * longest * hidden);
    const axes = decoder.signature.positionIds === 'three-batch-sequence' ? 3 : 1;
    const positions = new BigInt64Array(axes * batch * longest).fill(1n);
    const mask = new BigInt64Array(batch * longest);
    const places = lengths.map((length) => (side === 'left' ? longest - length : 0));
    lanes.forEach((number, row) => {
      for (let token = 0; token < lengths[row]!; token++) {
        const at = row * longest + places[row]! + token;
        const position = this.seen[row]! + token;
        const random = gaussian(1 + number * 1000 + position);
        embeds.set(Float32Array.from({ length: hidden }, random), at * hidden);
        mask[at] = 1n;
        // Of time, height and width, as images have them.
        [position, position >> 1, position % 7].slice(0, axes).forEach((each, axis) => {
          positions[axis * batch * longest + at] = BigInt(each);
        });
      }
      this.cache.noteImage(
        Uint8Array.from({ length: lengths[row]! }, (_, i) => (i % 3 > 0 ? 1 : 0)),
        row,
      );
      this.seen[row]! += lengths[row]!;
    });
    const given = await decoder.run(this.cache, {
      newTokens: new Tensor('float32', embeds, [batch, longest, hidden]),
      positionIds: new Tensor('int64', positions, axes === 3 ? [3, batch, longest] : [batch, longest]),
      mask: { data: mask, dims: [batch, longest] },
      logits,
    });
    const width = given.dims[2]!;
    const own = (row: number, from: number, count: number) =>
      (given.data as Float32Array).slice(
        (row * given.dims[1]! + from) * width,
        (row * given.dims[1]! + from + count) * width,
      );
    return lanes.map((_, row) =>
      given.dims[1] === 1 ? own(row, 0, 1) : own(row, places[row]!, lengths[row]!),
    );
  }

  async play(logits: 'last' | 'all'): Promise<Float32Array[][]> {
    const all: Float32Array[][] = [];
    for (const event of EVENTS) {
      const lengths = this.lanes.map((number) => (event === 'step' ? 1 : event[number]!));
      all.push(await this.read(lengths, logits));
    }
    return all;
  }

  held(): unknown[] {
    return this.lanes.map((_, row) => this.cache.entries(0, row).positions);
  }
}

const opened: Record<string, { decoder: Decoder; hidden: number }> = {};

beforeAll(async () => {
  for (const [name, make] of Object.entries(MODELS)) {
    const model = await make();
    const input = graphOf(model).input.find((each) => each.name === 'inputs_embeds')!;
    const rewritten = rewriteDecoder(model);
    const decoder = new Decoder(await openModel(rewritten.model), rewritten.decoder, CHUNK);
    opened[name] = { decoder, hidden: shapeOf(input)![2] as number };
  }
});

afterAll(async () => {
  for (const { decoder } of Object.values(opened)) await decoder.release();
});

async function compare(
  name: string,
  options: { policy: string; budget: Budget },
  side: Side,
  logits: 'last' | 'all',
) {
  const { decoder, hidden } = opened[name]!;
  const together = new PaddedRun(decoder, hidden, [0, 1, 2], options, side);
  const given = await together.play(logits);
  for (let lane = 0; lane < LANES; lane++) {
    const alone = new PaddedRun(decoder, hidden, [lane], options);
    const wanted = await alone.play(logits);
    given.forEach((lanes, event) => {
      expect(
        largestDifference(lanes[lane]!, wanted[event]![0]!),
        `event ${event} of lane ${lane}`,
      ).toBeLessThan(1e-4);
    });
    expect(together.held()[lane]).toEqual(alone.held()[0]);
  }
}

describe('prompts of unequal length in one batch give what each gives alone', () => {
  describe.each(Object.keys(MODELS))('%s', (name) => {
    it.each([
      ['full', 1, 'left', 'all'],
      ['elastic', 0.3, 'right', 'last'],
      ['h2o', 0.3, 'left', 'last'],
      ['elastic-plus', 0.3, 'left', 'all'],
      ['local-reference', 0.5, 'right', 'all'],
    ] as const)('%s at %d, padded on the %s', (policy, budget, side, logits) =>
      compare(name, { policy, budget }, side, logits),
    );
  });

  it.each(policyNames.filter((policy) => !isPreset(policy) || policy === 'elastic-novelty'))(
    'policy %s',
    (policy) => compare('windows, heads that share keys', { policy, budget: { tokens: 11 } }, 'left', 'last'),
  );
});

describe('a run of several that fails', () => {
  it('leaves none of them a token ahead', async () => {
    const { decoder, hidden } = opened['positions that are given']!;
    const cache = new KVCache({ policy: createPolicy('full'), budget: 1 });
    cache.bind({ ...decoder.shape, batch: 2 }, decoder.windows);
    const run = (lengths: readonly [number, number], position: number) => {
      const longest = Math.max(...lengths);
      const tokens = (count: number) => Array.from({ length: longest }, (_, i) => (i < count ? 1n : 0n));
      const positions = [...new Array(longest).fill(0n), ...new Array(longest).fill(BigInt(position))];
      return decoder.run(cache, {
        newTokens: new Tensor('float32', new Float32Array(2 * longest * hidden), [2, longest, hidden]),
        positionIds: new Tensor('int64', positions, [2, longest]),
        mask: { data: BigInt64Array.from(lengths.flatMap(tokens)), dims: [2, longest] },
        logits: 'last',
      });
    };
    await run([4, 30], 0);
    // The shorter sequence reads its tokens, the other cannot: no longest sequence tells.
    await expect(run([3, 2], 1e6)).rejects.toThrow(/does not take as many/);
    expect([cache.seen, cache.seenBy(0), cache.seenBy(1)]).toEqual([0, 0, 0]);
  });
});
