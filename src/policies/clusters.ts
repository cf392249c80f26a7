import type { TurnEdit } from '../cache/policy.js';
import { similarity } from '../cache/similarity.js';
import type { RankedTurn } from './ranked-tokens.js';
import { range } from './ranking.js';

/** Centres, and rounds of k-means: enough for them to stand still on a prompt. */
const CENTRES = 10;
const ROUNDS = 8;

/**
 * What is not kept is clustered by its keys into ten centres, each the mean of its cluster (Elastic Cache, table 3b). Ten of the entries allowed are centres: each is held
 * in the row of the member that is most like it. Keys are told apart by their sketch of all layers. K-means begins with candidates spread evenly, so that it ends the same each time.
 * @param count entries to keep, centres among them
 * @param minimum entries that are kept in any case
 */
export function clustered(turn: RankedTurn, count: number, minimum: number): TurnEdit {
  const { tokens } = turn;
  const centres = Math.min(CENTRES, count - minimum);
  const order = turn.ranked();
  const anchors = order.slice(0, count - centres).sort();
  if (centres <= 0) return { keep: anchors };
  const kept = new Set(anchors);
  const rest = range(0, tokens).filter((candidate) => !kept.has(candidate));
  const keys = Array.from(rest, (candidate) => turn.keys!(candidate));
  const clusters = kMeans(keys, centres);
  const hosts = clusters.map((members) => rest[members[0]!]!);
  const merged = clusters.flatMap(([host, ...others]) =>
    others.map((member) => [rest[member]!, rest[host!]!] as const),
  );
  merged.sort(([a], [b]) => a - b);
  return {
    keep: Int32Array.from([...anchors, ...hosts]).sort(),
    from: Int32Array.from(merged, ([from]) => from),
    into: Int32Array.from(merged, ([, into]) => into),
  };
}

/** Members of each cluster, the one that is most like its centre first; none is empty. `count` is at most the number of keys. */
function kMeans(keys: readonly Float32Array[], count: number): number[][] {
  let centres = Array.from(
    { length: count },
    (_, centre) => keys[Math.floor((centre * keys.length) / count)]!,
  );
  let clusters: number[][] = [];
  for (let round = 0; round < ROUNDS; round++) {
    clusters = assigned(keys, centres);
    centres = clusters.map((members, centre) =>
      members.length > 0 ? meanOf(keys, members) : centres[centre]!,
    );
  }
  for (const [centre, members] of clusters.entries()) {
    members.sort(
      (a, b) => similarity(keys[b]!, centres[centre]!) - similarity(keys[a]!, centres[centre]!) || a - b,
    );
  }
  // A budget is held exactly: an empty cluster takes the member that is least like its centre from the largest.
  for (const members of clusters) {
    if (members.length > 0) continue;
    const largest = clusters.reduce((most, each) => (each.length > most.length ? each : most));
    members.push(largest.pop()!);
  }
  return clusters;
}

/** Each key with the centre that it is most like, of equal ones the first. */
function assigned(keys: readonly Float32Array[], centres: readonly Float32Array[]): number[][] {
  const clusters = centres.map((): number[] => []);
  keys.forEach((key, index) => {
    let best = 0;
    let most = Number.NEGATIVE_INFINITY;
    centres.forEach((centre, place) => {
      const cosine = similarity(key, centre);
      if (cosine > most) [most, best] = [cosine, place];
    });
    clusters[best]!.push(index);
  });
  return clusters;
}

/** The direction of the mean of some keys. */
function meanOf(keys: readonly Float32Array[], members: readonly number[]): Float32Array {
  const mean = new Float32Array(keys[0]!.length);
  for (const member of members) for (let i = 0; i < mean.length; i++) mean[i]! += keys[member]![i]!;
  const length = Math.hypot(...mean);
  return length > 0 ? mean.map((value) => value / length) : mean;
}
