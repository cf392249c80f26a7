import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ElasticCacheError } from '../errors.js';
import { writeDirectory } from './atomic-directory.js';
import { Checkpoint } from './checkpoint.js';
import { buildDecoder, buildEmbedTokens } from './decoder-graph.js';
import type { ReadTensor, WeightFormat } from './layers.js';
import { llavaSpec } from './llava-spec.js';
import { head, llavaTensors } from './llava-tensors.js';
import { checkFiles, readCheckpointFiles, writeModelFiles } from './model-files.js';
import { OnnxFile } from './onnx-file.js';
import { buildVisionEncoder } from './vision-graph.js';

/** fp32: as trained. int8: 8-bit weights, activations in 8 bits per token. int4: 4-bit weights in blocks, vision tower int8. */
export type ConvertDtype = 'fp32' | 'int8' | 'int4';

export interface ConvertProgress {
  /** The ONNX file being written. */
  readonly file: string;
  /** The checkpoint's tensor that was just read. */

  readonly tensor: string;
  /** 1 for the first tensor, `total` for the last, over all files. */
  readonly index: number;
  readonly total: number;
  /** float32 bytes of the tensors read so far. */
  readonly bytes: number;
}

export interface ConvertOptions {
  /** A Hugging Face LlavaForConditionalGeneration directory with safetensors weights. */
  readonly from: string;
  /** The transformers.js directory to make: absent or empty. */
  readonly to: string;
  /** One precision or several; the first is the one that is loaded when none is asked for. */
  readonly dtype: ConvertDtype | readonly ConvertDtype[];
  /**
   * Weights that share a scale in int4: 128 unless told otherwise, the fastest for a single token on a CPU; 32 is a
   * little more exact.
   */
  readonly blockSize?: 32 | 64 | 128;
  readonly onProgress?: (progress: ConvertProgress) => void;
}

/** File suffix and name of each precision in transformers.js. */
const dtypes = {
  fp32: { suffix: '', name: 'fp32' },
  int8: { suffix: '_quantized', name: 'q8' },
  int4: { suffix: '_q4', name: 'q4' },
} as const;

/**
 * Turns a LLaVA checkpoint into a directory that transformers.js loads, tensor by tensor: memory holds about one tensor
 * at a time. The directory appears complete or not at all.
 * @throws ElasticCacheError 'invalid-option' (dtype, blockSize, `to`), 'missing-file', 'invalid-checkpoint' (a tensor is
 * missing, misshapen or cut off, before anything is written), 'unsupported-model', 'out-of-space'.
 */
export async function convertCheckpoint(options: ConvertOptions): Promise<void> {
  const chosen = chosenDtypes(options.dtype);
  const blockSize = checkedBlockSize(options.blockSize ?? 128);
  const files = await readCheckpointFiles(options.from);
  const spec = llavaSpec(files.config);
  checkFiles(files, spec);
  const checkpoint = await Checkpoint.open(options.from);
  try {
    const tensors = llavaTensors(spec, checkpoint.has(head));
    const needed = [...tensors.visionEncoder, ...tensors.embedTokens, ...tensors.decoder];
    checkpoint.check(needed);
    const output = tensors.decoder.at(-1)!.name.replace(/\.weight$/, '');
    const read = progressReader(checkpoint, needed.length * chosen.length, options.onProgress);
    await writeDirectory(options.to, async (directory) => {
      const graphs = join(directory, 'onnx');
      await mkdir(graphs);
      const dataFiles: Record<string, number> = {};
      const build = async (name: string, add: (file: OnnxFile, read: ReadTensor) => Promise<void>) => {
        const file = new OnnxFile(graphs, name);
        try {
          await add(file, (tensor) => read(name, tensor));
          dataFiles[name] = await file.finish();
        } finally {
          await file.close();
        }
      };
      for (const dtype of chosen) {
        const { suffix } = dtypes[dtype];
        const format: WeightFormat = dtype === 'int4' ? { kind: dtype, blockSize } : { kind: dtype };
        // The tower runs once an image, on hundreds of tokens, where int8 is the faster and the more exact of the two.
        const vision: WeightFormat = dtype === 'int4' ? { kind: 'int8' } : format;
        await build(`vision_encoder${suffix}.onnx`, (file, tensor) =>
          buildVisionEncoder(file, spec, tensor, vision),
        );
        await build(`embed_tokens${suffix}.onnx`, (file, tensor) =>
          buildEmbedTokens(file, spec.text, tensor),
        );
        await build(`decoder_model_merged${suffix}.onnx`, (file, tensor) =>
          buildDecoder(file, spec.text, output, tensor, format),
        );
      }
      await writeModelFiles(directory, files, spec, { dtype: dtypes[chosen[0]].name, dataFiles });
    });
  } finally {
    await checkpoint.close();
  }
}

function progressReader(
  checkpoint: Checkpoint,
  total: number,
  onProgress: ConvertOptions['onProgress'],
): (file: string, tensor: string) => Promise<Float32Array> {
  let index = 0;
  let bytes = 0;
  return async (file, tensor) => {
    const values = await checkpoint.read(tensor);
    bytes += values.byteLength;
    onProgress?.({ file, tensor, index: ++index, total, bytes });
    return values;
  };
}

function chosenDtypes(dtype: ConvertOptions['dtype']): [ConvertDtype, ...ConvertDtype[]] {
  const [first, ...rest] = new Set(typeof dtype === 'string' ? [dtype] : dtype);
  const unknown = [first, ...rest].find((name) => name === undefined || !Object.hasOwn(dtypes, name));
  if (first === undefined || unknown !== undefined) {
    throw new ElasticCacheError(
      'invalid-option',
      `dtype ${JSON.stringify(unknown ?? dtype)} is unknown: choose one or several of ${Object.keys(dtypes).join(', ')}.`,
    );
  }
  return [first, ...rest];
}

function checkedBlockSize(blockSize: number): number {
  if (![32, 64, 128].includes(blockSize)) {
    throw new ElasticCacheError('invalid-option', `blockSize ${blockSize} is unknown: choose 32, 64 or 128.`);
  }
  return blockSize;
}
