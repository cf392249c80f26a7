import type { CachePolicy, TurnEdit, TurnView } from '../../cache/policy.js';

/** Called once for each sequence when its prompt is complete: what the policy saw of each layer, and what it made of it. */
export type PromptWatcher = (
  views: readonly (readonly TurnView[])[],
  edits: readonly (readonly TurnEdit[])[],
) => void;

/**
 * The same policy with someone looking over its shoulder. Attention is recorded while the prompt is read even for a policy
 * that has no use for it; what it decides stays the same.
 */
export function watchPrompt(policy: CachePolicy, watcher: PromptWatcher): CachePolicy {
  return {
    ...policy,
    attention: policy.attention === 'never' ? 'turn' : policy.attention,
    begin(layers, saved) {
      const sequence = policy.begin(layers, saved);
      return {
        ...sequence,
        compress(views) {
          const edits = sequence.compress(views);
          watcher(views, edits);
          return edits;
        },
      };
    },
  };
}
