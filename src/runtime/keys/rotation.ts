import { ElasticCacheError } from '../../errors.js';
import type { KeyRotation } from '../../memory/turns/rotation.js';
import { KeyTurn } from '../../memory/turns/rotation.js';

/** Positions at which a key is looked at: each frequency is made more exact by the next, then checked at others. */
const LADDER = [1, 16, 128] as const;
const CHECKS = [37, 101] as const;
/** How far a predicted key may be from the real one, as a part of its length. */
const TOLERANCE = 1e-3;

/** The key of one and the same token at a position, for each layer: [layers] of [kvHeads, headDim]. */
export type KeysAt = (position: number) => Promise<Float32Array[]>;

/**
 * How each layer rotates its keys by position, measured: a token without a past has the same key at every position but for its rotation, whatever
 * nodes an exporter wrote that with. The frequencies found must foretell the keys at other positions.
 * @throws ElasticCacheError 'unsupported-model' when keys are not rotated by position
 */
export async function measureKeyRotations(keysAt: KeysAt, headDim: number): Promise<KeyRotation[]> {
  const origin = await keysAt(0);
  const keys = new Map<number, Float32Array[]>();
  for (const position of [...LADDER, ...CHECKS]) keys.set(position, await keysAt(position));
  return origin.map((at0, layer) => {
    const at = (position: number) => keys.get(position)![layer]!;
    for (let width = headDim; width > 0; width -= 2) {
      for (const interleaved of [false, true]) {
        const rotation = fitted(at0, at, headDim, width, interleaved);
        if (CHECKS.every((position) => foretells(rotation, at0, at(position), position, headDim)))
          return rotation;
      }
    }
    throw new ElasticCacheError(
      'unsupported-model',
      `Keys of layer ${layer} are not rotated by their position, so they cannot be turned to another; use mergedKeys "stored".`,
    );
  });
}

function fitted(
  at0: Float32Array,
  at: (position: number) => Float32Array,
  headDim: number,
  width: number,
  interleaved: boolean,
): KeyRotation {
  const frequencies = Float64Array.from({ length: width / 2 }, (_, pair) => {
    const first = interleaved ? 2 * pair : pair;
    const second = interleaved ? first + 1 : pair + width / 2;
    let frequency = 0;
    for (const position of LADDER) {
      const angle = angleBetween(at0, at(position), headDim, first, second);
      const turns = Math.round((frequency * position - angle) / (2 * Math.PI));
      frequency = (angle + 2 * Math.PI * turns) / position;
    }
    return frequency;
  });
  return { frequencies, interleaved };
}

/** By how much one pair of numbers is turned from one key to the other, over all heads. */
function angleBetween(
  from: Float32Array,
  to: Float32Array,
  headDim: number,
  first: number,
  second: number,
): number {
  let cos = 0;
  let sin = 0;
  for (let head = 0; head < from.length; head += headDim) {
    const [x, y] = [from[head + first]!, from[head + second]!];
    const [u, v] = [to[head + first]!, to[head + second]!];
    cos += x * u + y * v;
    sin += x * v - y * u;
  }
  return Math.atan2(sin, cos);
}

function foretells(
  rotation: KeyRotation,
  from: Float32Array,
  to: Float32Array,
  positions: number,
  headDim: number,
): boolean {
  const turn = new KeyTurn(rotation, positions);
  let wrong = 0;
  let length = 0;
  for (let head = 0; head < from.length; head += headDim) {
    turn.turned(from.subarray(head, head + headDim)).forEach((value, i) => {
      wrong += (value - to[head + i]!) ** 2;
      length += to[head + i]! ** 2;
    });
  }
  return wrong <= TOLERANCE ** 2 * length;
}
