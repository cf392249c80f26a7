import type { OnTensor } from './passes.js';

export interface ConvertProgress {
  /** Everything is written once, and then held against the checkpoint. */
  readonly stage: 'writing' | 'verifying';
  /** The data file of the tensor. */
  readonly file: string;
  /** What was just done. */
  readonly tensor: string;
  /** Bytes of the result that were written or verified so far, by an earlier run that was interrupted as well. */
  readonly bytes: number;
  /** `bytes` at the end: twice the size of the result. */
  readonly total: number;
  /** By the pace of this run; undefined before it has one. */
  readonly secondsLeft: number | undefined;
}

/** How far a conversion is. */
export class ProgressMeter {
  private readonly start = performance.now();
  private bytes = 0;
  private earlier = 0;

  /** @param size bytes of the result */
  constructor(
    private readonly size: number,
    private readonly onProgress: ((progress: ConvertProgress) => void) | undefined,
  ) {}

  /** What a pass tells of its tensors. */
  of(stage: ConvertProgress['stage']): OnTensor {
    return ({ file, tensor, length }, earlier) => {
      this.bytes += length;
      if (earlier) this.earlier += length;
      const total = 2 * this.size;
      const own = this.bytes - this.earlier;
      const seconds = (performance.now() - this.start) / 1000;
      const secondsLeft = own > 0 ? (seconds / own) * (total - this.bytes) : undefined;
      this.onProgress?.({ stage, file, tensor, bytes: this.bytes, total, secondsLeft });
    };
  }
}
