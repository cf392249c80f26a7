import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ElasticCacheError } from '../../src/errors.js';
import { inspectDecoder } from '../../src/graph/inspect.js';
import { bytesSource } from '../../src/graph/onnx/byte-source.js';
import { type Model, parseModel, serializeModel } from '../../src/graph/onnx/onnx.js';
import { readSkeleton } from '../../src/graph/onnx/skeleton.js';
import { rewriteDecoder } from '../../src/graph/rewrite.js';
import { withLogitsToKeep } from '../../src/graph/rewriting/logits-to-keep.js';
import { openDecoder } from '../../src/runtime/open-decoder.js';
import { fixture } from './exported-runs.js';
import { CHANGES, changed } from './graph-changes.js';

/** One of each pattern and exporter. */
const FIXTURES = [
  'genai-grouped',
  'genai-multi-head-repeated',
  'torch-sdpa-slim',
  'torch-eager-grouped',
  'dynamo-attention',
  'optimum-merged-grouped',
];
/** What one damaged model may take at most, on a busy machine. */
const LONGEST_MS = 60_000;
const MOST_BYTES = 1.5e9;
const SETTINGS = {
  seed: 3,
  interruptAfterTimeLimit: 3_000,
  markInterruptAsFailure: false,
  endOnFailure: true,
};

/** The graphs without their weights, so that damage hits the graph. */
const graphs: Uint8Array[] = [];
let folder: string;

beforeAll(async () => {
  for (const name of FIXTURES) {
    const bytes = serializeModel(await fixture(name));
    graphs.push(serializeModel(await readSkeleton(bytesSource(bytes), 'weights.onnx')));
  }
  folder = await mkdtemp(join(tmpdir(), 'elastic-cache-fuzz-'));
});
afterAll(() => rm(folder, { recursive: true }));

const which = fc.nat(FIXTURES.length - 1);
/** A place in a file, as a part of its length, and a bit there. */
const flips = fc.array(fc.tuple(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), fc.nat(7)), {
  minLength: 1,
  maxLength: 8,
});

describe('damaged decoders are read or refused, and nothing else', () => {
  it('truncated at any byte', async () => {
    const part = fc.double({ min: 0, max: 1, noNaN: true });
    await fc.assert(
      fc.asyncProperty(which, part, async (at, length) => {
        await everyWay(graphs[at]!.slice(0, length * graphs[at]!.length));
      }),
      { ...SETTINGS, numRuns: 60 },
    );
  });

  it('with flipped bits', async () => {
    await fc.assert(
      fc.asyncProperty(which, flips, async (at, places) => {
        const bytes = graphs[at]!.slice();
        for (const [place, bit] of places) bytes[Math.floor(place * bytes.length)]! ^= 1 << bit;
        await everyWay(bytes);
      }),
      { ...SETTINGS, numRuns: 100 },
    );
  });

  for (const [name, change] of Object.entries(CHANGES)) {
    it(`with ${name}`, async () => {
      await fc.assert(
        fc.asyncProperty(which, fc.infiniteStream(fc.nat()), async (at, numbers) => {
          const model = changed(parseModel(graphs[at]!), change, numbers);
          await guarded(() => lookAt(model));
        }),
        { ...SETTINGS, numRuns: 40 },
      );
    });
  }

  it('nested deeper than any model', async () => {
    for (const deep of [40, 400]) await everyWay(nested(deep));
  });

  it('that declare more bytes than there are', async () => {
    // Field 7, the graph, of 2^62 bytes; and of 2^31 - 1.
    await everyWay(Uint8Array.of(0x3a, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40, 1, 2));
    await everyWay(Uint8Array.of(0x3a, 0xff, 0xff, 0xff, 0xff, 0x07, 1, 2));
  });

  it('as files, with flipped bits, and with weights where there are none', async () => {
    const path = join(folder, 'decoder.onnx');
    await fc.assert(
      fc.asyncProperty(which, flips, async (at, places) => {
        const bytes = serializeModel(await fixture(FIXTURES[at]!));
        for (const [place, bit] of places) bytes[Math.floor(place * bytes.length)]! ^= 1 << bit;
        await writeFile(
          path,
          places.length > 4 ? bytes.slice(0, (places[0]![0] ?? 0) * bytes.length) : bytes,
        );
        await guarded(async () => {
          const decoder = await openDecoder(path);
          await decoder.release();
        });
      }),
      { ...SETTINGS, numRuns: 12 },
    );
  });

  it('whose weights lie outside their folder', async () => {
    const locations = [
      '../weights.onnx',
      'a/../../weights.onnx',
      '/etc/hostname',
      '..\\weights.onnx',
      '',
      'gone',
    ];
    for (const location of locations) {
      const model = parseModel(graphs[2]!);
      for (const tensor of model.graph!.initializer) {
        for (const entry of tensor.externalData) if (entry.key === 'location') entry.value = location;
      }
      const path = join(folder, 'outside.onnx');
      await writeFile(path, serializeModel(model));
      const opened = openDecoder(path);
      await expect(opened).rejects.toThrow(ElasticCacheError);
      await expect(opened).rejects.toThrow(
        location === 'gone' ? /is missing/ : /no file in the model's directory/,
      );
    }
  });
});

function lookAt(model: Model): void {
  const { refusal } = inspectDecoder(model);
  if (refusal !== undefined) expect(refusal.length).toBeGreaterThan(20);
  rewriteDecoder(withLogitsToKeep(model));
}

async function everyWay(bytes: Uint8Array): Promise<void> {
  await guarded(() => lookAt(parseModel(bytes)));
  await guarded(async () => lookAt(await readSkeleton(bytesSource(bytes), 'model.onnx')));
}

/** Lets the errors pass that say what is wrong, in time and without much memory. */
async function guarded(action: () => unknown): Promise<void> {
  const start = performance.now();
  try {
    await action();
  } catch (error) {
    if (!(error instanceof ElasticCacheError)) throw error;
    expect(error.message.length).toBeGreaterThan(20);
  }
  expect(performance.now() - start).toBeLessThan(LONGEST_MS);
  expect(process.memoryUsage().rss).toBeLessThan(MOST_BYTES);
}

/** An If in an If in an If, `deep` times: graph 7, node 1, attribute 5, graph 6. */
function nested(deep: number): Uint8Array {
  let bytes = new Uint8Array(2000);
  bytes.set([0x12, 0xcd, 0x0f]);
  for (let i = 0; i < deep; i++) for (const tag of [0x0a, 0x2a, 0x32]) bytes = wrapped(tag, bytes);
  return wrapped(0x3a, bytes);
}

function wrapped(tag: number, bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const length: number[] = [];
  for (let rest = bytes.length; ; rest = Math.floor(rest / 128)) {
    length.push(rest < 128 ? rest : (rest % 128) + 128);
    if (rest < 128) break;
  }
  const whole = new Uint8Array(1 + length.length + bytes.length);
  whole.set([tag, ...length]);
  whole.set(bytes, 1 + length.length);
  return whole;
}
