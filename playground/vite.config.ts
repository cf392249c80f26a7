import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defaultClientConditions, defineConfig, type Plugin } from 'vite';

/** ONNX Runtime as transformers.js has it: what is bundled into the page runs these files and no others. */
const ort = dirname(
  createRequire(createRequire(import.meta.url).resolve('@huggingface/transformers')).resolve(
    'onnxruntime-web',
  ),
);
/** One for WebAssembly alone, and one that runs on a GPU as well, which is fetched where it is needed. */
const FILES = ['ort-wasm-simd-threaded', 'ort-wasm-simd-threaded.asyncify'].flatMap((name) => [
  `${name}.mjs`,
  `${name}.wasm`,
]);

function ortFiles(): Plugin {
  return {
    name: 'files of ONNX Runtime',
    async generateBundle() {
      for (const file of FILES) {
        this.emitFile({ type: 'asset', fileName: `ort/${file}`, source: await readFile(join(ort, file)) });
      }
    },
  };
}

export default defineConfig({
  root: fileURLToPath(new URL('.', import.meta.url)),
  base: './',
  resolve: {
    // The page names the WebAssembly that it has; without this, another of 27 MB would be put beside it.
    conditions: [...defaultClientConditions, 'onnxruntime-web-use-extern-wasm'],
    alias: { '#platform': fileURLToPath(new URL('../src/platform/browser', import.meta.url)) },
  },
  plugins: [ortFiles()],
  worker: { format: 'es' },
  build: {
    outDir: fileURLToPath(new URL('../dist/playground', import.meta.url)),
    emptyOutDir: true,
    target: 'es2022',
    chunkSizeWarningLimit: 1500,
    assetsInlineLimit: 0,
  },
});
