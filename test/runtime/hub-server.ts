import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { env } from '@huggingface/transformers';

/** What the server does otherwise with one file. */
export interface Trouble {
  /** Sends so many bytes and breaks the connection. */
  breaksAfter?: number;
  /** Sends so many bytes and then nothing, the connection left open. */
  stallsAfter?: number;
  /** Sends one byte, and the others when this is fulfilled. */
  waitsFor?: Promise<void>;
  /** Sends so many bytes without having said how many there are, and ends as if these were all. */
  endsAfter?: number;
  /** Answers a look at the file with all of it, and never says how many bytes there are. */
  saysNoLength?: boolean;
  /** Answers with this status, and the Hub's word for it. */
  status?: number;
  code?: string;
  /** Says that the file has so many bytes. */
  claims?: number;
}

export interface Asked {
  file: string;
  range: string | undefined;
}

/** A server over HTTP that holds one model as the Hub does: tags, ranges, errors. transformers.js asks it while it is open. */
export class HubServer {
  readonly asked: Asked[] = [];
  /** Files of which the rest was not waited for. */
  readonly dropped: string[] = [];
  /** By the path of a file in the repository, or '*' for every file. */
  readonly trouble: Record<string, Trouble> = {};
  private readonly server = createServer((request, response) => void this.answer(request, response));
  private readonly before = env.remoteHost;

  private constructor(
    private readonly directory: string,
    private readonly revisions: readonly string[],
  ) {}

  /** Serves `directory` as tiny/llava at `revisions`. */
  static async open(directory: string, revisions = ['main']): Promise<HubServer> {
    const hub = new HubServer(directory, revisions);
    await new Promise<void>((resolve) => hub.server.listen(0, '127.0.0.1', resolve));
    env.remoteHost = `http://127.0.0.1:${(hub.server.address() as AddressInfo).port}/`;
    return hub;
  }

  async close(): Promise<void> {
    env.remoteHost = this.before;
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  /** Ranges asked for of a file, without those that only look at it. */
  fetched(file: string): (string | undefined)[] {
    return this.asked
      .filter((each) => each.file === file && each.range !== 'bytes=0-0')
      .map(({ range }) => range);
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const [, model, revision, file = ''] =
      /^\/(tiny\/\w+)\/resolve\/([^/]+)\/(.*)$/.exec(request.url ?? '') ?? [];
    const { range } = request.headers;
    this.asked.push({ file, range });
    const refuse = (status: number, code: string) =>
      void response.writeHead(status, { 'x-error-code': code, 'content-length': 0 }).end();
    const {
      status,
      code = '',
      claims,
      breaksAfter,
      stallsAfter,
      waitsFor,
      endsAfter,
      saysNoLength,
    } = this.trouble[file] ?? this.trouble['*'] ?? {};
    if (status) return refuse(status, code);
    // Whoever may not see a repository is told that it does not exist, with the status of one that he may not see.
    if (model !== 'tiny/llava') return refuse(401, 'RepoNotFound');
    if (!this.revisions.includes(revision ?? '')) return refuse(404, 'RevisionNotFound');
    const bytes = await readFile(join(this.directory, file)).catch(() => undefined);
    if (!bytes) return refuse(404, 'EntryNotFound');
    if (endsAfter !== undefined) {
      response.useChunkedEncodingByDefault = false;
      response.writeHead(200, { connection: 'close' });
      return void response.end(bytes.subarray(0, endsAfter));
    }
    const etag = `"${createHash('sha256').update(bytes).digest('hex')}"`;
    if (saysNoLength) return answerInChunks(bytes, etag, range, response);
    const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(range ?? '') ?? [];
    const same = [undefined, etag].includes(request.headers['if-range'] as string | undefined);
    const whole = from === undefined || !same;
    const part = whole ? bytes : bytes.subarray(Number(from), to ? Number(to) + 1 : undefined);
    response.writeHead(whole ? 200 : 206, {
      etag,
      'content-length': part.length,
      ...(whole
        ? {}
        : { 'content-range': `bytes ${from}-${Number(from) + part.length - 1}/${claims ?? bytes.length}` }),
    });
    if (waitsFor && range !== 'bytes=0-0') {
      response.write(part.subarray(0, 1));
      await waitsFor;
      return void response.end(part.subarray(1));
    }
    const stops = breaksAfter ?? stallsAfter;
    if (stops === undefined || range === 'bytes=0-0') return void response.end(part);
    if (breaksAfter === undefined) {
      response.on('close', () => this.dropped.push(file));
      return void response.write(part.subarray(0, stops));
    }
    response.write(part.subarray(0, breaksAfter), () => setTimeout(() => response.destroy(), 50));
  }
}

/** As a server that makes its answers as it goes: it knows the end of the file only when it is there. */
function answerInChunks(
  bytes: Buffer,
  etag: string,
  range: string | undefined,
  response: ServerResponse,
): void {
  const from = Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0);
  if (from >= bytes.length) return void response.writeHead(416).end();
  response.writeHead(from > 0 ? 206 : 200, {
    etag,
    ...(from > 0 ? { 'content-range': `bytes ${from}-${bytes.length - 1}/*` } : {}),
  });
  response.end(bytes.subarray(from));
}
