import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BuildOptions, build, type Plugin } from 'esbuild';

export const root = fileURLToPath(new URL('../..', import.meta.url));

/** The folder of ONNX Runtime's WebAssembly, of the copy that transformers.js runs on. */
export const ortFolder = dirname(
  createRequire(createRequire(import.meta.url).resolve('@huggingface/transformers')).resolve(
    'onnxruntime-web',
  ),
);

/** Tests are written against `src/`, for their types; what runs is the package as others import it: `dist/` by its exports. */
const asInstalled: Plugin = {
  name: 'as installed',
  setup({ onResolve, resolve }) {
    onResolve({ filter: /\/src\/browser\.js$/ }, ({ kind }) =>
      resolve('elastic-cache', { resolveDir: root, kind }),
    );
  },
};

/** Bundles a module for browsers, in memory. */
export async function bundle(options: BuildOptions) {
  return build({
    bundle: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    write: false,
    metafile: true,
    logLevel: 'silent',
    absWorkingDir: root,
    // Else the paths of tsconfig.json would lead to Node's side.
    tsconfigRaw: '{}',
    plugins: [asInstalled],
    ...options,
  });
}
