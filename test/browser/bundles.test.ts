import { copyFile, cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { Browser } from 'playwright-core';
import { build as viteBuild } from 'vite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import webpack from 'webpack';
import { chat, ElasticCache, loadElastic } from '../../src/index.js';
import { FAMILIES, writeTinyFamily } from '../families/tiny-families.js';
import { bundle, ortFolder, root } from './bundles.js';
import { startBrowser } from './find-browser.js';
import { serve } from './serve.js';

const TRANSFORMERS = '@huggingface/transformers';

const compressed = (bytes: Uint8Array) => gzipSync(bytes, { level: 9 }).length;

describe('the entry for browsers', () => {
  it('is bundled without a module of Node', async () => {
    const contents = `export * from 'elastic-cache'; export * from 'elastic-cache/graph';`;
    const { metafile } = await bundle({
      stdin: { contents, resolveDir: root },
      external: [TRANSFORMERS],
    });
    const files = Object.keys(metafile!.inputs);
    expect(files.length).toBeGreaterThan(100);
    // What Node has a bundler for browsers does not find, and says so.
    expect(files.filter((file) => /platform\/node|node_modules\/(?!@bufbuild)/.test(file))).toEqual([]);
    const own = await Promise.all(
      files.filter((file) => file.startsWith('dist/')).map((file) => readFile(join(root, file), 'utf8')),
    );
    expect(own.join('').match(/\b(process\.(env|platform|on|exit)|Buffer\.\w+)\b/)?.[0]).toBeUndefined();
  });

  it('has at most 50 kB, compressed, and what comes with the first model 70', async () => {
    const { outputFiles, metafile } = await bundle({
      stdin: { contents: `export { ElasticCache, loadElastic } from 'elastic-cache';`, resolveDir: root },
      external: [TRANSFORMERS],
      splitting: true,
      minify: true,
      outdir: 'out',
    });
    const sizes = new Map(
      outputFiles!.map(({ path, contents }) => [path.slice(root.length), compressed(contents)]),
    );
    const atOnce = new Set<string>();
    const visit = (file: string) => {
      if (atOnce.has(file) || !sizes.has(file)) return;
      atOnce.add(file);
      for (const { path, kind } of metafile!.outputs[file]!.imports)
        if (kind === 'import-statement') visit(path);
    };
    visit('out/stdin.js');
    const sum = (files: Iterable<string>) =>
      Array.from(files).reduce((all, file) => all + sizes.get(file)!, 0);
    const [first, all] = [sum(atOnce), sum(sizes.keys())];
    expect(first).toBeGreaterThan(10_000);
    expect(first).toBeLessThan(50_000);
    expect(all - first).toBeGreaterThan(10_000);
    expect(all - first).toBeLessThan(70_000);
  });
});

/** How each bundler makes a page of `app.js` in a project's folder, as `main.js` in another. */
const BUNDLERS: Record<string, (project: string, outdir: string) => Promise<unknown>> = {
  Vite: (project, outDir) =>
    viteBuild({
      root: project,
      configFile: false,
      logLevel: 'error',
      build: {
        outDir,
        minify: false,
        chunkSizeWarningLimit: 2000,
        rolldownOptions: { input: join(project, 'app.js'), output: { entryFileNames: 'main.js' } },
      },
    }),
  webpack: (context, path) =>
    new Promise<void>((resolve, reject) => {
      const output = { path, filename: 'main.js' };
      webpack({ mode: 'none', entry: './app.js', context, output }, (error, stats) => {
        const errors = stats?.hasErrors() ? stats.toString({ all: false, errors: true }) : '';
        if (error || errors) reject(error ?? new Error(errors));
        else resolve();
      });
    }),
  esbuild: (project, outdir) =>
    bundle({
      entryPoints: { main: join(project, 'app.js') },
      outdir,
      splitting: true,
      write: true,
      plugins: [],
    }),
};

/** A project of others that has the package installed. */
async function writeProject(project: string): Promise<void> {
  const modules = join(project, 'node_modules');
  const home = join(modules, 'elastic-cache');
  await mkdir(home, { recursive: true });
  await copyFile(join(root, 'test/browser/app.js'), join(project, 'app.js'));
  await writeFile(join(project, 'package.json'), '{"type": "module"}');
  await copyFile(join(root, 'package.json'), join(home, 'package.json'));
  await cp(join(root, 'dist'), join(home, 'dist'), { recursive: true });
  for (const scope of ['@huggingface', '@bufbuild']) {
    await symlink(join(root, 'node_modules', scope), join(modules, scope), 'junction');
  }
}

describe('a page', () => {
  let folder: string;
  let project: string;
  let browser: Browser;
  let expected = '';

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'bundled-'));
    project = join(folder, 'project');
    await writeProject(project);
    await writeTinyFamily(join(folder, 'models/tiny'), FAMILIES.SmolVLM!);
    browser = await startBrowser();
    const loaded = await loadElastic(join(folder, 'models/tiny'));
    const cache = new ElasticCache({ budget: 0.3 });
    const question = { prompt: 'w1 w2', maxNewTokens: 8, temperature: 0 };
    for await (const event of chat(loaded, { cache }).ask(question)) {
      if (event.type === 'finish') expected = event.text;
    }
    await loaded.model.dispose();
  });
  afterAll(async () => {
    await browser?.close();
    await rm(folder, { recursive: true });
  });

  it.each(Object.entries(BUNDLERS))('made with %s answers what Node answers', async (name, build) => {
    await build(project, join(folder, name));
    const html =
      '<!doctype html><link rel="icon" href="data:,"><script type="module" src="/app/main.js"></script>';
    const site = await serve({
      '/': { '': html },
      '/app/': join(folder, name),
      '/models/': join(folder, 'models'),
      '/ort/': ortFolder,
    });
    const page = await browser.newPage();
    const errors: string[] = [];
    page.on('pageerror', (error) => errors.push(String(error)));
    await page.goto(site.address);
    await page.waitForFunction('globalThis.answer', undefined, { timeout: 20_000 }).catch(() => {});
    expect(errors).toEqual([]);
    expect(await page.evaluate("answer('tiny', 'w1 w2')")).toBe(expected);
    expect(expected).not.toBe('');
    await page.close();
    await site.close();
  });
});
