import type { Command } from 'commander';
import { examples, parsed } from './command-options.js';
import { parsePort } from './option-values.js';

/** The command `playground`. @param command makes a command of a name, a description and its help */
export function playgroundCommand(
  command: (name: string, description: string, help: string) => Command,
): Command {
  return command(
    'playground',
    'show a page that compares the whole cache with a part of it, on a model in your browser',
    examples('playground --open', 'playground --out site'),
  )
    .addOption(parsed('--port <number>', '0 for any that is free', '8080', parsePort))
    .option('--open', 'open it in the browser')
    .option('--out <folder>', 'write it as static files instead, for any server')
    .action(async (options) => (await import('../commands/playground.js')).playground(options));
}
