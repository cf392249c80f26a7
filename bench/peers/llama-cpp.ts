import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Contender } from '../generation/clocks.js';
import type { Weights } from '../generation/four-layers.js';
import { writeGguf } from './gguf.js';

/** What is used of node-llama-cpp, which is installed in a folder of its own. */
interface Sequence {
  clearHistory(): Promise<void>;
  dispose(): Promise<void>;
  evaluate(tokens: readonly number[]): AsyncGenerator<number, void>;
  evaluateWithoutGeneratingNewTokens(tokens: readonly number[]): Promise<void>;
}
interface Context {
  getSequence(): Sequence;
  dispose(): Promise<void>;
}
interface Library {
  getLlama(options: object): Promise<{
    loadModel(options: object): Promise<{
      createContext(options: object): Promise<Context>;
      dispose(): Promise<void>;
    }>;
  }>;
}

const library = fileURLToPath(new URL('node_modules/node-llama-cpp/dist/index.js', import.meta.url));

/** llama.cpp on a model of the same shape, its cache in half precision as it has it. */
export interface LlamaCpp {
  prompt(tokens: number): Promise<Contender>;
  /** Tokens after `cached` others, one a call for each of `batch` sequences. */
  token(cached: number, batch: number): Promise<Contender>;
  /** Answers all requests, so many tokens each, in as many parallel slots; the prompts too. */
  requests(requests: readonly { prompt: number; answer: number }[], slots: number): Promise<Contender>;
  remove(): Promise<void>;
}

/** Undefined where node-llama-cpp is not installed. */
export async function llamaCpp(weights: Weights): Promise<LlamaCpp | undefined> {
  if (!existsSync(library)) return undefined;
  const { getLlama } = (await import(library)) as Library;
  const directory = await mkdtemp(join(tmpdir(), 'elastic-cache-llama-'));
  const path = join(directory, 'four-layers.gguf');
  await writeGguf(path, weights);
  const llama = await getLlama({
    gpu: false,
    build: 'never',
    logLevel: 'error',
    // More threads than cores wait for each other.
    maxThreads: availableParallelism(),
  });
  const model = await llama.loadModel({ modelPath: path });
  const ids = (count: number) => Array.from({ length: count }, (_, i) => 3 + ((i * 7919) % 256));
  const contexts: Context[] = [];
  const sequences = async (tokens: number, count = 1) => {
    const context = await model.createContext({ contextSize: tokens, batchSize: 512, sequences: count });
    contexts.push(context);
    return Array.from({ length: count }, () => context.getSequence());
  };
  return {
    async prompt(tokens) {
      const [own] = (await sequences(tokens + 64)) as [Sequence];
      return async () => {
        await own.clearHistory();
        await own.evaluateWithoutGeneratingNewTokens(ids(tokens));
      };
    },
    async token(cached, batch) {
      const all = await sequences(cached + 1024, batch);
      for (const own of all) await own.evaluateWithoutGeneratingNewTokens(ids(cached));
      return () => Promise.all(all.map((own) => own.evaluateWithoutGeneratingNewTokens(ids(1))));
    },
    async requests(requests, slots) {
      const longest = Math.max(...requests.map(({ prompt, answer }) => prompt + answer));
      const free = await sequences(longest + 64, slots);
      return async () => {
        const waiting = [...requests];
        const serve = async (own: Sequence) => {
          for (let next = waiting.shift(); next; next = waiting.shift()) {
            await own.clearHistory();
            let told = 0;
            for await (const _ of own.evaluate(ids(next.prompt))) if (++told === next.answer) break;
          }
        };
        await Promise.all(free.map(serve));
      };
    },
    async remove() {
      // A model that has several waits for ever.
      for (const context of contexts) await context.dispose();
      await model.dispose();
      await rm(directory, { recursive: true });
    },
  };
}
