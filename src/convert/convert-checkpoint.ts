import { join } from 'node:path';
import { z } from 'zod';
import { ElasticCacheError, shown } from '../errors.js';
import { makeFolder } from '../make-folder.js';
import { refuseUnknown } from '../options.js';
import type { Architecture } from './architectures/architecture.js';
import { idefics3Model } from './architectures/idefics3.js';
import { llavaModel, originalLlavaModel } from './architectures/llava.js';
import { qwenVlModel } from './architectures/qwen-vl.js';
import { qwen2VlModel } from './architectures/qwen2-vl.js';
import { textModel } from './architectures/text.js';
import { type CheckpointFiles, readCheckpointFiles, writeJsonFiles } from './checkpoint/checkpoint-files.js';
import { isJson } from './checkpoint/json.js';
import { isOriginalLlava } from './checkpoint/llava/original.js';
import { unsupported } from './checkpoint/unsupported.js';
import type { WeightFormat } from './graphs/layers.js';
import { Checkpoint } from './reading/checkpoint.js';
import { OnnxFile } from './writing/onnx-file.js';
import { MeasuringPass, type Pass, VerifyingPass, WritingPass } from './writing/passes.js';
import { type ConvertProgress, ProgressMeter } from './writing/progress.js';
import { fillDirectory } from './writing/work-directory.js';

/**
 * As transformers.js names them. fp32: in 32 bits. fp16: weights, activations and caches in half precision. q8: 8-bit weights,
 * activations in 8 bits per token. q4: 4-bit weights in blocks, vision tower q8. q4f16: 4-bit weights, everything else as in fp16.
 */
export type ConvertDtype = 'fp32' | 'fp16' | 'q8' | 'q4' | 'q4f16';

export interface ConvertOptions {
  /** A Hugging Face directory, weights in safetensors or in PyTorch's own files: LlavaForConditionalGeneration, QWenLMHeadModel (Qwen-VL, Qwen-VL-Chat), Qwen2VLForConditionalGeneration, Qwen2_5_VLForConditionalGeneration, Idefics3ForConditionalGeneration,
   * SmolVLMForConditionalGeneration, LlamaForCausalLM, Qwen2ForCausalLM or Gemma3ForCausalLM. */
  readonly from: string;
  /** The transformers.js directory to make: absent or empty. */
  readonly to: string;
  /** One precision or several; the first is the one that is loaded when none is asked for. */
  readonly dtype: ConvertDtype | readonly ConvertDtype[];
  /**
   * Weights that share a scale in q4: 128 unless told otherwise, the fastest for a single token on a CPU; 32 is a
   * little more exact.
   */
  readonly blockSize?: 32 | 64 | 128;
  /** The directory of the CLIP model that an original LLaVA checkpoint (liuhaotian/llava-v1.5-7b) takes its vision tower from. */
  readonly visionTower?: string;
  /**
   * Whether a block in q4 has a zero point beside its scale: more exact where weights are not around 0, and 4 bits a block larger.
   */
  readonly asymmetric?: boolean;
  readonly onProgress?: (progress: ConvertProgress) => void;
}

/** File suffix of each precision in transformers.js, and how its weights are stored. */
const dtypes = {
  fp32: { suffix: '', kind: 'float', half: false },
  fp16: { suffix: '_fp16', kind: 'float', half: true },
  q8: { suffix: '_quantized', kind: 'int8', half: false },
  q4: { suffix: '_q4', kind: 'int4', half: false },
  q4f16: { suffix: '_q4f16', kind: 'int4', half: true },
} as const;

/**
 * Turns a checkpoint into a directory that transformers.js loads, tensor by tensor: memory holds about one tensor
 * at a time. What is written is held against the checkpoint before the directory takes its name: it appears complete or not at all. A run that was
 * interrupted goes on where it was when it is started again in the same words.
 * @throws ElasticCacheError 'invalid-option' (dtype, blockSize, `to`), 'missing-file', 'invalid-checkpoint' (a tensor is
 * missing, misshapen or cut off, before anything is written), 'unsupported-model', 'out-of-space', 'invalid-data' (what was written is not there).
 */
