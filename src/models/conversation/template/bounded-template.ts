import { withinTime } from '#platform/template-time.js';
import { ElasticCacheError, reasonOf } from '../../../errors.js';

/** Milliseconds that a template may take: those there are take a few. */
const MOST_TIME = 5000;
/** Elements that a template may ask a `range` for, which the library makes all at once. */
const MOST_ELEMENTS = 100_000;

/**
 * Renders a chat template, which comes with a model and is a program: one with an endless loop is ended, where there is a way to end it.
 * @param render renders the template that it is given, with the variables beside its own
 * @throws ElasticCacheError 'invalid-model' where it takes too long or too much; what `render` throws, as it is
 */
export function boundedly(
  template: string,
  render: (template: string, variables: Record<string, unknown>) => string,
): string {
  const text = withinTime(MOST_TIME, () => render(withOwnRange(template), { [OWN_RANGE]: range }));
  if (text !== undefined) return text;
  throw new ElasticCacheError(
    'invalid-model',
    `The model's chat template does not come to an end (${MOST_TIME / 1000} seconds); fetch it again from a source that you trust.`,
  );
}

const OWN_RANGE = 'bounded_range';

/** A template of its own has the library's functions, and none can be put in their place: so what it calls has another name. */
function withOwnRange(template: string): string {
  return template.replaceAll(/\{[{%][\s\S]*?[}%]\}/g, (block) =>
    block.replaceAll(/(?<![.\w'"])range(?![\w'"])/g, OWN_RANGE),
  );
}

/** Jinja's `range`. */
function range(start: number, stop?: number, step = 1): number[] {
  const [first, end] = stop === undefined ? [0, start] : [start, stop];
  const count = Math.max(0, Math.ceil((end - first) / step));
  if (!(count <= MOST_ELEMENTS)) {
    throw new ElasticCacheError(
      'invalid-model',
      `The model's chat template asks for a range of ${count} numbers; fetch it again from a source that you trust.`,
    );
  }
  return Array.from({ length: count }, (_, index) => first + index * step);
}

/** What went wrong with a template, for people. */
export function templateFailed(cause: unknown): ElasticCacheError {
  if (cause instanceof ElasticCacheError) return cause;
  return new ElasticCacheError(
    'invalid-model',
    `The model's chat template cannot be rendered (${reasonOf(cause).split('\n', 1)[0]}); fetch its tokenizer_config.json or chat_template file again.`,
    { cause },
  );
}
