import type { CachePolicy, PromptEdit, PromptView } from '../../cache/policy.js';

/** Called once for each sequence when its prompt is complete: what the policy saw of each layer, and what it made of it. */
export type PromptWatcher = (prompts: readonly PromptView[], edits: readonly PromptEdit[]) => void;

/**
 * The same policy with someone looking over its shoulder. Attention is recorded while the prompt is read even for a policy
 * that has no use for it; what it decides stays the same.
 */
export function watchPrompt(policy: CachePolicy, watcher: PromptWatcher): CachePolicy {
  return {
    ...policy,
    attention: policy.attention === 'never' ? 'prefill' : policy.attention,
    begin(layers) {
      const sequence = policy.begin(layers);
      return {
        prefill(prompts) {
          const edits = sequence.prefill(prompts);
          watcher(prompts, edits);
          return edits;
        },
        added: (keys) => sequence.added?.(keys),
        observe: (entries, received) => sequence.observe?.(entries, received),
        evict: (entries, allowed, layer) => sequence.evict(entries, allowed, layer),
      };
    },
  };
}
