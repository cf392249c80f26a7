import { Command, Option } from 'commander';
import { DEFAULT_POLICY, describePolicy, policyNames } from '../policies/registry.js';
import {
  budgetOption,
  endSize,
  examples,
  imageOption,
  maxNewTokens,
  modelOptions,
  parsed,
  policyOption,
  samplingOptions,
  systemOption,
} from './options/command-options.js';
import { evalCommand } from './options/eval-options.js';
import {
  countOf,
  parseBudget,
  parseBudgets,
  parseLayer,
  parsePolicies,
  parsePolicy,
  parsePrompt,
} from './options/option-values.js';
import { playgroundCommand } from './options/playground-options.js';
import { describeCommand, serveCommand, workerCommand } from './options/serve-options.js';
import { helpCommand, Subcommand } from './options/subcommand.js';
import { CHAT_COMMANDS } from './terminal/chat-commands.js';
import { version } from './version.js';

const POLICIES = `
Policies:
${policyNames.map((name) => `  ${name.padEnd(18)} ${describePolicy(name)}`).join('\n')}
  With options of its own: elastic:importance=mean:endSize=16 (docs/policies.md lists them).
  A policy of your own: ./mine.js, whose default export is a policy or makes one.

Budgets:
  0.2                a share of the tokens seen so far, above 0 and at most 1
  0.2:128tokens      such a share, but so many entries in each layer at least: a fifth of a short prompt is too few
  256tokens          so many entries in each layer
  64mb               so much memory for keys and values (kb, mb, gb)`;

