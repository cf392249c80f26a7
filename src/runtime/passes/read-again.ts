import type { Tensor } from '#platform/ort.js';
import { partsAgain } from '../../cache/parts.js';
import { ElasticCacheError, refuseAborted } from '../../errors.js';
import type { KVCache } from '../../memory/kv-cache.js';
import { sliceSequence } from '../tensors.js';
import type { Pass } from './feeds.js';
import { type DecoderInput, shifted } from './new-tokens.js';
import type { Reader } from './reader.js';

/** A turn that was read, whose parts are all held. */
interface ReadTurn extends Pick<Pass, 'newTokens' | 'positionIds' | 'textLength'> {
  readonly row: number;
  /** Tokens of the same turn that follow after it is compressed. */
  readonly ahead: number;
  readonly signal: DecoderInput['signal'];
}

/**
 * Reads the tokens of a turn once more, for what they attend to, and completes it. Each part is read as if it stood right behind the turn: it attends to that, and to no other part that is
 * read again. Where the model takes no text that long, a part is read where it stood the first time.
 * @throws ElasticCacheError as `Decoder.run`
 */
export async function* readAgain(
  decoder: Reader,
  cache: KVCache,
  { newTokens, positionIds, textLength, row, ahead, signal }: ReadTurn,
): AsyncGenerator<void, void> {
  const length = newTokens.dims[1]!;
  const { find: similar } = decoder.similar;
  const behind = Math.max(...bounds(positionIds)) + 1;
  const most = decoder.chunkFor(cache.past(0, row).capacity + length);
  let start = 0;
  for (const { tokens, observed } of partsAgain(length, most)) {
    yield;
    refuseAborted(signal);
    const end = start + tokens;
    const own = sliceSequence(positionIds, positionIds.dims.length - 1, start, end);
    const pass = { newTokens: sliceSequence(newTokens, 1, start, end), textLength, observed, row };
    const at = (positions: Tensor) =>
      decoder.pass(cache, { ...pass, positionIds: positions, logits: 'none' });
    const { layers } = await at(shifted(own, [behind - bounds(own)[0]])).catch((cause: unknown) => {
      if (cause instanceof ElasticCacheError && cause.code === 'context-full') return at(own);
      throw cause;
    });
    await cache.appendTurn(layers, tokens, { again: true, turnContinues: end < length, ahead, similar }, row);
    start = end;
  }
}

/** The smallest and the largest of some positions. */
function bounds({ data }: Tensor): [least: number, most: number] {
  let [least, most] = [Number.POSITIVE_INFINITY, -1];
  for (const position of data as BigInt64Array) {
    least = Math.min(least, Number(position));
    most = Math.max(most, Number(position));
  }
  return [least, most];
}
