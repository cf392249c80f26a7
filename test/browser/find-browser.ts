import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Browser, chromium, type Page } from 'playwright-core';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** What a browser is started by. */
interface Program {
  path: string;
  env?: Record<string, string>;
}

/** Where people and systems put a browser of this kind. */
const KNOWN = [
  ...[
    '/usr/bin/chromium',
    '/usr/bin/chromium-browser',
    '/usr/bin/google-chrome',
    '/usr/bin/google-chrome-stable',
  ],
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
  'C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe',
  'C:\\Program Files (x86)\\Microsoft\\Edge\\Application\\msedge.exe',
];

/** Arguments for a GPU made of software: what is right there is right; how fast it is says nothing. */
export const SOFTWARE_GPU = [
  '--enable-unsafe-webgpu',
  '--use-webgpu-adapter=swiftshader',
  '--enable-features=Vulkan',
];

/** Whether a page of a browser is given a GPU. */
export async function hasGpu(page: Page): Promise<boolean> {
  return page.evaluate(async () => Boolean(await navigator.gpu?.requestAdapter()));
}

/**
 * Starts a browser that nobody had to download: the one named by `CHROMIUM`, the one that the package @sparticuz/chromium carries (64-bit Linux), or the machine's own.
 * @param args more of its own arguments
 */
export async function startBrowser(args: readonly string[] = []): Promise<Browser> {
  const failures: string[] = [];
  for (const find of [named, packed, installed]) {
    const program = await find().catch((cause: Error) => void failures.push(cause.message));
    if (!program) continue;
    try {
      return await chromium.launch({
        executablePath: program.path,
        args: ['--no-sandbox', ...args],
        env: { ...(process.env as Record<string, string>), ...program.env },
      });
    } catch (cause) {
      failures.push(`${program.path}: ${(cause as Error).message.slice(0, 2000)}`);
    }
  }
  throw new Error(
    `No browser starts here; install Chromium or Chrome, or name one in the environment as CHROMIUM.\n${failures.join('\n')}`,
  );
}

async function named(): Promise<Program | undefined> {
  return process.env.CHROMIUM ? { path: process.env.CHROMIUM } : undefined;
}

async function installed(): Promise<Program | undefined> {
  const path = KNOWN.find((each) => existsSync(each));
  return path === undefined ? undefined : { path };
}

/** Unpacks the package's browser beside it, once: it takes two seconds. */
async function packed(): Promise<Program | undefined> {
  if (process.platform !== 'linux' || process.arch !== 'x64') return undefined;
  const home = join(root, 'node_modules', '@sparticuz', 'chromium');
  const { version } = JSON.parse(await readFile(join(home, 'package.json'), 'utf8')) as { version: string };
  const folder = join(root, 'node_modules', '.cache', `chromium-${version}`);
  if (!existsSync(folder)) await unpack(folder);
  return {
    path: join(folder, 'chromium'),
    env: {
      // Libraries that it needs and that small systems lack; and a font, where there is none.
      LD_LIBRARY_PATH: [join(folder, 'al2023', 'lib'), process.env.LD_LIBRARY_PATH ?? '']
        .filter(Boolean)
        .join(':'),
      ...(existsSync('/usr/share/fonts') ? {} : { FONTCONFIG_PATH: join(folder, 'fonts') }),
    },
  };
}

/** What of the environment the package is told, and changes. */
const CHANGED = ['TMPDIR', 'AWS_EXECUTION_ENV', 'LD_LIBRARY_PATH', 'FONTCONFIG_PATH'];

/** The package unpacks into the folder for temporary files, where others may see it half done, and what comes with it only where it takes itself to be on a server of its kind. */
async function unpack(folder: string): Promise<void> {
  await mkdir(dirname(folder), { recursive: true });
  const part = await mkdtemp(`${folder}-`);
  const before = CHANGED.map((name) => [name, process.env[name]] as const);
  try {
    Object.assign(process.env, { TMPDIR: part, AWS_EXECUTION_ENV: 'AWS_Lambda_nodejs22.x' });
    const { default: carried } = await import('@sparticuz/chromium');
    await carried.executablePath();
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
  await rename(part, folder).catch(async () => {
    // Another run was first.
    await rm(part, { recursive: true, force: true });
  });
}
