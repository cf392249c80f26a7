import type { PromptEdit, PromptView, SequencePolicy } from '../cache/policy.js';
import { keepAll } from '../cache/policy.js';
import type { Evictor } from './evictors.js';
import { LayerBudgets } from './layer-budgets.js';

/** One layer of a prompt with its tokens put in order. */
export interface RankedPrompt extends PromptView {
  /** [tokens] what tokens are ranked by */
  readonly scores: Float64Array;
  /** [tokens] tokens in the order in which they are kept; those that do not fit in any order. Worked out when first asked for. */
  readonly ranked: () => Int32Array;
}

/** The steps of a method that ranks the tokens of a prompt, keeps the first of them, and removes one entry after another while decoding. */
export interface Method {
  /** Entries that every layer keeps in any case. */
  readonly minimum: number;
  rank(prompts: readonly PromptView[]): RankedPrompt[];
  /** [layers] how many entries each layer holds of a prompt that does not fit; their mean is what is allowed. */
  entries(prompts: readonly RankedPrompt[]): Int32Array;
  /** What becomes of the tokens that are not kept; dropped without it. */
  merge?(prompt: RankedPrompt, keep: Int32Array): PromptEdit;
  evictor(prompt: RankedPrompt, keep: Int32Array): Evictor;
  /** What it makes of the keys that come after the prompt, if anything. */
  added?: SequencePolicy['added'];
}

/** One sequence under such a method. */
export function compressedPrompt(method: Method): SequencePolicy {
  let budgets: LayerBudgets;
  let evictors: Evictor[];
  return {
    prefill(views) {
      const { tokens, allowed } = views[0]!;
      const prompts = method.rank(views);
      const whole = tokens <= allowed.entries;
      const entries = whole ? prompts.map(() => tokens) : method.entries(prompts);
      const edits = prompts.map((prompt, layer) => {
        if (whole) return keepAll(tokens);
        const keep = prompt.ranked().slice(0, entries[layer]!).sort();
        return method.merge?.(prompt, keep) ?? { keep };
      });
      budgets = new LayerBudgets(Int32Array.from(entries), tokens, method.minimum);
      evictors = edits.map(({ keep }, layer) => method.evictor(prompts[layer]!, keep));
      return edits;
    },
    evict(entries, allowed, layer) {
      const held = budgets.of(layer, entries.seen, allowed.entries);
      return entries.length > held ? evictors[layer]!(entries, held) : -1;
    },
    ...(method.added && { added: method.added }),
  };
}
