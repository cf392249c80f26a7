import { type Command, Option } from 'commander';
import { createPolicy, DEFAULT_POLICY } from '../../policies/registry.js';
import {
  budgetOption,
  examples,
  maxNewTokens,
  modelOptions,
  parsed,
  samplingOptions,
  systemOption,
} from './command-options.js';
import { bytesOf, collectOrigin, countOf, parsePort, parsePrompt, wholeFrom0 } from './option-values.js';

const NOTES = `
Endpoints:
  POST /v1/chat/completions, POST /v1/completions, GET /v1/models: OpenAI's API, streamed or whole
  /status, /docs, /health, /ready, /metrics (Prometheus)

A file of API keys has one a line, with what it is called and what it may:
  sk-one-long-secret   name=alice at-once=4 per-minute=60
`;

/** Makes a command of a name, a description and its help. */
type Make = (name: string, description: string, help: string) => Command;

/** What `serve` takes. */
export function serveCommand(command: Make): Command {
  return modelOptions(
    command(
      'serve',
      "serve a model to many users at once, with OpenAI's API",
      examples(
        'serve',
        'serve --model onnx-community/Qwen2-VL-2B-Instruct --dtype q4 --budget 512tokens --lanes 8',
        'serve --host 0.0.0.0 --api-keys keys.txt --memory 8gb',
      ) + NOTES,
    ),
  )
    .option(
      '--host <address>',
      'where it listens: this machine alone unless told, 0.0.0.0 for all',
      '127.0.0.1',
    )
    .addOption(parsed('--port <number>', '0 for any that is free', '8000', parsePort))
    .option('--lanes <count>', 'answers that run at once', countOf('lanes'), 8)
    .addOption(budgetOption('how much the cache of an answer may hold, where a request does not say'))
    .addOption(namedPolicy())
    .option(
      '--memory <size>',
      'for the caches of all that runs, such as 4gb (default: as they need)',
      bytesOf('memory'),
    )
    .addOption(
      parsed(
        '--park <size>',
        'for answered conversations, which go on from there; 0 for none',
        '128mb',
        bytesOf('park'),
      ),
    )
    .option('--park-dir <folder>', 'where those go that there is no room for, and all when the server stops')
    .addOption(parsed('--park-dir-size <size>', 'of files in it', '4gb', bytesOf('park-dir-size')))
    .option('--waiting <count>', 'answers that wait for a lane; more are refused', wholeFrom0('waiting'), 64)
    .option('--waiting-seconds <count>', 'how long one waits', countOf('waiting-seconds'), 60)
    .option(
      '--patience <seconds>',
      'how long the model may make no step; then it is loaded anew',
      countOf('patience'),
      300,
    )
    .option(
      '--deadline <seconds>',
      'how long an answer may take, its waiting included',
      countOf('deadline'),
      600,
    )
    .option(
      '--max-new-tokens <count>',
      'longest answer where a request does not say',
      countOf('max-new-tokens'),
      1024,
    )
    .addOption(parsed('--max-body <size>', 'of a request, its images included', '32mb', bytesOf('max-body')))
    .option('--max-images <count>', 'of a request', countOf('max-images'), 16)
    .option('--allow-remote-images', 'fetch images from the internet, never from private networks')
    .option('--api-keys <file>', 'who may ask; anybody who reaches the server unless told')
    .option(
      '--cors <origin>',
      'pages that may ask, such as https://chat.example.org; again for more',
      collectOrigin,
    );
}

/** What `describe` takes. */
export function describeCommand(command: Make): Command {
  const described = command(
    'describe',
    'ask the same about many photos, several at once; a line of JSON for each',
    examples(
      'describe photos/ --prompt "Describe the image." --out captions.jsonl',
      'describe a.jpg b.jpg --prompt "What is this?" --out names.jsonl --model onnx-community/Qwen2-VL-2B-Instruct --dtype q4',
    ) +
      `
Lines come in the order of the photos. Stop it whenever you like: the same command goes on from there. A photo that
cannot be read, or that the model cannot hold, is a line with its error.
`,
  );
  return samplingOptions(modelOptions(described))
    .argument('<photos...>', 'images, and folders of them')
    .requiredOption('--prompt <text>', 'what to ask', parsePrompt)
    .requiredOption('--out <file>', 'where lines go (JSON Lines)')
    .option(
      '--queue <address>',
      'have workers describe them, by way of a PostgreSQL: postgres://user@host/database',
    )
    .option(
      '--expire-seconds <count>',
      'with --queue, when a worker that has not finished a photo is taken for dead',
      countOf('expire-seconds'),
      300,
    )
    .option('--lanes <count>', 'photos that are described at once', countOf('lanes'), 8)
    .addOption(budgetOption('how much the cache of a photo may hold'))
    .addOption(namedPolicy())
    .option(
      '--memory <size>',
      'for the caches of all that runs, such as 4gb (default: as they need)',
      bytesOf('memory'),
    )
    .addOption(maxNewTokens())
    .addOption(systemOption());
}

/** What `worker` takes. */
export function workerCommand(command: Make): Command {
  const described = command(
    'worker',
    'describe photos that others put into a queue',
    examples(
      'worker --queue postgres://user@host/database --model onnx-community/Qwen2-VL-2B-Instruct --dtype q4',
    ) +
      `
On as many machines as you like, each with the photos at the same paths. Each photo is described at least once, and its
line written once; those of a worker that dies are done by another. Needs pg-boss: npm install pg-boss@10.
`,
  );
  return modelOptions(described)
    .requiredOption('--queue <address>', 'the PostgreSQL that the photos are in')
    .option('--lanes <count>', 'photos that are described at once', countOf('lanes'), 8)
    .addOption(budgetOption('how much a cache may hold, where describe does not say'))
    .addOption(namedPolicy())
    .option(
      '--memory <size>',
      'for the caches of all that runs, such as 4gb (default: as they need)',
      bytesOf('memory'),
    );
}

/** One of ours: a policy of a user's own cannot go to the process that the model runs in. */
function namedPolicy(): Option {
  return new Option('--policy <name>', 'what a cache keeps (docs/policies.md)')
    .argParser((value: string) => createPolicy(value).name)
    .default(DEFAULT_POLICY);
}
