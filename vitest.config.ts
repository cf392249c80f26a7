import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  // What differs between Node and browsers comes from src/ as well, and not from what package.json names in dist/.
  resolve: { alias: { '#platform': fileURLToPath(new URL('src/platform/node', import.meta.url)) } },
  test: {
    include: ['src/**/*.test.ts', 'test/**/*.test.ts', 'demo-model/**/*.test.ts'],
    // ONNX Runtime sessions are native and hold real memory: a process per file keeps one from starving another.
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