export async function convertCheckpoint(options: ConvertOptions): Promise<void> {
  checkOptions(options);
  const { from, to, visionTower, asymmetric = false, onProgress } = options;
  const chosen = chosenDtypes(options.dtype);
  const blockSize = checkedBlockSize(options.blockSize ?? 128);
  const files = await readCheckpointFiles(from);
  const architecture = await architectureOf(files, visionTower);
  const { spellings, supplement, packed } = architecture;
  const checkpoint = await Checkpoint.open(from, spellings, supplement, packed);
  try {
    const graphs = architecture.graphs((name) => checkpoint.has(name));
    checkpoint.check(graphs.flatMap(({ tensors }) => tensors));
    /** Goes through all graphs; tells how many data files belong to each. */
    const through = async (pass: Pass): Promise<Record<string, number>> => {
      const dataFiles: Record<string, number> = {};
      try {
        for (const dtype of chosen) {
          const { suffix, ...stored } = dtypes[dtype];
          const format: WeightFormat = stored.kind === 'int4' ? { ...stored, blockSize, asymmetric } : stored;
          for (const graph of graphs) {
            const file = new OnnxFile(`${graph.name}${suffix}.onnx`, pass);
            await graph.add(file, (tensor) => checkpoint.read(tensor), format);
            dataFiles[file.name] = await file.finish();
          }
        }
      } finally {
        await pass.close();
      }
      return dataFiles;
    };
    const measured = new MeasuringPass();
    const dataFiles = await through(measured);
    const plan = JSON.stringify({ chosen, blockSize, asymmetric, files: await checkpoint.fingerprint() });
    await fillDirectory(to, plan, async ({ directory, journal, refuseLarger }) => {
      await refuseLarger(measured.bytes);
      const progress = new ProgressMeter(measured.bytes, onProgress);
      const folder = join(directory, 'onnx');
      await makeFolder(folder);
      await through(new WritingPass(folder, journal, progress.of('writing')));
      await writeJsonFiles(directory, architecture.files({ dtype: chosen[0], dataFiles }));
      await through(new VerifyingPass(folder, journal, progress.of('verifying')));
    });
  } finally {
    await checkpoint.close();
  }
}

function checkOptions(options: ConvertOptions): void {
  const known = ['from', 'to', 'dtype', 'blockSize', 'asymmetric', 'visionTower', 'onProgress'];
  refuseUnknown('convertCheckpoint', options ?? null, known);
  for (const name of ['from', 'to', 'visionTower'] as const) {
    if (typeof options[name] === 'string' || (name === 'visionTower' && options[name] === undefined))
      continue;
    throw new ElasticCacheError('invalid-option', `${name} is ${String(options[name])}; give a directory.`);
  }
  if (!['boolean', 'undefined'].includes(typeof options.asymmetric)) {
    throw new ElasticCacheError(
      'invalid-option',
      `asymmetric is ${shown(options.asymmetric)}; give true or false.`,
    );
  }
}

const architectures: Readonly<Record<string, (files: CheckpointFiles) => Architecture>> = {
  llava: llavaModel,
  qwen: qwenVlModel,
  qwen2_vl: qwen2VlModel,
  qwen2_5_vl: qwen2VlModel,
  idefics3: idefics3Model,
  smolvlm: idefics3Model,
  llama: textModel,
  mistral: textModel,
  qwen2: textModel,
  qwen3: textModel,
  gemma3_text: textModel,
};

async function architectureOf(files: CheckpointFiles, tower: string | undefined): Promise<Architecture> {
  const { quantization_config: quantized } = files.config;
  if (isJson(quantized)) {
    throw new ElasticCacheError(
      'unsupported-model',
      `config.json says that these weights are quantized already (quant_method ${shown(quantized.quant_method)}): convert the checkpoint that they were made from, with --dtype q4 or q8.`,
    );
  }
  if (isOriginalLlava(files.config)) return originalLlavaModel(files, tower);
  const { model_type: type } = files.config;
  const model = Object.hasOwn(architectures, String(type)) ? architectures[String(type)] : undefined;
  if (!model) {
    const known = z.object({ model_type: z.enum(Object.keys(architectures)) });
    throw unsupported(files.config, known.safeParse(files.config).error!.issues[0]!);
  }
  if (tower !== undefined) {
    throw new ElasticCacheError(
      'invalid-option',
      `visionTower is for LLaVA checkpoints in their authors' layout, and ${files.directory} holds another kind, with everything in it: leave it out.`,
    );
  }
  return model(files);
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
