import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * Runs the tests on another transformers.js, in a copy: `npm run test:against -- 4.2.0`, with test files behind it for some of them only.
 * The range in package.json's peerDependencies is what this has passed on.
 */
const [version, ...files] = process.argv.slice(2);
if (version === undefined) {
  console.error('error: say which version of transformers.js, such as npm run test:against -- 4.2.0');
  process.exit(2);
}
const root = fileURLToPath(new URL('../..', import.meta.url));
const copy = mkdtempSync(join(tmpdir(), 'elastic-cache-against-'));
try {
  const listed = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: root,
  });
  for (const file of new Set(String(listed).split('\0').filter(Boolean))) {
    cpSync(join(root, file), join(copy, file), { verbatimSymlinks: true });
  }
  const manifest = JSON.parse(readFileSync(join(copy, 'package.json'), 'utf8'));
  manifest.devDependencies['@huggingface/transformers'] = version;
  manifest.peerDependencies['@huggingface/transformers'] = version;
  writeFileSync(join(copy, 'package.json'), JSON.stringify(manifest));
  for (const [program, ...args] of [
    ['npm', 'install', '--prefer-offline', '--no-audit', '--no-fund'],
    ['npx', 'tsc', '--noEmit'],
    ['npm', 'run', '--silent', 'build'],
    ['npx', 'vitest', 'run', ...files],
  ] as [string, ...string[]][]) {
    const { status } = spawnSync(program, args, { cwd: copy, stdio: 'inherit' });
    if (status !== 0) process.exitCode = 1;
  }
} finally {
  rmSync(copy, { recursive: true });
}
