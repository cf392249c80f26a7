import { cp, readdir, readFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { diskReason, ElasticCacheError } from '../../errors.js';
import { makeFolder } from '../../make-folder.js';
import { embeddedImage, embeddedModel } from '../../models/embedded.js';

/** The page to try models on: static files, with the embedded model and its pictures beside them. */

const built = fileURLToPath(new URL('../../../dist/playground/', import.meta.url));

const TYPES: Readonly<Record<string, string>> = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json',
  '.mjs': 'text/javascript; charset=utf-8',
  '.png': 'image/png',
  '.wasm': 'application/wasm',
};

const HEADERS: Readonly<Record<string, string>> = {
  'content-security-policy': [
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; img-src 'self' blob: data:",
    "connect-src 'self' https://huggingface.co https://*.huggingface.co https://*.hf.co",
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  ].join('; '),
  // WebAssembly has threads where no other origin shares the page's process.
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'cache-control': 'no-cache',
};

/** Folders of the page by the paths that they have in it. */
function folders(): Record<string, string> {
  const model = embeddedModel();
  return { '': built, 'models/llava-scenes/': model, 'samples/': join(embeddedImage(1), '..') };
}

/** A file of the page by its path, `''` for the page itself; only what lies in its folders is found. */
async function filesOfPage(): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  for (const [prefix, folder] of Object.entries(folders())) {
    const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
    for (const entry of entries) {
      if (!entry.isFile()) continue;
      const path = join(entry.parentPath, entry.name);
      const name = path
        .slice(folder.length)
        .replace(/^[\\/]/, '')
        .replaceAll('\\', '/');
      files.set(prefix + name, path);
    }
  }
  const page = files.get('index.html');
  if (page === undefined) {
    throw new ElasticCacheError(
      'missing-file',
      `${join(built, 'index.html')} should have come with the package; install it again, or build it with npm run build.`,
    );
  }
  return files.set('', page);
}

/** What the page says of what answers, as it is built. */
const IN_PAGE = '<meta name="backend" content="page" />';
const ON_SERVER = IN_PAGE.replace('"page"', '"server"');

/**
 * Answers requests for the page.
 * @param backend what answers its questions: a model in the page, or the server that gives it out, which needs no model beside it
 * @throws ElasticCacheError 'missing-file' when it was not installed
 */
export async function servePage(
  backend: 'page' | 'server' = 'page',
): Promise<(request: Request) => Promise<Response>> {
  const files = await filesOfPage();
  const isOnServer = backend === 'server';
  if (isOnServer) for (const name of files.keys()) if (/^(models|ort)\//.test(name)) files.delete(name);
  return async ({ method, url, headers: asked }) => {
    if (method !== 'GET' && method !== 'HEAD') return new Response(null, { status: 405, headers: HEADERS });
    const path = decoded(new URL(url).pathname.slice(1));
    const file = path === undefined ? undefined : files.get(path);
    if (file === undefined) return new Response('There is no such page.', { status: 404, headers: HEADERS });
    const read = await readFile(file);
    const isPage = isOnServer && file === files.get('');
    const bytes = isPage ? Buffer.from(read.toString('utf8').replace(IN_PAGE, ON_SERVER)) : read;
    const type = TYPES[extname(file)] ?? 'application/octet-stream';
    const headers = { ...HEADERS, 'content-type': type };
    const [, first, last] = /^bytes=(\d{1,12})-(\d{1,12})$/.exec(asked.get('range') ?? '') ?? [];
    const part = first === undefined ? bytes : bytes.subarray(Number(first), Number(last) + 1);
    // How large a file is, is asked for with its first byte.
    const range =
      part === bytes || part.length === 0
        ? undefined
        : `bytes ${first}-${Number(first) + part.length - 1}/${bytes.length}`;
    return new Response(method === 'HEAD' ? null : range ? part : bytes, {
      status: range ? 206 : 200,
      headers: {
        ...headers,
        'content-length': String((range ? part : bytes).length),
        ...(range && { 'content-range': range }),
      },
    });
  };
}

function decoded(path: string): string | undefined {
  try {
    return decodeURIComponent(path);
  } catch {
    return undefined;
  }
}

/** Writes the page as a folder that any server of static files can give out. @throws ElasticCacheError 'missing-file', 'invalid-option' */
export async function writePage(target: string): Promise<void> {
  await filesOfPage();
  await makeFolder(target).catch((cause: unknown) => {
    throw new ElasticCacheError(
      'invalid-option',
      `${target} cannot be made a folder (${diskReason(cause)}); name another.`,
      { cause },
    );
  });
  if ((await readdir(target)).length > 0) {
    throw new ElasticCacheError(
      'invalid-option',
      `${target} is not empty; name a folder that is, or that is not there.`,
    );
  }
  for (const [prefix, folder] of Object.entries(folders()))
    await cp(folder, join(target, prefix), { recursive: true });
}
