import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { finished, run, start } from '../cli/run-cli.js';

const checkpoint = fileURLToPath(new URL('fixtures/tiny-llava', import.meta.url));

it('a conversion that is interrupted leaves nothing, and the next removes what a killed one left', async () => {
  const root = await mkdtemp(join(tmpdir(), 'elastic-cache-interrupted-'));
  try {
    const args = ['convert', '--from', checkpoint, '--to', join(root, 'model'), '--dtype', 'fp32,q8,q4'];
    const child = start(...args);
    const done = finished(child);
    while (!(await readdir(root)).some((name) => name.startsWith('.model-')) && child.exitCode === null) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    child.kill('SIGINT');
    expect((await done).code).toBe(130);
    expect(await readdir(root)).toEqual([]);

    const name = `.model-${hostname().replaceAll(/[^\w.]/g, '_')}-${child.pid}-00000000-0000-0000-0000-000000000000`;
    await mkdir(join(root, name));
    await writeFile(join(root, name, 'weights'), 'x');
    const { code } = await run(...args);
    expect({ code, left: await readdir(root) }).toEqual({ code: 0, left: ['model'] });
  } finally {
    await rm(root, { recursive: true });
  }
});
