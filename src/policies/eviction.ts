import type { PolicyState, TurnView } from '../cache/policy.js';
import type { Method } from './compressed-turn.js';
import { AtPlace, fixedPointOf, HeldTurn, LeastAttended, LowestFirst, RepeatedFirst } from './evictors.js';
import type { CheckedOptions } from './options.js';
import { Repetition } from './repetition.js';

/** What a method that has the option `eviction` does while decoding. */
export interface Eviction
  extends Pick<Method, 'evictor' | 'evictorAfter' | 'added' | 'observe' | 'trimmed' | 'save'> {
  /** A turn begins to be cut: what was said before it no longer counts. @param layers [layers] of [heads] */
  restart(layers: readonly (readonly TurnView[])[]): void;
}

/** @param saved what it saved, to go on from there */
export function evictionOf(
  { eviction, startSize, distance }: Pick<CheckedOptions, 'eviction' | 'startSize' | 'distance'>,
  saved?: PolicyState,
): Eviction {
  if (eviction === 'frequency') {
    const leastAttended = new LeastAttended(startSize);
    return {
      restart() {},
      evictor: () => leastAttended,
      evictorAfter: () => leastAttended,
      observe(layers, received) {
        layers.forEach((lists, layer) => {
          lists.forEach(({ scores }, head) => {
            received[layer]![head]!.forEach((value, row) => {
              scores[row]! += value;
            });
          });
        });
      },
    };
  }
  if (eviction !== 'repetition') {
    return {
      restart() {},
      evictor: (state) => (eviction === 'fixed-point' ? AtPlace.from(state) : LowestFirst.from(state)),
      evictorAfter(turn, keep) {
        const place = fixedPointOf(keep.length, startSize, distance);
        if (eviction === 'fixed-point') return new AtPlace(place);
        return new LowestFirst(HeldTurn.of(turn, keep), place);
      },
    };
  }
  let repetition = saved ? Repetition.from(saved) : undefined;
  const repeatedFirst = (held: HeldTurn) => new RepeatedFirst(held, startSize, repetition!);
  return {
    restart(layers) {
      const [first] = layers[0]!;
      repetition = new Repetition(layers.length * layers[0]!.length, first!.positions.at(-1)! + 1);
    },
    evictor: (state) => repeatedFirst(HeldTurn.from(state)),
    evictorAfter: (turn, keep) => repeatedFirst(HeldTurn.of(turn, keep)),
    added: (key) => repetition?.add(key),
    trimmed: (seen) => repetition?.trimmed(seen),
    save: () => repetition?.save() ?? null,
  };
}
