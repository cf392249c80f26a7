import { embeddedModel } from '../../models/embedded.js';
import { readImage } from '../../models/images/read-image.js';
import { full } from '../../policies/full.js';
import { agreement, sentencesRight } from '../agreement.js';
import { readSample, type Sample } from '../bundled/samples.js';
import { loadWithProgress, type ModelOptions } from '../load.js';
import type { NamedBudget } from '../options/option-values.js';
import { policyOf } from '../options/policy-file.js';
import { ask, costLines, type Outcome } from '../results/ask.js';
import { columns, LiveBlock } from '../terminal/columns.js';
import { percent } from '../terminal/format.js';
import { Progress } from '../terminal/progress.js';

export interface DemoOptions extends ModelOptions {
  scene: number;
  budget: NamedBudget;
  policy: string;
  maxNewTokens: number;
}

/** Called with each piece of a column's text, and with what it cost when it is complete. */
interface Display {
  text(column: number, text: string): void;
  done(column: number, lines: readonly string[]): void;
  end(): void;
}

const PROMPT = 'Describe the image in detail.';
const WIDEST = 120;
/** Columns narrower than this are no easier to read than one text below the other. */
const NARROWEST = 60;

/** Describes a scene with the full cache and with a part of it, side by side where there is room. */
export async function demo(options: DemoOptions): Promise<void> {
  const sample = await readSample(options.scene);
  const images = [await readImage(sample.image)];
  const own = await policyOf(options.policy);
  const progress = new Progress();
  const loaded = await loadWithProgress(options.model ?? embeddedModel(), options, progress);
  process.stdout.write(`${sample.image}\n${PROMPT}\n\nTruth: ${sample.description}\n\n`);

  const question = { images, prompt: PROMPT };
  const runs = [
    { title: 'full cache', policy: full(), budget: { name: '1', budget: 1 } },
    {
      title: `${own.name}, budget ${options.budget.name}`,
      policy: own,
      budget: options.budget,
    },
  ];
  const display = displayFor(runs.map(({ title }) => title));
  const outcomes: Outcome[] = [];
  for (const [column, { policy, budget }] of runs.entries()) {
    const { maxNewTokens } = options;
    const onText = (text: string) => display.text(column, text);
    const outcome = await ask(loaded, question, { policy, budget, maxNewTokens, onText }, progress);
    outcomes.push(outcome);
    display.done(column, [...costLines(outcome), rightLine(outcome, sample)]);
  }
  display.end();
  const [whole, elastic] = outcomes as [Outcome, Outcome];
  process.stdout.write(`\nThe two answers agree by ${percent(agreement(elastic.text, whole.text))}.\n`);
}

function rightLine({ text }: Outcome, { description }: Sample): string {
  const { right, total } = sentencesRight(text, description);
  return `right   ${right} of ${total} sentences`;
}

function displayFor(titles: readonly string[]): Display {
  const { stdout } = process;
  const width = Math.min(stdout.columns ?? 0, WIDEST);
  return stdout.isTTY && width >= NARROWEST ? sideBySide(titles, width) : oneByOne(titles);
}

function sideBySide(titles: readonly string[], width: number): Display {
  const block = new LiveBlock(process.stdout);
  const texts = titles.map(() => '');
  const feet = titles.map(() => '');
  const drawn = () => columns(titles, texts, feet, width);
  return {
    text(column, text) {
      texts[column] += text;
      block.draw(drawn);
    },
    done(column, lines) {
      feet[column] = lines.join('\n');
      block.draw(drawn);
    },
    end: () => block.finish(drawn()),
  };
}

function oneByOne(titles: readonly string[]): Display {
  const begun = new Set<number>();
  const { stdout } = process;
  return {
    text(column, text) {
      if (!begun.has(column)) stdout.write(`--- ${titles[column]} ---\n`);
      stdout.write(text);
      begun.add(column);
    },
    done: (_column, lines) => void stdout.write(`\n\n${lines.join('\n')}\n\n`),
    end: () => {},
  };
}
