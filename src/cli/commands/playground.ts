import { spawn } from 'node:child_process';
import { listen } from '../../server/listen.js';
import { servePage, writePage } from '../bundled/page.js';

export interface PlaygroundOptions {
  port: number;
  open?: true;
  out?: string;
}

/** Milliseconds that a connection may say nothing. */
const SILENCE = 120_000;

/** Shows the page to try models on, to this machine alone, until a signal comes; or writes it as a folder. */
export async function playground({ port, open, out }: PlaygroundOptions): Promise<void> {
  if (out !== undefined) {
    await writePage(out);
    process.stderr.write(`${out} holds the page; any server of static files can give it out.\n`);
    return;
  }
  const { port: taken } = await listen({ fetch: await servePage() }, '127.0.0.1', port, SILENCE);
  const address = `http://127.0.0.1:${taken}/`;
  process.stderr.write(`The playground is at ${address}, for this machine alone; Ctrl+C stops it.\n`);
  if (open) openPage(address);
}

/** Opens it as the system opens addresses; where that does not work, the address has been told. */
function openPage(address: string): void {
  const [program, ...args] =
    process.platform === 'darwin'
      ? ['open']
      : process.platform === 'win32'
        ? ['cmd', '/c', 'start', '']
        : ['xdg-open'];
  spawn(program!, [...args, address], { stdio: 'ignore', detached: true })
    .on('error', () => {})
    .unref();
}
