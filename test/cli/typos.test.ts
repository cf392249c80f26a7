import { describe, expect, it } from 'vitest';
import { createProgram } from '../../src/cli/program.js';

/** What a command line prints on stderr that commander refuses, and its exit status. */
async function refused(...args: string[]): Promise<{ said: string; code: number }> {
  let said = '';
  const program = createProgram();
  for (const command of [program, ...program.commands]) {
    command.configureOutput({
      writeErr: (text) => {
        said += text;
      },
      writeOut: () => {},
    });
  }
  try {
    await program.parseAsync(args, { from: 'user' });
  } catch (error) {
    return { said, code: (error as { exitCode: number }).exitCode };
  }
  throw new Error('it was not refused');
}

const COMMANDS = createProgram().commands.map((command) => command.name());

describe('what is mistyped is told before what is missing', () => {
  it.each([
    [['compare', '--promt', 'x'], '--promt', '--prompt'],
    [['generate', '--promt=x'], '--promt', '--prompt'],
    [['explain', '--imge', 'x'], '--imge', '--image'],
    [['eval', '--outt', 'x'], '--outt', '--out'],
    [['convert', '--form', 'x'], '--form', '--from'],
    [['serve', '--budgt', '0.2'], '--budgt', '--budget'],
    [['demo', '--poliy', 'h2o'], '--poliy', '--policy'],
  ])('%j', async (args, typed, meant) => {
    const { said, code } = await refused(...args);
    expect(said).toContain(`error: unknown option '${typed}'`);
    expect(said).toContain(`(Did you mean ${meant}?)`);
    expect(said).not.toContain('not specified');
    expect(code).toBe(1);
  });

  it.each(COMMANDS)('%s has no option --nonsense, and takes no four arguments', async (name) => {
    expect((await refused(name, '--nonsense')).said).toMatch(/^error: unknown option '--nonsense'\n/);
    expect((await refused(name, ...'abcd')).said).toMatch(/^error: (too many arguments|required option)/);
  });

  it.each(COMMANDS)('%s --help helps, whatever else is typed', async (name) => {
    expect(await refused(name, '--nonsense', '--help')).toEqual({ said: '', code: 0 });
  });
});

describe('help', () => {
  it('for a command that there is none of says so', async () => {
    expect((await refused('help', 'generat')).said).toMatch(
      /^error: unknown command 'generat'\n\(Did you mean generate\?\)\n\(elastic-cache --help tells more\)/,
    );
    expect((await refused('help', 'nonsense')).said).toMatch(/^error: unknown command 'nonsense'\n\(elastic/);
    expect((await refused('generat')).said).toMatch(/^error: unknown command 'generat'/);
  });

  it.each([[[]], [['generate']], [['help']]])('for %j is no error', async (args) => {
    expect(await refused('help', ...args)).toEqual({ said: '', code: 0 });
  });
});
