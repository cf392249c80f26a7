import { appendFileSync } from 'node:fs';
import { readFile, truncate } from 'node:fs/promises';
import { z } from 'zod';
import { ElasticCacheError } from '../errors.js';

const ResultLine = z.object({
  sample: z.string(),
  task: z.string(),
  policy: z.string(),
  budget: z.string(),
  /** The generated answer. */
  text: z.string().optional(),
  /** Entries in the cache when the answer was complete, the mean over the layers, and tokens seen by then. */
  tokensHeld: z.number().optional(),
  tokensSeen: z.number().optional(),
  perplexity: z.object({ nats: z.number(), tokens: z.int() }).optional(),
  /** F1 against the answer with the full cache, 0 to 1. */
  rouge: z.object({ rouge1: z.number(), rouge2: z.number(), rougeL: z.number() }).optional(),
  right: z.boolean().optional(),
  latency: z
    .object({
      batch: z.int(),
      promptTokens: z.int(),
      newTokens: z.int(),
      prefillMs: z.number(),
      msPerToken: z.number(),
      bytesHeld: z.number(),
      bytesPeak: z.number(),
    })
    .optional(),
});

/** What one policy and budget did on one task of one sample. */
export type ResultLine = z.infer<typeof ResultLine>;
/** What a line is about: no two lines share it. */
export type ResultKey = Pick<ResultLine, 'sample' | 'task' | 'policy' | 'budget'>;

const keyOf = ({ sample, task, policy, budget }: ResultKey) => JSON.stringify([sample, task, policy, budget]);

/** The lines of a sweep, one JSON object a line, on disk as soon as it is known. */
export class ResultsFile {
  private constructor(
    private readonly path: string,
    private readonly known: Map<string, ResultLine>,
  ) {}

  /**
   * Opens the lines of an earlier run, or none. A last line that was torn when that run was killed is cut off the file.
   * @throws ElasticCacheError 'invalid-data' when another line is damaged
   */
  static async open(path: string): Promise<ResultsFile> {
    const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return Buffer.alloc(0);
      throw error;
    });
    const whole = bytes.lastIndexOf('\n') + 1;
    if (whole < bytes.length) await truncate(path, whole);
    const lines = bytes.subarray(0, whole).toString('utf8').split('\n').slice(0, -1);
    const known = lines.map((line, index) => parseLine(line, `${path}:${index + 1}`));
    return new ResultsFile(path, new Map(known.map((line) => [keyOf(line), line])));
  }

  get lines(): ResultLine[] {
    return [...this.known.values()];
  }

  get(key: ResultKey): ResultLine | undefined {
    return this.known.get(keyOf(key));
  }

  /** Synchronous: an interrupt between two steps of the program finds the line whole or not there. */
  append(line: ResultLine): void {
    appendFileSync(this.path, `${JSON.stringify(line)}\n`);
    this.known.set(keyOf(line), line);
  }
}

function parseLine(line: string, place: string): ResultLine {
  try {
    return ResultLine.parse(JSON.parse(line));
  } catch (cause) {
    throw new ElasticCacheError(
      'invalid-data',
      `${place} is damaged; take that line out of the file, and what it held is measured again.`,
      { cause },
    );
  }
}
