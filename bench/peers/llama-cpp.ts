import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Contender } from '../generation/clocks.js';
import type { Weights } from '../generation/four-layers.js';
import { writeGguf } from './gguf.js';

/** What is used of node-llama-cpp, which is installed in a folder of its own. */
interface Sequence {
  clearHistory(): Promise<void>;
  evaluateWithoutGeneratingNewTokens(tokens: readonly number[]): Promise<void>;
}
interface Library {
  getLlama(options: object): Promise<{
    loadModel(options: object): Promise<{
      createContext(options: object): Promise<{ getSequence(): Sequence; dispose(): Promise<void> }>;
      dispose(): Promise<void>;
    }>;
  }>;
}

const library = fileURLToPath(new URL('node_modules/node-llama-cpp/dist/index.js', import.meta.url));

/** llama.cpp on a model of the same shape, its cache in half precision as it has it. */
export interface LlamaCpp {
  prompt(tokens: number): Promise<Contender>;
  /** Tokens after `cached` others, one a call. */
  token(cached: number): Promise<Contender>;
  remove(): Promise<void>;
}

/** Undefined where node-llama-cpp is not installed. */
export async function llamaCpp(weights: Weights): Promise<LlamaCpp | undefined> {
  if (!existsSync(library)) return undefined;
  const { getLlama } = (await import(library)) as Library;
  const directory = await mkdtemp(join(tmpdir(), 'elastic-cache-llama-'));
  const path = join(directory, 'four-layers.gguf');
  await writeGguf(path, weights);
  const llama = await getLlama({ gpu: false, build: 'never', logLevel: 'error' });
  const model = await llama.loadModel({ modelPath: path });
  const ids = (count: number) => Array.from({ length: count }, (_, i) => 3 + ((i * 7919) % 256));
  const sequence = async (tokens: number) => {
    const context = await model.createContext({ contextSize: tokens, batchSize: 512, sequences: 1 });
    return context.getSequence();
  };
  return {
    async prompt(tokens) {
      const own = await sequence(tokens + 64);
      return async () => {
        await own.clearHistory();
        await own.evaluateWithoutGeneratingNewTokens(ids(tokens));
      };
    },
    async token(cached) {
      const own = await sequence(cached + 1024);
      await own.evaluateWithoutGeneratingNewTokens(ids(cached));
      return () => own.evaluateWithoutGeneratingNewTokens(ids(1));
    },
    async remove() {
      await model.dispose();
      await rm(directory, { recursive: true });
    },
  };
}
