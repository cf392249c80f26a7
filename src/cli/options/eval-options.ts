import { type Command, Option } from 'commander';
import {
  ANSWERS,
  FIRST_TOKENS,
  IMAGE_PLACES,
  LAST_TOKENS,
  PRESETS,
  QUESTIONS,
  STRICT,
} from '../../eval/data/protocol.js';
import { DEFAULT_POLICY } from '../../policies/registry.js';
import { examples, maxNewTokens, modelOptions, parsed } from './command-options.js';
import {
  countOf,
  oneOf,
  parseBatchSizes,
  parseBudgetRanges,
  parseLengths,
  parseMetrics,
  parseOnError,
  parsePolicies,
  parsePrompt,
  parseSplit,
} from './option-values.js';

const NOTES = `
Into --out: results.jsonl (a line for each sample, task, policy and budget), run.json, table.md, table.csv,
summary.json, quality.svg and latency.svg; paper.md with --tables. Stop it whenever you like; the same command goes on from there.
The full cache always runs: it is what the others are measured against.
`;

/** What `eval` takes. @param policies what there is to choose from, as help says it */
export function evalCommand(
  command: (name: string, description: string, help: string) => Command,
  policies: string,
): Command {
  return modelOptions(
    command(
      'eval',
      'measure policies and budgets on a data set: perplexity, ROUGE, accuracy, latency',
      examples(
        'eval --out results',
        'eval --out results --policies elastic,elastic:endSize=16,h2o --budgets 0.1..0.5 --metrics ppl,rouge --samples 100',
        'eval --out results --data detail_1k.json --images coco/train2017 --on-error skip',
        'eval --out keys --model onnx-community/Qwen3-0.6B-ONNX --data passkey --policies snapkv,h2o --budgets 0.2,0.1',
        'eval --out paper --model llava-1.5-7b-onnx --data detail_1k.json --images coco/train2017 --protocol elastic-cache --policies elastic,h2o,local --budgets 0.5 --metrics ppl,rouge-l-union --tables',
        'eval --out times --metrics latency --lengths 1024+512,624+256 --batch-sizes 1,4',
      ) +
        NOTES +
        policies,
    ),
  )
    .requiredOption(
      '--out <folder>',
      'where results go; the folder of an earlier run goes on where it stopped',
    )
    .option(
      '--data <source>',
      'scenes or scenes:SEED; passkey, lookups, questions or summaries (of text alone); a JSON (LLaVA, MM-Vet, VQAv2, TextVQA) or JSON Lines file; a folder of texts',
      'scenes',
    )
    .option('--images <folder>', 'the images of a JSON file (default: beside it, or in images there)')
    .option(
      '--queue <address>',
      'share the work with others that run the same, by way of a PostgreSQL: postgres://user@host/database',
    )
    .option(
      '--expire-seconds <count>',
      'with --queue, when a machine that has not finished a sample is taken for dead',
      countOf('expire-seconds'),
      3600,
    )
    .addOption(
      parsed(
        '--policies <names>',
        'policies, with commas between',
        `${DEFAULT_POLICY},h2o,elastic`,
        parsePolicies,
      ),
    )
    .addOption(
      parsed('--budgets <budgets>', 'budgets and ranges, from..to[:step]', '0.1,0.2,0.5', parseBudgetRanges),
    )
    .option(
      '--split <dev|report>',
      'half of the seeds or records: options are chosen on dev (default: all)',
      parseSplit,
    )
    .option(
      '--prompt-tokens <count>',
      'tokens read of a text that is gone on with (default: 1024)',
      countOf('prompt-tokens'),
    )
    .addOption(
      new Option(
        '--protocol <name>',
        'as a paper measured (each option below may still be given): elastic-cache or prefixkv',
      ).choices(Object.keys(PRESETS)),
    )
    .option(
      '--question <known|unknown>',
      `whether the question is read before the cache is compressed, or in a turn of its own after the image or text (default: ${STRICT.question})`,
      oneOf('question', QUESTIONS),
    )
    .option(
      '--system <text>',
      "what the model is told beforehand, where a record does not say; llava_v1 and vicuna_v1 are those of LLaVA's code",
      parsePrompt,
    )
    .option(
      '--image-place <before|after>',
      `where the image stands whose record does not say: before the question, or after it (default: ${STRICT.imagePlace})`,
      oneOf('image-place', IMAGE_PLACES),
    )
    .option('--pad-images', 'pad images to a square with the mean colour first')
    .option(
      '--answers <first|written>',
      `of several right answers the first, or all as they are written in the record (default: ${STRICT.answers})`,
      oneOf('answers', ANSWERS),
    )
    .option(
      '--first-token <compressed|prompt>',
      `perplexity: the first token of an answer by the compressed cache, or by the pass over the prompt (default: ${STRICT.firstToken})`,
      oneOf('first-token', FIRST_TOKENS),
    )
    .option(
      '--last-token <counted|left-out>',
      `perplexity: the last token of an answer (default: ${STRICT.lastToken})`,
      oneOf('last-token', LAST_TOKENS),
    )
    .addOption(
      parsed(
        '--metrics <names>',
        'ppl, rouge, rouge-l-union, rouge-true, accuracy, latency',
        'ppl,rouge,accuracy',
        parseMetrics,
      ),
    )
    .option('--samples <count>', 'the first so many records', countOf('samples'), 10)
    .addOption(parsed('--lengths <lengths>', 'prompt+output tokens that are timed', 'own', parseLengths))
    .addOption(parsed('--batch-sizes <counts>', 'rows that are timed together', '1', parseBatchSizes))
    .addOption(maxNewTokens())
    .option('--on-error <skip|stop>', 'what becomes of a broken record', parseOnError, 'stop')
    .option(
      '--tables',
      "the paper's tables 2 and 3 and the curves of its figure 2 from this run, beside the published numbers",
    )
    .option('--json', 'the summary as one JSON object on stdout');
}
