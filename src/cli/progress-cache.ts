import { ElasticCache, type ElasticCacheOptions } from '../elastic-cache.js';

/** An ElasticCache that tells how many tokens it has seen after each append: how far a long prompt has been read. */
export class ProgressCache extends ElasticCache {
  constructor(
    options: ElasticCacheOptions,
    private readonly onSeen: (tokens: number) => void,
  ) {
    super(options);
  }

  override appendSlots(...rows: Parameters<ElasticCache['appendSlots']>): void {
    super.appendSlots(...rows);
    this.onSeen(this.seen);
  }
}
