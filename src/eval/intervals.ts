import { Random } from '../random.js';

/** An estimate with the 95% interval around it; none (`low` and `high` null) from a single sample. */
export interface Estimate {
  readonly value: number;
  readonly low: number | null;
  readonly high: number | null;
}

const RESAMPLES = 2000;
/** Quantile of the normal distribution for 95% in the middle. */
const Z = 1.959964;

/**
 * A statistic over samples with its percentile bootstrap interval (Efron 1979): the samples are drawn again with replacement,
 * 2,000 times, always the same way.
 */
export function bootstrap<T>(samples: readonly T[], statistic: (samples: readonly T[]) => number): Estimate {
  const value = statistic(samples);
  if (samples.length < 2) return { value, low: null, high: null };
  const random = new Random(samples.length, 5);
  const draws = Float64Array.from({ length: RESAMPLES }, () =>
    statistic(Array.from(samples, () => random.pick(samples))),
  )
    // A ratio has no value in a draw where what it is of is nothing.
    .filter(Number.isFinite)
    .sort();
  return { value, low: quantile(draws, 0.025), high: quantile(draws, 0.975) };
}

/** A share of yes answers with Wilson's score interval (Wilson 1927), which stays within 0 and 1 and is right for few. */
export function wilson(right: number, total: number): Estimate {
  const share = right / total;
  const spread = Z ** 2 / total;
  const middle = (share + spread / 2) / (1 + spread);
  const half = (Z * Math.sqrt((share * (1 - share)) / total + spread / (4 * total))) / (1 + spread);
  // Rounding must not leave the share itself outside: at 0 and 1 it is an end of the interval.
  return { value: share, low: right === 0 ? 0 : middle - half, high: right === total ? 1 : middle + half };
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

export function median(values: readonly number[]): number {
  return quantile(Float64Array.from(values).sort(), 0.5);
}

/** Between the two nearest of `sorted` where it falls between them. */
function quantile(sorted: Float64Array, share: number): number {
  const place = share * (sorted.length - 1);
  const below = sorted[Math.floor(place)]!;
  return below + (sorted[Math.ceil(place)]! - below) * (place - Math.floor(place));
}
