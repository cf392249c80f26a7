import { readdir, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import Table from 'cli-table3';
import { ElasticCacheError } from '../../errors.js';
import { type Inspection, inspectDecoder } from '../../graph/inspect.js';
import type { Model } from '../../graph/onnx/onnx.js';
import { readSkeleton } from '../../graph/onnx/skeleton.js';
import { FileSource } from '../../platform/node/files/file-source.js';
import type { InspectResult } from '../results/schemas.js';
import { version } from '../version.js';

/**
 * Tells how a decoder attends, layer by layer, and what its cache costs.
 * @throws ElasticCacheError 'unsupported-graph' for one that cannot be rewritten, with the node and the reason
 */
export async function inspect(path: string, { json }: { json?: true }): Promise<void> {
  const file = await decoderFile(path);
  const { decoder, report, cacheBytesPerToken, operators, refusal } = inspectDecoder(await readGraph(file));
  if (!decoder || !report || cacheBytesPerToken === undefined) {
    throw new ElasticCacheError('unsupported-graph', `${file}: ${refusal}`);
  }
  const found = { file, decoder, report, cacheBytesPerToken, operators };
  const result: InspectResult = { version: version(), ...found };
  process.stdout.write(json ? `${JSON.stringify(result)}\n` : text(found));
}

/** What was found in a decoder that can be rewritten. */
type Found = { file: string } & {
  [Part in Exclude<keyof Inspection, 'refusal'>]: NonNullable<Inspection[Part]>;
};

async function readGraph(file: string): Promise<Model> {
  const source = await FileSource.open(file);
  try {
    return await readSkeleton(source, basename(file));
  } catch (cause) {
    if (!(cause instanceof ElasticCacheError)) throw cause;
    throw new ElasticCacheError(cause.code, `${file}: ${cause.message}`, { cause });
  } finally {
    await source.close();
  }
}

async function decoderFile(path: string): Promise<string> {
  const found = await stat(path).catch((cause: unknown) => {
    throw new ElasticCacheError('missing-file', `${path} cannot be opened; check the path.`, { cause });
  });
  if (!found.isDirectory()) return path;
  const files = await readdir(join(path, 'onnx')).catch(() => []);
  const decoder = files.sort().find((file) => /^(decoder_model_merged|model)(_\w+)?\.onnx$/.test(file));
  if (decoder !== undefined) return join(path, 'onnx', decoder);
  throw new ElasticCacheError(
    'missing-file',
    `${path} holds no onnx/decoder_model_merged*.onnx or onnx/model*.onnx, so it is no model directory; give one in transformers.js layout, or an .onnx file.`,
  );
}

function text({ file, decoder, report, cacheBytesPerToken, operators }: Found): string {
  const table = new Table({
    head: ['layer', 'attention', 'node', 'rotation', 'heads', 'kv heads', 'head size', 'sees'],
    style: { head: [], border: [] },
  });
  for (const { index, queryHeads, kvHeads, headDim, window } of decoder.layers) {
    const { pattern, node, rope } = report.layers[index]!;
    table.push([index, pattern, node, rope, queryHeads, kvHeads, headDim, window ?? 'all']);
  }
  return [
    `${file} can be rewritten.`,
    table.toString(),
    `cache      ${cacheBytesPerToken} bytes per token over ${decoder.layers.length} layers (${decoder.stockPast})`,
    `nodes      ${report.nodesBefore}, rewritten ${report.nodesAfter}`,
    ...(decoder.longestText === undefined
      ? []
      : [
          `texts      of ${decoder.longestText} tokens at most: its mask is no wider, and the original fails beyond`,
        ]),
    `dropped    ${report.removedInputs.join(', ') || 'no inputs'}`,
    `operators  ${operators.map(({ name, count }) => `${count} ${name}`).join(', ')}`,
    '',
  ].join('\n');
}
