#!/usr/bin/env node
import { debuglog, format } from 'node:util';
import { CommanderError } from 'commander';
import { ElasticCacheError, type ErrorCode, reasonOf } from '../errors.js';
import { refuseIdle } from './options/idle-options.js';
import { refuseEmpty } from './options/subcommand.js';
import { createProgram } from './program.js';

const debug = debuglog('elastic-cache');

// Results alone go to stdout; what a library has to say is no result.
console.log = console.error;
console.info = console.error;
console.debug = console.error;
// What fails is told once, by report(); transformers.js would show all tensors of the failed step before it.
console.error = (...said: unknown[]) => debug(format(...said));

// Whoever read our output has seen enough (`| head`): not an error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  process.stderr.write(`error: what was found cannot be written to standard output (${error.message}).\n`);
  process.exit(1);
});
process.once('SIGINT', () => process.exit(130));
process.once('SIGTERM', () => process.exit(143));

/** What is wrong with what was typed, whenever that is found. */
const TYPED: readonly ErrorCode[] = ['invalid-option', 'invalid-budget', 'unknown-policy'];

/** Whether the command line was understood, and its command runs. */
let begun = false;

try {
  const program = createProgram();
  program.hook('preAction', (_program, command) => {
    refuseEmpty(command);
    refuseIdle(command.opts());
    begun = true;
  });
  await program.parseAsync();
} catch (error) {
  report(error);
}

/** One sentence on stderr and exit status 1, or 2 where the command line is what is wrong. The stack is there for those who set NODE_DEBUG=elastic-cache. */
function report(error: unknown): void {
  if (error instanceof CommanderError) {
    // Commander has printed what there is to say: help, the version, or what is wrong with the options.
    process.exitCode = error.exitCode === 0 ? 0 : 2;
    return;
  }
  debug('%o', error);
  const message = reasonOf(error);
  const sentence =
    error instanceof ElasticCacheError ? message : `unexpected: ${message.replaceAll(/\s*\n\s*/g, ' ')}`;
  process.stderr.write(`error: ${sentence}\n`);
  const typed = error instanceof ElasticCacheError && TYPED.includes(error.code);
  process.exitCode = begun && !typed ? 1 : 2;
}
