import { ElasticCacheError, type ErrorCode, shown } from './errors.js';

/**
 * Refuses options that do not exist: what is mistyped would otherwise be what is not given.
 * @param where the function or class that takes them
 * @param options what was given; undefined counts as none
 * @param passes whether a name that is not known is all the same none that is mistyped; never unless given
 * @throws ElasticCacheError 'invalid-option'
 */
export function refuseUnknown(
  where: string,
  options: unknown,
  known: readonly string[],
  passes: (name: string, value: unknown) => boolean = () => false,
): void {
  if (options === undefined) return;
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw new ElasticCacheError(
      'invalid-option',
      `${where} takes its options as an object, such as { ${known[0]}: ... }; ${shown(options)} is none.`,
    );
  }
  for (const [name, value] of Object.entries(options)) {
    if (known.includes(name) || passes(name, value)) continue;
    throw unknown('invalid-option', `${where} has no option "${name}"`, name, known, 'it takes');
  }
}

/** Refuses what is no whole number, or too small. @throws ElasticCacheError 'invalid-option' */
export function checkWhole(name: string, value: unknown, least: number): void {
  if (Number.isSafeInteger(value) && (value as number) >= least) return;
  throw new ElasticCacheError(
    'invalid-option',
    `${name} is ${shown(value)}; it must be a whole number from ${least}.`,
  );
}

/**
 * What to throw for a name that is none of those there are: with the one that was meant, where one is like it.
 * @param message what is wrong, without a full stop
 * @param list what the list of all names is introduced by
 */
export function unknown(
  code: ErrorCode,
  message: string,
  name: string,
  known: readonly string[],
  list = 'choose one of',
): ElasticCacheError {
  const meant = closest(name, known);
  const isLong = known.length > LONG_LIST;
  if (meant !== undefined) {
    // Who knows what was meant need not look for it in a list of a page.
    const names = isLong ? '' : `; ${list} ${known.join(', ')}`;
    return new ElasticCacheError(code, `${message}${names}. Did you mean "${meant}"?`);
  }
  const first = isLong ? known.slice(0, FIRST_OF_LIST) : known;
  const rest = isLong ? ` and ${known.length - FIRST_OF_LIST} others` : '';
  return new ElasticCacheError(code, `${message}; ${list} ${first.join(', ')}${rest}.`);
}

const LONG_LIST = 30;
const FIRST_OF_LIST = 12;

/**
 * The known name that is a slip of the hand away; undefined where none is.
 * @param slips how many letters may differ: as many as one slips over without making another word, unless told
 */
export function closest(
  name: string,
  known: readonly string[],
  slips = Math.max(1, Math.floor(plain(name).length / 3)),
): string | undefined {
  const typed = plain(name);
  const far = known.map((each) => distance(typed, plain(each)));
  const least = Math.min(...far);
  return least <= slips ? known[far.indexOf(least)] : undefined;
}

function plain(name: string): string {
  return name.toLowerCase().replaceAll(/[-_\s]/g, '');
}

/** Letters to add, leave out, exchange or swap with the next (Damerau 1964, each place once). */
function distance(a: string, b: string): number {
  const rows = Array.from({ length: a.length + 1 }, (_, i) =>
    Array.from({ length: b.length + 1 }, (_, j) => (i === 0 ? j : j === 0 ? i : 0)),
  );
  for (let i = 1; i <= a.length; i++) {
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      let best = Math.min(rows[i - 1]![j]! + 1, rows[i]![j - 1]! + 1, rows[i - 1]![j - 1]! + same);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        best = Math.min(best, rows[i - 2]![j - 2]! + 1);
      }
      rows[i]![j] = best;
    }
  }
  return rows[a.length]![b.length]!;
}
