import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { codeBlocks } from './readme.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const TRANSFORMERS = '@huggingface/transformers';
const manifest = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));
const [oldest, newest]: string[] = [
  manifest.peerDependencies[TRANSFORMERS],
  manifest.devDependencies[TRANSFORMERS],
].map((range: string) => range.replace(/^\^/, '')) as [string, string];

/** Projects of others that the package comes into. */
const projects = {
  'the oldest transformers.js that is taken': { dependencies: { [TRANSFORMERS]: oldest } },
  'the newest, moved to another ONNX Runtime': {
    dependencies: { [TRANSFORMERS]: newest },
    overrides: { [TRANSFORMERS]: { 'onnxruntime-node': '1.29.0' } },
  },
};

let folder: string;
let tarball: string;

/** Standard output of a program that ends well, in a project. */
async function run(
  cwd: string,
  program: string,
  ...args: string[]
): Promise<{ stdout: string; stderr: string }> {
  return promisify(execFile)(program, args, { cwd, env: { ...process.env, NODE_OPTIONS: '' } });
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'elastic-cache-installed-'));
  const { stdout } = await run(root, 'npm', 'pack', '--json', '--pack-destination', folder);
  const [packed] = Object.values<{ filename: string }>(JSON.parse(stdout));
  tarball = join(folder, packed!.filename);
});
afterAll(() => rm(folder, { recursive: true }));

describe.each(Object.entries(projects))('beside %s', (name, project) => {
  let home: string;

  beforeAll(async () => {
    home = join(folder, name.replaceAll(/\W+/g, '-'));
    await mkdir(home);
    const dependencies = { ...project.dependencies, [manifest.name]: `file:${tarball}` };
    await writeFile(join(home, 'package.json'), JSON.stringify({ ...project, type: 'module', dependencies }));
    await run(home, 'npm', 'install', '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund');
  });

  it('there is one ONNX Runtime', async () => {
    const { stdout } = await run(home, 'find', 'node_modules', '-name', 'onnxruntime-node', '-type', 'd');
    expect(stdout.trim().split('\n')).toHaveLength(1);
  });

  it.each([
    [TRANSFORMERS, manifest.name],
    [manifest.name, TRANSFORMERS],
  ])('%s is imported before %s', async (first, second) => {
    await run(home, process.execPath, '-e', `import('${first}').then(() => import('${second}'))`);
  });

  it("README's sample describes the picture", async () => {
    await writeFile(join(home, 'sample.mjs'), codeBlocks('ts')[0]!);
    const { stdout } = await run(home, process.execPath, 'sample.mjs');
    expect(stdout).toMatch(/ASSISTANT: The picture shows .*tokensHeld: \d+/s);
  });

  // Once is enough: what differs between these projects is behind the sample too.
  if ('overrides' in project) {
    it("README's commands answer", async () => {
      const lines = codeBlocks('sh')
        .find((block) => block.includes('npx elastic-cache generate'))!
        .split('\n');
      // These two need minutes, or a checkpoint.
      const short = lines.filter((line) => !/elastic-cache (eval|convert)/.test(line));
      const { stdout } = await run(home, 'bash', '-ec', short.join('\n'));
      expect(stdout).toMatch(/^The picture shows 5 objects.*│ elastic-plus .*\nexplained\.svg\n.*layers/s);
      await expect(readFile(join(home, 'explained.svg'), 'utf8')).resolves.toMatch(/^<svg/);
    });
  }

  it("the other examples' models and pictures are in the package", async () => {
    const { stdout } = await run(
      home,
      process.execPath,
      join('node_modules', manifest.name, 'examples', 'streaming.mjs'),
    );
    expect(stdout).toMatch(/The picture shows 5 objects/);
  });
});
