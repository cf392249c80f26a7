import { describe, expect, it } from 'vitest';
import type { TurnView } from '../cache/policy.js';
import { elasticPlus } from './elastic-plus.js';

const TOKENS = 60;

/** A layer of one key head of which 20 of 60 tokens fit on average: what tokens are given, and how long their values are. */
function layer(
  given: (token: number) => number,
  length: (token: number) => number,
  { window, pictures }: { window?: number; pictures?: number } = {},
): TurnView {
  const numbers = (of: (token: number) => number) =>
    Float64Array.from({ length: TOKENS }, (_, token) => of(token));
  return {
    tokens: TOKENS,
    fresh: TOKENS,
    positions: Int32Array.from({ length: TOKENS }, (_, token) => token),
    counts: new Int32Array(TOKENS).fill(1),
    slidingWindow: window,
    ...(pictures
      ? { image: Uint8Array.from({ length: TOKENS }, (_, token) => Number(token < pictures)) }
      : {}),
    received: numbers(given),
    importance: numbers(given),
    queries: new Int32Array(TOKENS).fill(16),
    keys: () => new Float32Array(1),
    valueNorms: () => numbers(length),
    allowed: { entries: 20, share: 20 },
  };
}

const compressed = (...layers: TurnView[]) =>
  elasticPlus()
    .begin(layers.length)
    .compress(layers.map((view) => [view]))
    .map(([edit]) => edit!);

/** Attended to at one place, as what is looked up is. */
const at = (place: number) => (token: number) => 1 / (1 + Math.abs(token - place));

describe('elastic-plus', () => {
  it('shares the pool out by how long values are within a layer, whatever they are in another', () => {
    const rises = (token: number) => 1 + token / TOKENS;
    const kept = compressed(layer(at(20), rises), layer(at(40), rises)).map(({ keep }) => keep);
    const longer = compressed(
      layer(at(20), (token) => 16 * rises(token)),
      layer(at(40), rises),
    );
    expect(longer.map(({ keep }) => keep)).toEqual(kept);
  });

  it('gives layers with long values more of a picture, but not where layers have windows', () => {
    const lengthsOf = (window?: number) =>
      compressed(
        layer(at(20), () => 8, { pictures: 50, ...(window ? { window } : {}) }),
        layer(at(20), () => 1, { pictures: 50 }),
      ).map(({ keep }) => keep.length);
    const more = ([long, short]: number[]) => long! - short!;
    expect(more(lengthsOf())).toBeGreaterThan(10);
    expect(more(lengthsOf(10 * TOKENS))).toBeLessThan(3);
  });

  it('neither keeps nor merges what no later token of a layer with a window sees', () => {
    const [edit] = compressed(
      layer(at(10), () => 1, { window: 31 }),
      layer(at(10), () => 1),
    );
    // The next token stands at 60 and sees 30 to 60; the first four are kept whatever they are.
    expect(edit!.keep.filter((token) => token >= 4 && token < 30)).toHaveLength(0);
    expect(edit!.similar).toMatchObject({ start: 30 });
    expect(Math.min(...edit!.similar!.anchors)).toBeGreaterThanOrEqual(30);
  });

  it('merges nothing into a short value, where attention only rests', () => {
    const [edit] = compressed(layer(at(20), (token) => (token === 20 ? 0.4 : 1)));
    expect(edit!.keep).toContain(20);
    expect(edit!.similar!.anchors).not.toContain(20);
    expect(edit!.similar!.anchors).toContain(21);
  });
});
