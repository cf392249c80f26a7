import { readFile } from 'node:fs/promises';
import type { InferenceSession } from '#platform/ort.js';
import type { DecoderSignature, Target } from '../../src/graph/decoder.js';
import { GraphBuilder, shapeOf } from '../../src/graph/onnx/builder.js';
import { cloneModel, DataType, graphOf, type Model, parseModel } from '../../src/graph/onnx/onnx.js';
import { type RewriteReport, rewriteDecoder } from '../../src/graph/rewrite.js';
import { withLogitsToKeep } from '../../src/graph/rewriting/logits-to-keep.js';
import { elastic } from '../../src/policies/elastic.js';
import { CachedRun, OriginalRun, openModel, RewrittenRun, type Step } from './decoder-runs.js';
import { gaussian } from './gqa-decoder.js';

const FOLDER = new URL('./fixtures/', import.meta.url);

/** A decoder that an exporter made; the recipe lies beside it. */
export async function fixture(name: string): Promise<Model> {
  return parseModel(await readFile(new URL(`${name}.onnx`, FOLDER)));
}

export interface Passes {
  /** New tokens of each pass of the rewritten decoder. */
  chunks: readonly number[];
  /** New tokens of each pass of the original, when it cannot run those. */
  originalChunks?: readonly number[];
}

/** A decoder in plain ONNX Runtime and rewritten. Sessions take longer to open than to run: open once, run several times. */
export class BothDecoders {
  private constructor(
    readonly decoder: DecoderSignature,
    readonly report: RewriteReport,
    private readonly original: InferenceSession,
    private readonly rewritten: InferenceSession,
    private readonly hidden: number,
    private readonly half: boolean,
  ) {}

  /** How layers that can write in place do, if they do. */
  inPlace: 'even' | 'packed' | undefined;

  /** @param half whether the graph's inputs and outputs are float16 */
  static async open(model: Model, half = false, target: Target = 'host'): Promise<BothDecoders> {
    const { model: rewritten, decoder, report } = rewriteDecoder(withLogitsToKeep(model), { target });
    const original = await openModel(withProbabilities(model, decoder));
    return new BothDecoders(decoder, report, original, await openModel(rewritten), hiddenSize(model), half);
  }

  /** Runs both over the same random tokens. Logits of all passes follow each other. */
  async run({ chunks, originalChunks = chunks }: Passes) {
    const total = chunks.reduce((sum, tokens) => sum + tokens, 0);
    const { decoder, hidden, half } = this;
    const embeds = Float32Array.from({ length: total * hidden }, gaussian(7));
    const run = async (decoder: OriginalRun | RewrittenRun, passes: readonly number[]) => {
      const steps: Step[] = [];
      let seen = 0;
      for (const tokens of passes) {
        steps.push(await decoder.step(embeds.slice(seen * hidden, (seen + tokens) * hidden)));
        seen += tokens;
      }
      return { logits: Float32Array.from(steps.flatMap(({ logits }) => [...logits])), steps };
    };
    return {
      expected: await run(new OriginalRun(this.original, decoder, hidden, half), originalChunks),
      actual: await run(new RewrittenRun(this.rewritten, decoder, hidden, half, this.inPlace), chunks),
    };
  }

  /**
   * Runs a prompt and then single tokens over the library's cache, which keeps a part of them.
   * @returns how many entries each layer holds after each pass
   */
  async held({ prompt, decoded, budget }: { prompt: number; decoded: number; budget: number }) {
    const { decoder, hidden, half } = this;
    const run = new CachedRun(this.rewritten, decoder, { policy: elastic(), budget }, hidden, 8, half);
    const random = gaussian(7);
    const held: number[][] = [];
    for (const tokens of [prompt, ...new Array<number>(decoded).fill(1)]) {
      const logits = await run.step(Float32Array.from({ length: tokens * hidden }, random));
      if (!logits.every(Number.isFinite)) throw new Error('the logits are not finite');
      held.push(decoder.layers.map(({ index }) => run.cache.held(index)));
    }
    return held;
  }

  async release(): Promise<void> {
    await this.original.release();
    await this.rewritten.release();
  }
}

/** The width of the embeddings that a decoder takes. */
function hiddenSize(model: Model): number {
  const input = graphOf(model).input.find(({ name }) => name === 'inputs_embeds');
  const width = input && shapeOf(input)?.[2];
  if (typeof width !== 'number') throw new Error('the decoder does not declare the width of its embeddings');
  return width;
}

/** Runs the original and the rewritten decoder over the same random tokens. */
export async function runBoth(model: Model, passes: Passes) {
  const both = await BothDecoders.open(model);
  const { decoder, report } = both;
  const results = { ...(await both.run(passes)), decoder, report };
  await both.release();
  return results;
}

/**
 * The model with what its softmaxes give as outputs probabilities.i, an oracle for the attention of the rewritten one; as it is
 * where it has not one for each layer.
 */
function withProbabilities(original: Model, { layers }: DecoderSignature): Model {
  const model = cloneModel(original);
  const graph = graphOf(model);
  const builder = new GraphBuilder(model);
  const softmaxes = graph.node.filter(({ opType }) => opType === 'Softmax');
  if (softmaxes.length !== layers.length) return model;
  softmaxes.forEach((node, i) => {
    const cast = builder.op('Cast', [node.output[0]], {
      attributes: { to: DataType.FLOAT },
      outputs: [`probabilities.${i}`],
    });
    builder.output(cast, DataType.FLOAT, ['batch_size', 'heads', 'sequence_length', 'total_sequence_length']);
  });
  return model;
}

export function largestDifference(a: Float32Array, b: Float32Array): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  return a.reduce((largest, value, i) => {
    const difference = Math.abs(value - b[i]!);
    return Number.isNaN(difference) ? Number.POSITIVE_INFINITY : Math.max(largest, difference);
  }, 0);
}
