import { readdir, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import Table from 'cli-table3';
import { ElasticCacheError } from '../../errors.js';
import { graphOf, type Model } from '../../graph/onnx.js';
import { rewriteDecoder } from '../../graph/rewrite.js';
import { readSkeleton } from '../../graph/skeleton.js';
import { FileSource } from '../../runtime/file-source.js';

/** Tells how a decoder attends, layer by layer, and what its cache costs. A graph that cannot be rewritten is refused. */
export async function inspect(path: string, { json }: { json?: true }): Promise<void> {
  const file = await decoderFile(path);
  const report = describe(file, await readGraph(file));
  process.stdout.write(json ? `${JSON.stringify(report)}\n` : text(report));
}

interface Report {
  file: string;
  layers: {
    index: number;
    pattern: string;
    node: string;
    rope: string;
    queryHeads: number;
    kvHeads: number;
    headDim: number;
  }[];
  cacheBytesPerToken: number;
  nodes: { before: number; after: number };
  removedInputs: string[];
  operators: Record<string, number>;
}

async function readGraph(file: string): Promise<Model> {
  const source = await FileSource.open(file);
  try {
    return await readSkeleton(source, basename(file));
  } catch (cause) {
    throw named(file, cause);
  } finally {
    await source.close();
  }
}

function describe(file: string, model: Model): Report {
  const { decoder, report } = rewritten(file, model);
  const operators: Record<string, number> = {};
  for (const { opType } of graphOf(model).node) operators[opType] = (operators[opType] ?? 0) + 1;
  return {
    file,
    layers: decoder.layers.map((layer, i) => {
      const { pattern, node, rope } = report.layers[i]!;
      return { ...layer, pattern, node, rope };
    }),
    cacheBytesPerToken: decoder.layers.reduce(
      (sum, { kvHeads, headDim }) => sum + 2 * kvHeads * headDim * Float32Array.BYTES_PER_ELEMENT,
      0,
    ),
    nodes: { before: report.nodesBefore, after: report.nodesAfter },
    removedInputs: report.removedInputs,
    operators: Object.fromEntries(Object.entries(operators).sort(([, a], [, b]) => b - a)),
  };
}

function rewritten(file: string, model: Model) {
  try {
    return rewriteDecoder(model);
  } catch (cause) {
    throw named(file, cause);
  }
}

/** The same error with the file it is about. */
function named(file: string, cause: unknown): unknown {
  if (!(cause instanceof ElasticCacheError)) return cause;
  return new ElasticCacheError(cause.code, `${file}: ${cause.message}`, { cause });
}

async function decoderFile(path: string): Promise<string> {
  const found = await stat(path).catch((cause: unknown) => {
    throw new ElasticCacheError('missing-file', `${path} cannot be opened; check the path.`, { cause });
  });
  if (!found.isDirectory()) return path;
  const files = await readdir(join(path, 'onnx')).catch(() => []);
  const decoder = files.sort().find((file) => /^decoder_model_merged.*\.onnx$/.test(file));
  if (decoder !== undefined) return join(path, 'onnx', decoder);
  throw new ElasticCacheError(
    'missing-file',
    `${path} holds no onnx/decoder_model_merged*.onnx, so it is no model directory; give one in transformers.js layout, or an .onnx file.`,
  );
}

function text({ file, layers, cacheBytesPerToken, nodes, removedInputs, operators }: Report): string {
  const table = new Table({
    head: ['layer', 'attention', 'node', 'rotation', 'heads', 'kv heads', 'head size'],
    style: { head: [], border: [] },
  });
  for (const { index, pattern, node, rope, queryHeads, kvHeads, headDim } of layers) {
    table.push([index, pattern, node, rope, queryHeads, kvHeads, headDim]);
  }
  const counts = Object.entries(operators).map(([name, count]) => `${count} ${name}`);
  return [
    `${file} can be rewritten.`,
    table.toString(),
    `cache      ${cacheBytesPerToken} bytes per token over ${layers.length} layers (float32)`,
    `nodes      ${nodes.before}, rewritten ${nodes.after}`,
    `dropped    ${removedInputs.join(', ') || 'no inputs'}`,
    `operators  ${counts.join(', ')}`,
    '',
  ].join('\n');
}
