import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join, normalize } from 'node:path';

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.css': 'text/css',
  '.json': 'application/json',
  '.wasm': 'application/wasm',
  '.png': 'image/png',
  '.svg': 'image/svg+xml',
};

export interface Site {
  /** `http://127.0.0.1:1234/` */
  address: string;
  /** Paths that were asked for. */
  asked: string[];
  close(): Promise<void>;
}

/** Serves folders and texts on this machine, by the paths that they have there. @param roots `{ '/models/': '/tmp/x', '/': { 'page.html': '<p>' } }` */
export async function serve(
  roots: Readonly<Record<string, string | Readonly<Record<string, string>>>>,
): Promise<Site> {
  const asked: string[] = [];
  const server: Server = createServer(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url ?? '/', 'http://x').pathname);
    asked.push(request.headers.range ? `${path} in part` : path);
    const prefix = Object.keys(roots)
      .sort((a, b) => b.length - a.length)
      .find((each) => path.startsWith(each))!;
    const [root, rest] = [roots[prefix], path.slice(prefix.length)];
    response.setHeader(
      'Content-Type',
      TYPES[path.endsWith('/') ? '.html' : extname(path)] ?? 'application/octet-stream',
    );
    if (typeof root === 'object') {
      const text = root[rest];
      response.statusCode = text === undefined ? 404 : 200;
      response.end(text);
      return;
    }
    const file = root && normalize(join(root, rest));
    const found = file?.startsWith(root!) ? await stat(file).catch(() => undefined) : undefined;
    if (!found?.isFile()) {
      response.statusCode = 404;
      response.end();
      return;
    }
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
    const [start, end] = range
      ? [Number(range[1]), Math.min(Number(range[2]), found.size - 1)]
      : [0, found.size - 1];
    response.statusCode = range ? 206 : 200;
    if (range) response.setHeader('Content-Range', `bytes ${start}-${end}/${found.size}`);
    response.setHeader('Content-Length', end - start + 1);
    createReadStream(file!, { start, end }).pipe(response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    address: `http://127.0.0.1:${port}/`,
    asked,
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
}
