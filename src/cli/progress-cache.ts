import { ElasticCache, type ElasticCacheOptions } from '../elastic-cache.js';

/** An ElasticCache that tells how many tokens it has seen after each part of a turn: how far a long prompt has been read. */
export class ProgressCache extends ElasticCache {
  constructor(
    options: ElasticCacheOptions,
    private readonly onSeen: (tokens: number) => void,
  ) {
    super(options);
  }

  override appendTurn(...rows: Parameters<ElasticCache['appendTurn']>): void | Promise<void> {
    const complete = super.appendTurn(...rows);
    this.onSeen(this.seen + this.reading);
    return complete;
  }
}
