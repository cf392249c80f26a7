import { InferenceSession, type SessionOptions, Tensor } from '#platform/ort.js';
import { serializeModel } from '../../graph/onnx/onnx.js';
import { similarKeys as names, similarKeysModel } from '../../graph/similar-keys.js';
import type { FindSimilar, SimilarKeys } from '../../memory/rows/most-similar.js';

/** Cosines that are held at once, at the most: 16 MB. */
const COSINES = 4 << 20;

/** Finds by ONNX Runtime whose keys are alike: at a prompt of 1,000 tokens some thirty times as fast as a loop. */
export class SimilarKeyFinder {
  private session: Promise<InferenceSession> | undefined;

  /** @param options of the session, which is opened when it is first needed */
  constructor(private readonly options: SessionOptions = {}) {}

  readonly find: FindSimilar = async ({ keys, headDim, from, anchors }: SimilarKeys) => {
    this.session ??= InferenceSession.create(serializeModel(similarKeysModel()), this.options);
    const session = await this.session;
    const heads = keys();
    const rows = (candidates: Int32Array) =>
      new Tensor('float32', gathered(heads, headDim, candidates), [heads.length, candidates.length, headDim]);
    const others = rows(anchors);
    const found = new Int32Array(from.length);
    const most = Math.max(1, Math.floor(COSINES / (heads.length * anchors.length)));
    for (let start = 0; start < from.length; start += most) {
      const own = rows(from.subarray(start, start + most));
      const outputs = await session.run({ [names.own]: own, [names.anchors]: others });
      found.set(outputs[names.found]!.data as Int32Array, start);
    }
    return found.map((anchor) => anchors[anchor]!);
  };

  /** Frees its memory. */
  async release(): Promise<void> {
    await (await this.session)?.release();
  }
}

/** [heads, candidates, headDim] some rows of each head. */
function gathered(
  heads: readonly Float32Array[],
  headDim: number,
  candidates: Int32Array,
): Float32Array<ArrayBuffer> {
  const rows = new Float32Array(heads.length * candidates.length * headDim);
  let at = 0;
  for (const numbers of heads) {
    for (const candidate of candidates) {
      rows.set(numbers.subarray(candidate * headDim, (candidate + 1) * headDim), at);
      at += headDim;
    }
  }
  return rows;
}
