import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { ElasticCache } from '../../src/elastic-cache.js';
import { createPolicy } from '../../src/policies/registry.js';

/** A run of the authors' released code; every array is flat and row-major. */
interface Fixture {
  method: string;
  layers: number;
  heads: number;
  tokens: number;
  headDim: number;
  /** The fraction forgotten. */
  ratio: number;
  startSize: number;
  distance: number;
  /** attention [layers, heads, tokens, tokens], keys and values [layers, heads, tokens, headDim] */
  prefill: { attention: number[]; keys: number[]; values: number[] };
  /** newKeys, newValues [layers, heads, headDim], attention [layers, heads, held before + 1]; length after the step */
  steps: { newKeys: number[]; newValues: number[]; attention: number[]; length: number }[];
  afterPrefill: Snapshot;
  afterSteps: Snapshot;
}

/** keys, values [layers, heads, length, headDim] */
interface Snapshot {
  length: number;
  keys: number[];
  values: number[];
}

const folder = new URL('./cache/', import.meta.url);
const fixtures = readdirSync(folder).filter((name) => name.endsWith('.json'));

describe('the released code, index for index', () => {
  it('has all nine runs', () => expect(fixtures).toHaveLength(9));

  it.each(fixtures)('%s', (name) => {
    const fixture = JSON.parse(readFileSync(new URL(name, folder), 'utf8')) as Fixture;
    const { layers, heads, tokens, headDim, startSize, distance } = fixture;
    const cache = new ElasticCache({
      policy: createPolicy(`${fixture.method}-reference`, { startSize, distance }),
      budget: 1 - fixture.ratio,
      layers,
      kvHeads: heads,
      headDim,
    });
    const { keys, values, attention } = fixture.prefill;
    cache.appendTurn(
      Array.from({ length: layers }, (_, layer) => ({
        keys: slice(keys, layer, layers),
        values: slice(values, layer, layers),
        attention: received(slice(attention, layer, layers), heads, tokens),
      })),
      tokens,
    );
    expectSame(cache, fixture, fixture.afterPrefill);

    for (const step of fixture.steps) {
      cache.appendStep(
        Array.from({ length: layers }, (_, layer) => ({
          keys: slice(step.newKeys, layer, layers),
          values: slice(step.newValues, layer, layers),
          attention: byRow(cache, layer, slice(step.attention, layer, layers), heads),
        })),
      );
      for (let layer = 0; layer < layers; layer++) expect(cache.held(layer)).toBe(step.length);
    }
    expectSame(cache, fixture, fixture.afterSteps);
  });
});

function slice(flat: number[], part: number, parts: number): Float32Array {
  const size = flat.length / parts;
  return Float32Array.from(flat.slice(part * size, (part + 1) * size));
}

/** [heads, queries, width] -> [heads, width]: summed over the queries. */
function received(attention: Float32Array, heads: number, width: number): Float32Array {
  const sums = new Float64Array(heads * width);
  attention.forEach((value, index) => {
    const head = Math.floor((index * heads) / attention.length);
    sums[head * width + (index % width)]! += value;
  });
  return Float32Array.from(sums);
}

/** Attention [heads, held + 1] in ascending position -> [heads, rows + 1], as it is fed. */
function byRow(cache: ElasticCache, layer: number, attention: Float32Array, heads: number): Float32Array {
  const rows = cache.positions(layer);
  const held = Array.from(cache.entries(layer).positions);
  const width = rows.length + 1;
  const ordered = new Float32Array(heads * width);
  for (let head = 0; head < heads; head++) {
    const own = attention.subarray(head * (held.length + 1), (head + 1) * (held.length + 1));
    for (let row = 0; row < held.length; row++) ordered[head * width + row] = own[held.indexOf(rows[row]!)]!;
    ordered[(head + 1) * width - 1] = own[held.length]!;
  }
  return ordered;
}

function expectSame(cache: ElasticCache, { layers, heads, headDim }: Fixture, expected: Snapshot): void {
  for (let layer = 0; layer < layers; layer++) {
    const entries = cache.entries(layer);
    expect(cache.held(layer)).toBe(expected.length);
    for (const name of ['keys', 'values'] as const) {
      const wanted = slice(expected[name], layer, layers);
      let worst = 0;
      for (let entry = 0; entry < expected.length; entry++) {
        for (let head = 0; head < heads; head++) {
          for (let i = 0; i < headDim; i++) {
            const got = entries[name][(entry * heads + head) * headDim + i]!;
            const want = wanted[(head * expected.length + entry) * headDim + i]!;
            worst = Math.max(worst, Math.abs(got - want));
          }
        }
      }
      expect(worst, `largest difference in ${name} of layer ${layer}`).toBeLessThan(1e-6);
    }
  }
}
