import { defineConfig } from 'vitest/config';

/** What installs packages: `npm run test:installed`. */
export default defineConfig({
  test: {
    include: ['test/package/installed.ts'],
    testTimeout: 240_000,
    hookTimeout: 240_000,
    maxWorkers: 1,
  },
});
