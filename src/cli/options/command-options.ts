import { type Command, Option } from 'commander';
import { DEFAULT_POLICY } from '../../policies/registry.js';
import { PEAKS } from '../../runtime/passes/reader.js';
import {
  collectImage,
  collectStop,
  countOf,
  parseBudget,
  parsePolicy,
  parseSeed,
  parseTemperature,
  parseTopK,
  parseTopP,
} from './option-values.js';

/** The options that commands share, each with its name and its words in one place. */
export function modelOptions(command: Command): Command {
  return command
    .option(
      '--model <id-or-directory>',
      'a model on the Hub or on disk (default: the small one in this package)',
    )
    .option(
      '--dtype <name>',
      "number format of the weights: q4, q8, fp16, fp32 ... (default: the model's own choice)",
    )
    .option('--device <name>', 'what ONNX Runtime runs on (default: cpu)')
    .option('--chunk <tokens>', 'prompt tokens read at a time (default: 512)', countOf('chunk'))
    .addOption(
      new Option(
        '--peak <memory>',
        'prompt: read a prompt whole, then compress it; bounded: compress after each chunk, and never hold more than what is kept and one chunk (default: prompt)',
      ).choices(PEAKS),
    )
    .addOption(
      new Option(
        '--accuracy-level <level>',
        "what inputs are rounded to where int4 weights are multiplied, if the file leaves it open: 1 float32 to 4 int8, the fastest (default: the file's own)",
      ).choices(['1', '2', '3', '4']),
    );
}

export function imageOption(more = '; again for more, where the model takes several'): Option {
  return new Option(
    '--image <file>',
    `an image: a path, an address (https:, data:), or - for standard input${more}`,
  )
    .argParser(collectImage)
    .default([], 'none: the prompt is text alone');
}

export function endSize(): Option {
  return new Option(
    '--end-size <tokens>',
    "last tokens of the prompt that a policy that merges (elastic ...) keeps whole, such as the question (default: the policy's own)",
  ).argParser(countOf('end-size'));
}

export function maxNewTokens(): Option {
  return new Option('--max-new-tokens <count>', 'longest answer, in tokens')
    .argParser(countOf('max-new-tokens'))
    .default(256);
}

/** How the next token is drawn and what ends an answer, as it was typed. */
export interface SamplingOptions {
  maxNewTokens: number;
  temperature: number;
  topP?: number;
  topK?: number;
  seed?: number;
  stop?: string[];
}

export function samplingOptions(command: Command): Command {
  return command
    .option('--temperature <number>', '0 always takes the likeliest token', parseTemperature, 0)
    .option(
      '--top-p <share>',
      'draw from the fewest likeliest tokens that have this probability together',
      parseTopP,
    )
    .option('--top-k <count>', 'draw from so many of the likeliest tokens, 0 for all', parseTopK)
    .option('--seed <number>', 'draw the same again', parseSeed)
    .option('--stop <text>', 'end the answer before this text; again for more', collectStop);
}

export function policyOption(): Option {
  return new Option('--policy <name>', 'what to keep: a name, or a file with a policy of your own')
    .argParser(parsePolicy)
    .default(DEFAULT_POLICY);
}

export function systemOption(): Option {
  return new Option('--system <text>', 'what the model is told before the first question');
}

export function budgetOption(description: string): Option {
  return parsed('--budget <budget>', description, '0.2:128tokens', parseBudget);
}

/** An option whose default is read as if it had been typed. */
export function parsed<T>(
  flags: string,
  description: string,
  typed: string,
  parse: (value: string) => T,
): Option {
  return new Option(flags, description).argParser(parse).default(parse(typed), typed);
}

export function examples(...lines: string[]): string {
  return `\nExamples:\n${lines.map((line) => `  elastic-cache ${line}`).join('\n')}\n`;
}