/** The command line. Each command's code, and with it ONNX Runtime, is loaded when the command runs. */
export function createProgram(): Command {
  const program = new Command('elastic-cache')
    .description('Run language and vision-language models with a fifth of the key-value cache.')
    .version(version())
    .exitOverride()
    .showHelpAfterError('(elastic-cache --help tells more)');

  const command = (name: string, description: string, help: string) => {
    const made = new Subcommand(name)
      .description(description)
      .addHelpText('after', help)
      .copyInheritedSettings(program)
      .showHelpAfterError(`(elastic-cache ${name} --help tells more)`);
    program.addCommand(made);
    return made;
  };

  samplingOptions(
    modelOptions(
      command(
        'generate',
        'ask a model, about an image or not; the answer streams to stdout',
        examples(
          'generate --image photo.jpg --prompt "Describe the image." --budget 0.2',
          'generate --model onnx-community/Qwen2-VL-2B-Instruct --dtype q4 --image a.png --prompt "What is this?"',
          'generate --image photo.jpg --prompt "Describe the image." --json | jq .stats.bytesHeld',
          'generate --prompt "Tell me a story." --temperature 0.8 --top-p 0.9 --seed 1 --stop "The end"',
        ) + POLICIES,
      ),
    ),
  )
    .addOption(imageOption())
    .requiredOption('--prompt <text>', 'what to ask', parsePrompt)
    .addOption(budgetOption('how much the cache may hold'))
    .addOption(policyOption())
    .addOption(endSize())
    .addOption(maxNewTokens())
    .addOption(systemOption())
    .option('--json', 'one JSON object on stdout: text, stats, timings')
    .action(async (options) => (await import('./commands/generate.js')).generate(options));

  samplingOptions(
    modelOptions(
      command(
        'chat',
        'talk with a model, about images or not; one cache holds the conversation',
        examples(
          'chat --image photo.jpg --budget 0.2',
          'chat --model HuggingFaceTB/SmolLM2-135M-Instruct --dtype q4 --system "Be brief."',
        ) +
          CHAT_COMMANDS +
          POLICIES,
      ),
    ),
  )
    .addOption(imageOption())
    .addOption(budgetOption('how much the cache may hold'))
    .addOption(policyOption())
    .addOption(endSize())
    .addOption(maxNewTokens())
    .addOption(systemOption())
    .action(async (options) => (await import('./commands/chat.js')).chatInTerminal(options));

  modelOptions(
    command(
      'compare',
      'ask the same with several policies and budgets; one table',
      examples(
        'compare --image photo.jpg --prompt "Describe the image."',
        'compare --image photo.jpg --prompt "Describe the image." --policies elastic,h2o --budgets 0.5,0.2,0.1',
      ) + POLICIES,
    ),
  )
    .addOption(imageOption())
    .requiredOption('--prompt <text>', 'what to ask', parsePrompt)
    .addOption(
      parsed(
        '--policies <names>',
        'policies, with commas between',
        `full,${DEFAULT_POLICY},h2o,elastic`,
        parsePolicies,
      ),
    )
    .addOption(parsed('--budgets <budgets>', 'budgets, with commas between', '1,0.5,0.2', parseBudgets))
    .addOption(endSize())
    .addOption(maxNewTokens())
    .option('--json', 'one JSON array on stdout')
    .action(async (options) => (await import('./commands/compare.js')).compare(options));

  modelOptions(
    command(
      'explain',
      'draw what a policy keeps of a prompt and of its image, where the rest goes and what attention it receives',
      examples(
        'explain --image photo.jpg --prompt "Describe the image." --out explained.svg',
        'explain --image photo.jpg --prompt "Describe the image." --policy h2o --budget 0.1 --layer 3 --out layer3.png',
        'explain --image photo.jpg --prompt "Describe the image." --json | jq .layers[0].anchor',
      ) + POLICIES,
    ),
  )
    .addOption(imageOption('; one at most'))
    .requiredOption('--prompt <text>', 'what to ask', parsePrompt)
    .addOption(budgetOption('how much the cache may hold'))
    .addOption(policyOption())
    .addOption(endSize())
    .option('--layer <number>', 'one layer, from 0, large (default: all of them)', parseLayer)
    .option('--out <file>', 'the picture to make: .svg or .png')
    .option(
      '--json',
      'one JSON object on stdout: for each layer and token, where it went and what it received',
    )
    .action(async (options) => (await import('./commands/explain.js')).explain(options));

  evalCommand(command, POLICIES).action(async (options) =>
    (await import('./commands/eval.js')).evaluate(options),
  );

  serveCommand(command).action(async (options) => (await import('./commands/serve.js')).serve(options));

  describeCommand(command).action(async (photos, options) =>
    (await import('./commands/describe.js')).describe(photos, options),
  );

  workerCommand(command).action(async (options) => (await import('./commands/worker.js')).worker(options));
  playgroundCommand(command);

  command(
    'inspect',
    'tell what a decoder is made of and whether it can be rewritten',
    examples('inspect model/onnx/decoder_model_merged_q4.onnx', 'inspect path/to/model-directory'),
  )
    .argument('<model>', 'an .onnx file, or a model directory in transformers.js layout')
    .option('--json', 'one JSON object on stdout')
    .action(async (model, options) => (await import('./commands/inspect.js')).inspect(model, options));

  command(
    'convert',
    'turn a PyTorch checkpoint (LLaVA, Qwen-VL, Qwen2-VL, SmolVLM, Idefics3, Llama, Mistral, Qwen2, Qwen3, Gemma 3) into a directory for transformers.js',
    examples(
      'convert --from llava-1.5-7b-hf --to llava-1.5-7b-onnx --dtype q4',
      'convert --from checkpoint --to model --dtype fp32,q8,q4',
      'convert --from llava-v1.5-7b --vision-tower clip-vit-large-patch14-336 --to model',
    ),
  )
    .requiredOption('--from <directory>', 'checkpoint: configs, tokenizer, safetensors or pytorch_model.bin')
    .requiredOption('--to <directory>', 'the directory to make; absent or empty')
    .option(
      '--dtype <names>',
      'fp32, fp16, q8, q4 or q4f16, or several with commas between; the first is the default',
      'q4',
    )
    .addOption(
      new Option('--block-size <weights>', 'weights that share a scale in q4; fewer are more exact')
        .choices(['32', '64', '128'])
        .default('128'),
    )
    .option('--asymmetric', 'q4: blocks with a zero point beside their scale, a little more exact')
    .option(
      '--vision-tower <directory>',
      "the CLIP model that LLaVA in its authors' layout (liuhaotian/llava-v1.5-7b) takes its vision tower from",
    )
    .action(async (options) => (await import('./commands/convert.js')).convert(options));

  modelOptions(
    command(
      'demo',
      'describe a scene that comes with the package, with the full cache and with a fifth of it',
      examples('demo', 'demo --scene 3 --policy h2o --budget 0.5') + POLICIES,
    ),
  )
    .option('--scene <number>', 'which of the scenes, from 1', countOf('scene'), 1)
    .addOption(parsed('--budget <budget>', 'the budget of the second column', '0.2', parseBudget))
    .option('--policy <name>', 'what the second column keeps', parsePolicy, DEFAULT_POLICY)
    .addOption(maxNewTokens())
    .action(async (options) => (await import('./commands/demo.js')).demo(options));

  helpCommand(program);
  return program;
}
