import { type ChildProcessWithoutNullStreams, execFile, execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { finished, type Run, run, startGroup } from '../cli/run-cli.js';
import { MODEL, seen } from './running-server.js';

let folder: string;
let server: Serving;

interface Serving {
  readonly url: string;
  readonly client: OpenAI;
  readonly process: ChildProcessWithoutNullStreams;
  readonly ended: Promise<Run>;
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'serve-'));
  await writeFile(join(folder, 'keys'), 'sk-secret name=alice\n');
  server = await serve('--lanes', '2', '--api-keys', join(folder, 'keys'));
});
afterAll(async () => {
  server.process.kill('SIGKILL');
  await rm(folder, { recursive: true });
});

async function serve(...args: string[]): Promise<Serving> {
  const child = startGroup('serve', '--port', '0', ...args);
  const ended = finished(child);
  let said = '';
  const url = await new Promise<string>((resolve, reject) => {
    child.stderr.on('data', (data) => {
      said += data;
      const [, found] = /answers at (http:\S+)\/v1/.exec(said) ?? [];
      if (found) resolve(found);
    });
    child.once('exit', () => reject(new Error(said)));
  });
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'sk-secret', maxRetries: 0 });
  return { url, client, process: child, ended };
}

const endless = {
  model: MODEL,
  messages: [{ role: 'user' as const, content: 'Go on' }],
  max_tokens: 3500,
  logit_bias: { '2': -100 },
};

async function begun({ client }: Serving, asked: object = {}) {
  const stream = await client.chat.completions.create({ ...endless, ...asked, stream: true });
  const pieces = stream[Symbol.asyncIterator]();
  await pieces.next();
  const rest = (async () => {
    let text = '';
    let reason: string | null | undefined;
    for (let next = await pieces.next(); !next.done; next = await pieces.next()) {
      text += next.value.choices[0]!.delta.content ?? '';
      reason = next.value.choices[0]!.finish_reason ?? reason;
    }
    return { text, reason };
  })();
  rest.catch(() => {});
  return { rest };
}

/** Waits until a server's log says something. */
function said({ process: { stderr } }: Serving, words: string): Promise<void> {
  return new Promise((resolve) => {
    stderr.on('data', (data) => String(data).includes(words) && resolve());
  });
}

/** The process that another has made to run a file. */
function childOf(parent: number, file: string): number {
  const all = existsSync('/proc/self/stat')
    ? readdirSync('/proc')
        .filter((name) => /^\d+$/.test(name))
        .flatMap((id) => {
          try {
            const [, , , of] = readFileSync(`/proc/${id}/stat`, 'utf8')
              .replace(/\(.*\)/s, 'name')
              .split(' ');
            return [`${id} ${of} ${readFileSync(`/proc/${id}/cmdline`, 'utf8')}`];
          } catch {
            return [];
          }
        })
    : execFileSync('ps', ['-A', '-o', 'pid=,ppid=,command=']).toString().trim().split('\n');
  const found = all
    .map((line) => line.trim().split(/\s+/))
    .filter(([, of, ...command]) => Number(of) === parent && command.join(' ').includes(file));
  expect(found.length).toBe(1);
  return Number(found[0]![0]);
}

const hasCurl = spawnSync('curl', ['--version']).status === 0;

describe('elastic-cache serve', () => {
  it.skipIf(!hasCurl)('answers curl', async () => {
    const body = JSON.stringify({ messages: [await seen(1)], max_tokens: 6 });
    const path = join(folder, 'body.json');
    await writeFile(path, body);
    const json = ['-H', 'content-type: application/json', '-H', 'authorization: Bearer sk-secret'];
    const { stdout } = await promisify(execFile)('curl', [
      '-sS',
      `${server.url}/v1/chat/completions`,
      ...json,
      '-d',
      `@${path}`,
    ]);
    expect(JSON.parse(stdout).choices[0].message.content).toBe('The picture shows 5 objects');
  });

  it('refuses a port that is taken before it loads a model', async () => {
    const { port } = new URL(server.url);
    const { code, stderr } = await run('serve', '--port', port);
    expect([code, stderr]).toEqual([
      2,
      expect.stringMatching(/^error: [^\n]*something listens there already; choose another --port\.\n$/),
    ]);
  });

  it('names an image that is broken, and goes on when its worker is killed', async () => {
    const broken = {
      role: 'user' as const,
      content: [{ type: 'image_url' as const, image_url: { url: 'data:image/png;base64,iVBORw0KGgo=' } }],
    };
    const refused = await server.client.chat.completions
      .create({ ...endless, messages: [broken] })
      .catch((cause: unknown) => cause);
    expect(refused).toMatchObject({
      status: 400,
      code: 'invalid_image',
      message: expect.stringContaining('image 1'),
    });
    const worker = childOf(server.process.pid!, 'node-main');
    const { rest } = await begun(server);
    process.kill(worker, 'SIGKILL');
    await expect(rest).rejects.toMatchObject({ code: 'worker_died' });
    const { usage } = await server.client.chat.completions.create({ ...endless, max_tokens: 3 });
    expect(usage!.completion_tokens).toBe(3);
  });

  it('answers what it has when it is told to stop, takes nothing new, and writes no key down', async () => {
    const { rest } = await begun(server, { max_tokens: 300 });
    const stopping = said(server, 'stopping');
    // All its processes, as Ctrl+C does.
    process.kill(-server.process.pid!, 'SIGTERM');
    await stopping;
    // Whoever comes now is told so, and does not find nobody: a load balancer looks.
    const late = await fetch(`${server.url}/ready`);
    expect([late.status, await late.text()]).toEqual([503, expect.any(String)]);
    expect((await rest).reason).toBe('length');
    const { code, stderr } = await server.ended;
    expect(code).toBe(0);
    expect(stderr).toContain('"msg":"stopped"');
    expect(stderr).not.toContain('sk-secret');
    await expect(fetch(`${server.url}/health`)).rejects.toThrow();
  });

  it('stops at once at the second signal', async () => {
    const other = await serve();
    await begun(other);
    const stopping = said(other, 'stopping');
    other.process.kill('SIGTERM');
    await stopping;
    other.process.kill('SIGTERM');
    expect((await other.ended).code).toBe(143);
  });

  it.each([
    [['--port', 'x'], 2, 'port "x"'],
    [['--lanes', '0'], 2, 'lanes "0"'],
    [['--cors', 'example'], 2, 'cors "example"'],
    [['--memory', '1tb'], 2, 'memory "1tb"'],
    [['--api-keys', 'none.txt'], 1, 'none.txt'],
    [['--host', '192.0.2.1'], 2, '192.0.2.1'],
  ])('refuses %j in one sentence', async (args, code, named) => {
    const { stderr, ...rest } = await run('serve', ...args);
    expect(rest).toMatchObject({ code, stdout: '' });
    expect(stderr).toContain(named);
    expect(stderr).not.toMatch(/\n\s+at /);
  });
});
