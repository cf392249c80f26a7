import type { CachePolicy, PolicyState, SequencePolicy, TurnEdit, TurnView } from '../cache/policy.js';
import { headsMayDiffer, keepAll } from '../cache/policy.js';
import type { Evictor } from './evictors.js';
import { LayerBudgets } from './layer-budgets.js';
import type { RankedTurn } from './ranked-tokens.js';

/** The steps of a method that ranks the candidates of a turn, keeps the first of them, and removes one entry after another while decoding. */
export interface Method {
  /** Entries that every layer keeps in any case. */
  readonly minimum: number;
  /** [layers] of [heads], or of one where they share their choice */
  rank(layers: readonly (readonly TurnView[])[]): RankedTurn[][];
  /** How the policy says that heads choose. */
  readonly heads?: CachePolicy['heads'];
  /**
   * [parts] how many entries of a turn that does not fit each part holds, in each of its heads; their mean is what is allowed.
   * @param parts of [heads]: the layers, or each head of each layer by itself
   * @param layers how many, each of as many parts
   */
  entries(parts: readonly (readonly RankedTurn[])[], layers: number): Int32Array;
  /** What becomes of the candidates that are not kept; dropped without it. */
  merge?(turn: RankedTurn, keep: Int32Array): TurnEdit;
  /** @param saved what the evictor of the same choice saved */
  evictor(saved: PolicyState): Evictor;
  evictorAfter(turn: RankedTurn, keep: Int32Array): Evictor;
  /** What it makes of the keys that come after a turn, if anything. */
  added?: SequencePolicy['added'];
  /** What it makes of the attention of later tokens, if anything. */
  observe?: SequencePolicy['observe'];
  /** Forgets what it made of tokens at `seen` or behind it. */
  trimmed?: SequencePolicy['trimmed'];
  /** What it remembers beside the evictors. */
  save?(): PolicyState;
}

interface Saved {
  readonly [name: string]: PolicyState;
  readonly budgets: PolicyState;
  readonly evictors: readonly (readonly PolicyState[])[];
  readonly method: PolicyState;
}

/** One sequence under such a method. @param make the method, with what it saved */
export function compressedTurn(make: (saved?: PolicyState) => Method, saved?: PolicyState): SequencePolicy {
  const known = saved as Saved | null | undefined;
  const method = make(known?.method);
  let budgets = known ? LayerBudgets.from(known.budgets, method.minimum) : undefined;
  let evictors = (known?.evictors ?? []).map((heads) => heads.map((each) => method.evictor(each)));
  /** The part of what is held whose number of entries a head has. */
  const partOf = (layer: number, head: number) => {
    const heads = evictors[layer]!.length;
    return headsMayDiffer(method, heads) ? layer * heads + head : layer;
  };
  return {
    compress(views) {
      const { allowed } = views[0]![0]!;
      const layers = method.rank(views);
      const apart = headsMayDiffer(method, layers[0]!.length);
      const parts = apart ? layers.flat().map((turn) => [turn]) : layers;
      const candidates = parts.map(([first]) => first!.tokens);
      const whole = candidates.reduce((sum, count) => sum + count) <= parts.length * allowed.entries;
      const entries = whole ? Int32Array.from(candidates) : method.entries(parts, layers.length);
      const edits = layers.map((heads, layer) =>
        heads.map((turn, head) => {
          if (whole) return keepAll(turn.tokens);
          const keep = turn
            .ranked()
            .slice(0, entries[apart ? layer * heads.length + head : layer]!)
            .sort();
          return method.merge?.(turn, keep) ?? { keep };
        }),
      );
      const { positions } = layers[0]![0]!;
      budgets = new LayerBudgets(entries, positions.at(-1)! + 1, method.minimum);
      evictors = layers.map((heads, layer) =>
        heads.map((turn, head) => method.evictorAfter(turn, edits[layer]![head]!.keep)),
      );
      return edits;
    },
    evict(entries, allowed, layer, head) {
      const held = budgets!.of(partOf(layer, head), entries.seen, allowed.entries);
      return entries.length > held ? evictors[layer]![head]!.next(entries, held) : -1;
    },
    ...(method.added && { added: method.added }),
    ...(method.observe && { observe: method.observe }),
    trimmed(seen) {
      budgets?.trimmed(seen);
      method.trimmed?.(seen);
    },
    save: () =>
      budgets
        ? {
            budgets: budgets.save(),
            evictors: evictors.map((heads) => heads.map((each) => each.save())),
            method: method.save?.() ?? null,
          }
        : null,
  };
}
