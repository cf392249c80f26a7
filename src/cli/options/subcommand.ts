import { Command } from 'commander';
import { ElasticCacheError } from '../../errors.js';
import { closest } from '../../options.js';

const HELP = ['-h', '--help'];

/** A command that tells what is mistyped before what is missing: of `--promt` commander would say that `--prompt` is required. */
export class Subcommand extends Command {
  /** @throws CommanderError for an option that there is none of */
  override parseOptions(argv: string[]): ReturnType<Command['parseOptions']> {
    const parsed = super.parseOptions(argv);
    const option = parsed.unknown[0]?.split('=')[0] ?? '';
    if (!option.startsWith('-') || parsed.unknown.some((each) => HELP.includes(each))) return parsed;
    const known = this.options.flatMap(({ long }) => long ?? []);
    this.error(`error: unknown option '${option}'${meant(option, known)}`);
  }
}

/** Options of which nothing is something. */
const MAY_BE_EMPTY = ['system'];

/** Refuses options and arguments that are there and empty: a variable of a script that is not set. @throws ElasticCacheError 'invalid-option' */
export function refuseEmpty(command: Command): void {
  const empty = command.options.find(
    (option) =>
      command.getOptionValue(option.attributeName()) === '' && !MAY_BE_EMPTY.includes(option.attributeName()),
  );
  const name = empty?.long ?? (command.args.includes('') ? `an argument of ${command.name()}` : undefined);
  if (name === undefined) return;
  throw new ElasticCacheError('invalid-option', `${name} is empty; say what it is, or leave it out.`);
}

/** Adds `help [command]`, which says so where there is no such command. */
export function helpCommand(program: Command): void {
  program
    .helpCommand(false)
    .command('help')
    .description('display help for command')
    .argument('[command]')
    .copyInheritedSettings(program)
    .action((name: string | undefined) => {
      if (name === undefined) program.help();
      const names = program.commands.map((command) => command.name());
      const command = program.commands[names.indexOf(name)];
      if (!command) program.error(`error: unknown command '${name}'${meant(name, names)}`);
      command.help();
    });
}

function meant(typed: string, known: readonly string[]): string {
  const one = closest(typed, known);
  return one === undefined ? '' : `\n(Did you mean ${one}?)`;
}
