import { StoppingCriteria, StoppingCriteriaList } from '@huggingface/transformers';
import { ElasticCacheError } from '../../errors.js';
import { type Decoding, Detokenizer } from './detokenizer.js';
import { StopStrings } from './stop-strings.js';

/** What ends a `generate()` call early, beside what transformers.js knows. */
export interface Ends {
  /** Strings that end a row where one is complete; the row keeps the tokens that it is made of. */
  stop_strings?: string | readonly string[] | null | undefined;
  /** Ends the call, which then rejects. */
  signal?: AbortSignal | null | undefined;
}

/** The criteria of a call, and those that end it by its signal and by strings in its text. */
export function endedBy(
  { stop_strings, signal }: Ends,
  tokenizer: Decoding,
  given: unknown,
): StoppingCriteriaList {
  const all = new StoppingCriteriaList();
  // transformers.js takes one, an array of them, or a list.
  const criteria =
    given instanceof StoppingCriteria ? [given] : ((given ?? []) as Iterable<StoppingCriteria>);
  for (const criterion of criteria) all.push(criterion);
  if (signal) all.push(new Until((rows) => rows.map(() => signal.aborted)));
  const strings = checkStops(stop_strings ?? []);
  if (strings.length > 0) all.push(new Until(stringsIn(strings, tokenizer)));
  return all;
}

/** @throws ElasticCacheError 'invalid-option' for one that is empty or none */
export function checkStops(stop: string | readonly string[]): readonly string[] {
  const stops: readonly string[] = Array.isArray(stop) ? stop : [stop];
  if (stops.every((each) => typeof each === 'string' && each !== '')) return stops;
  throw new ElasticCacheError(
    'invalid-option',
    'a stop string is empty or no text; give one character at least.',
  );
}

/** Ends rows of tokens by whatever `ended` says, asked after each new token. */
export class Until extends StoppingCriteria {
  constructor(private readonly ended: (rows: readonly bigint[][]) => boolean[]) {
    super();
  }

  override _call(rows: unknown): boolean[] {
    return this.ended(rows as bigint[][]);
  }
}

function stringsIn(
  strings: readonly string[],
  tokenizer: Decoding,
): (rows: readonly bigint[][]) => boolean[] {
  const readers: { reader: Detokenizer; stops: StopStrings }[] = [];
  return (rows) =>
    rows.map((row, index) => {
      readers[index] ??= { reader: new Detokenizer(tokenizer), stops: new StopStrings(strings) };
      const { reader, stops } = readers[index];
      stops.push(reader.push(Number(row.at(-1))));
      return stops.found !== undefined;
    });
}
