import type { TransformersJsOptions } from '../checkpoint/checkpoint-files.js';
import type { Json } from '../checkpoint/json.js';
import type { ReadTensor, WeightFormat } from '../graphs/layers.js';
import type { NeededTensor, Packed, Spellings, Supplement } from '../reading/checkpoint.js';
import type { OnnxFile } from '../writing/onnx-file.js';

/** One ONNX file of a model. */
export interface Graph {
  /** As transformers.js names it, without the suffix of a precision. */
  readonly name: string;
  /** What it reads, in no order. */
  readonly tensors: readonly NeededTensor[];
  add(file: OnnxFile, read: ReadTensor, format: WeightFormat): Promise<void>;
}

/** A checkpoint's kind of model, as far as it says what to convert. */
export interface Architecture {
  readonly spellings: Spellings;
  /** Tensors of its checkpoints that hold several. */
  readonly packed?: readonly Packed[] | undefined;
  /** Where tensors come from that the checkpoint's own directory lacks. */
  readonly supplement?: Supplement | undefined;
  /** @param has whether the checkpoint holds a tensor, by its canonical name. */
  graphs(has: (name: string) => boolean): readonly Graph[];
  /** Every file of the model's directory but the graphs. */
  files(options: TransformersJsOptions): Readonly<Record<string, Json>>;
}
