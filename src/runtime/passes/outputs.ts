import type { Tensor } from '#platform/ort.js';
import { type DecoderSignature, contractNames as names } from '../../graph/decoder.js';
import type { Batch } from '../../memory/lane-pool.js';
import type { LayerRows } from '../../memory/shape.js';
import type { Fetches } from '../../platform/ort.js';
import { byHead, withoutFirst } from '../tensors.js';
import type { Pass } from './feeds.js';

type Signature = Pick<DecoderSignature, 'layers'>;
type Outputs = Readonly<Record<string, Tensor>>;

/** The output that a pass says what rows received in. */
function receivedIn({ policy }: Batch): (layer: number) => string {
  return policy.peak ? names.peak : names.attention;
}

/** Outputs that a pass wants, and those that are written to memory which was given for it. */
export function fetchesOf(
  { layers }: Signature,
  cache: Batch,
  { logits, observed }: Pass,
  bound: Outputs,
): Fetches {
  const wanted: string[] = logits === 'none' ? [] : [names.logits];
  for (const { index } of layers) {
    wanted.push(names.newKey(index), names.newValue(index));
    if (observed > 0) wanted.push(receivedIn(cache)(index));
  }
  if (Object.keys(bound).length === 0) return wanted;
  return { ...Object.fromEntries(wanted.map((name) => [name, null])), ...bound };
}

/** New rows of each layer and, where it was asked for, what rows received: those that were held, then the new ones. */
export function layerRows(
  { layers }: Signature,
  cache: Batch,
  { newTokens, observed, row }: Pass,
  outputs: Outputs,
  bound: Outputs,
): LayerRows[] {
  const [batch, tokens] = newTokens.dims as [number, number];
  const floats = (name: string) => outputs[name]!.data as Float32Array;
  return layers.map(({ index, kvHeads, inPlace }) => {
    const rows = (name: string) => (inPlace ? byHead(floats(name), batch, tokens, kvHeads) : floats(name));
    const received = () => {
      const given = floats(receivedIn(cache)(index));
      if (bound[names.presentKey(index)]) return newBehind(given, kvHeads, cache.held(index));
      // More came than was there: an empty row was fed.
      const fed = given.length / (batch * kvHeads) - tokens;
      return withoutFirst(given, batch * kvHeads, fed - cache.past(index, row).capacity);
    };
    return {
      keys: rows(names.newKey(index)),
      values: rows(names.newValue(index)),
      ...(observed > 0 ? { attention: received() } : {}),
    };
  });
}

/** What rows received where the new token's row is at `held`, [heads, capacity], with the new token's behind the others as well: [heads, capacity + 1]. */
function newBehind(attention: Float32Array, heads: number, held: number): Float32Array {
  const capacity = attention.length / heads;
  const given = new Float32Array(heads * (capacity + 1));
  for (let head = 0; head < heads; head++) {
    const own = attention.subarray(head * capacity, (head + 1) * capacity);
    given.set(own, head * (capacity + 1));
    given[head * (capacity + 1) + capacity] = own[held]!;
  }
  return given;
}
