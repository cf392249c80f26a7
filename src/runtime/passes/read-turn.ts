import type { Tensor } from '#platform/ort.js';
import { piecesOf } from '../../cache/parts.js';
import { refuseAborted } from '../../errors.js';
import type { KVCache } from '../../memory/kv-cache.js';
import { concatSequence, sliceSequence } from '../tensors.js';
import type { Pass } from './feeds.js';
import { type DecoderInput, shifted } from './new-tokens.js';
import { readAgain } from './read-again.js';
import type { Reader } from './reader.js';
import { refuseTooLong } from './refused-steps.js';

/** Reads a turn of one sequence, pass by pass: others may run between two. Returns the logits that are asked for. @throws ElasticCacheError as `Decoder.run` */
export async function* readTurn(
  decoder: Reader,
  cache: KVCache,
  row: number,
  input: DecoderInput,
): AsyncGenerator<void, Tensor> {
  const { newTokens, positionIds, logits } = input;
  const length = newTokens.dims[1]!;
  refuseTooLong(cache.seenBy(row) + length, decoder.signature);
  const kept: Tensor[] = [];
  for (const { tokens, ahead } of piecesOf(length, decoder.peak === 'bounded' ? decoder.chunk : undefined)) {
    const end = length - ahead;
    const piece = {
      ...input,
      newTokens: sliceSequence(newTokens, 1, end - tokens, end),
      positionIds: sliceSequence(positionIds, positionIds.dims.length - 1, end - tokens, end),
    };
    const wanted = logits === 'last' && ahead > 0 ? 'none' : logits;
    kept.push(...(yield* readPiece(decoder, cache, row, piece, wanted, ahead)));
    if (ahead > 0) yield;
  }
  return concatSequence(kept);
}

/** Reads a turn, or a piece of one that is compressed before the tokens `ahead` are read. Returns the logits that are wanted. */
async function* readPiece(
  decoder: Reader,
  cache: KVCache,
  row: number,
  { newTokens, positionIds, signal }: DecoderInput,
  wanted: Pass['logits'],
  ahead: number,
): AsyncGenerator<void, Tensor[]> {
  const length = newTokens.dims[1]!;
  const positions = shifted(positionIds, [cache.nextPosition(row) - cache.seenBy(row)]);
  const textLength = cache.nextPosition(row) + length;
  const all: Tensor[] = [];
  const most = decoder.chunkFor(cache.past(0, row).capacity + length);
  const parts = cache.parts(length, most);
  const { reread = false } = cache.policy;
  const kept = reread ? parts : parts.slice(0, -1);
  cache.reserve(
    kept.reduce((sum, { tokens }) => sum + tokens, 0),
    kept.length,
    row,
  );
  const { find: similar } = decoder.similar;
  let start = 0;
  for (const { tokens, observed } of parts) {
    refuseAborted(signal);
    const end = start + tokens;
    const last = end === length;
    const { layers, logits } = await decoder.pass(cache, {
      newTokens: sliceSequence(newTokens, 1, start, end),
      positionIds: sliceSequence(positions, positions.dims.length - 1, start, end),
      textLength,
      observed,
      logits: wanted === 'last' && !last ? 'none' : wanted,
      row,
    });
    const turnContinues = !last || reread;
    await cache.appendTurn(layers, tokens, { turnContinues, ahead, observed, similar }, row);
    if (logits) all.push(logits);
    start = end;
    if (!last) yield;
  }
  if (reread)
    yield* readAgain(decoder, cache, { newTokens, positionIds: positions, textLength, row, ahead, signal });
  return all;
}

/** What a generator returns at its end. */
export async function ended<T>(parts: AsyncGenerator<void, T>): Promise<T> {
  for (;;) {
    const { done, value } = await parts.next();
    if (done) return value;
  }
}
