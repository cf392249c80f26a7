import { InferenceSession } from '#platform/ort.js';
import { median } from '../../src/eval/intervals.js';

/** What one call took. */
interface Reading {
  readonly ms: number;
  /** Of all threads: less than wall time tells where other programs wait for the same cores. */
  readonly cpuMs: number;
  /** Outside ONNX Runtime: TypeScript, and what is allocated and collected for it. */
  readonly outsideMs: number;
}

/** Medians of several calls. */
export type Measured = Reading;

let inside = 0;
const { prototype } = InferenceSession as unknown as { prototype: InferenceSession };
const { run } = prototype;
prototype.run = async function timedRun(...given) {
  const start = performance.now();
  try {
    return await run.apply(this, given);
  } finally {
    inside += performance.now() - start;
  }
};

/** One way to do something; each call does it once. */
export type Contender = () => Promise<unknown>;

/**
 * What each contender takes: they take turns, so that whatever disturbs the machine disturbs all of them; medians are reported.
 * @param calls in a turn; those before the last `counted` pay for what the contender before left to be collected
 */
export async function interleaved(
  contenders: Readonly<Record<string, Contender>>,
  rounds: number,
  { calls = 1, counted = calls }: { calls?: number; counted?: number } = {},
): Promise<Record<string, Measured>> {
  const readings = new Map(Object.keys(contenders).map((name) => [name, [] as Reading[]]));
  for (let round = -1; round < rounds; round++) {
    for (const [name, contender] of Object.entries(contenders)) {
      for (let call = 0; call < calls; call++) {
        const reading = await timed(contender);
        if (round >= 0 && call >= calls - counted) readings.get(name)!.push(reading);
      }
    }
  }
  const middle = (all: readonly Reading[], of: keyof Reading) => median(all.map((reading) => reading[of]));
  return Object.fromEntries(
    [...readings].map(([name, all]) => [
      name,
      { ms: middle(all, 'ms'), cpuMs: middle(all, 'cpuMs'), outsideMs: middle(all, 'outsideMs') },
    ]),
  );
}

async function timed(contender: Contender): Promise<Reading> {
  const before = inside;
  const cpu = process.cpuUsage();
  const start = performance.now();
  await contender();
  const ms = performance.now() - start;
  const { user, system } = process.cpuUsage(cpu);
  return { ms, cpuMs: (user + system) / 1000, outsideMs: ms - (inside - before) };
}
