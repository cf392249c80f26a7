import { GraphBuilder } from '../../src/graph/onnx/builder.js';
import { DataType, type Model } from '../../src/graph/onnx/onnx.js';
import { gaussian } from '../graph/gqa-decoder.js';

/** The vocabulary of the decoders that the exporters made. */
export const VOCAB = 99;
export const HIDDEN = 64;

/** A random row for each of `vocab` tokens. */
export function embedTokens(vocab = VOCAB): Model {
  const g = GraphBuilder.create('embed_tokens', { '': 21 });
  g.input('input_ids', DataType.INT64, ['batch_size', 'sequence_length']);
  g.ops('Gather', [numbers(g, 'table', [vocab, HIDDEN], 11), 'input_ids'], { outputs: ['inputs_embeds'] });
  g.output('inputs_embeds', DataType.FLOAT, ['batch_size', 'sequence_length', HIDDEN]);
  return g.model;
}

/** A row for each patch of each picture: pixel_values [B, 3, side, side] to image_features [B, rows, hidden]. */
export function patchEncoder(side: number, patch: number): Model {
  const g = GraphBuilder.create('vision_encoder', { '': 21 });
  g.input('pixel_values', DataType.FLOAT, ['batch_size', 3, side, side]);
  patches(g, 'pixel_values', patch, ['image_features']);
  g.output('image_features', DataType.FLOAT, ['batch_size', (side / patch) ** 2, HIDDEN]);
  return g.model;
}

/** Likewise for tiles: pixel_values [B, tiles, 3, side, side], pixel_attention_mask [B, tiles, side, side]. */
export function tileEncoder(side: number, patch: number): Model {
  const g = GraphBuilder.create('vision_encoder', { '': 21 });
  g.input('pixel_values', DataType.FLOAT, ['batch_size', 'tiles', 3, side, side]);
  g.input('pixel_attention_mask', DataType.BOOL, ['batch_size', 'tiles', side, side]);
  const shown = g.op('Cast', ['pixel_attention_mask'], { attributes: { to: DataType.FLOAT } });
  const pixels = g.op('Mul', ['pixel_values', g.op('Unsqueeze', [shown, g.int64('axis', [1], [2])])]);
  patches(g, g.op('Reshape', [pixels, g.int64('tiles', [4], [-1, 3, side, side])]), patch, [
    'image_features',
  ]);
  g.output('image_features', DataType.FLOAT, ['pictures', (side / patch) ** 2, HIDDEN]);
  return g.model;
}

/**
 * Qwen's: pixel_values [patches, size] and grids [images, 3] to image_features [patches / 4, hidden]. Fails when the grids do
 * not have as many patches as there are.
 */
export function gridEncoder(size: number, gridName: 'grid_thw' | 'image_grid_thw'): Model {
  const g = GraphBuilder.create('vision_encoder', { '': 21 });
  g.input('pixel_values', DataType.FLOAT, ['patches', size]);
  g.input(gridName, DataType.INT64, ['images', 3]);
  const each = g.op('ReduceProd', [gridName, g.int64('axis', [1], [1])], { attributes: { keepdims: 0 } });
  const rows = g.op('Div', [g.op('ReduceSum', [each]), g.int64('four', [1], [4])]);
  const shape = g.op('Concat', [rows, g.int64('merged', [1], [4 * size])], { attributes: { axis: 0 } });
  const merged = g.op('Reshape', ['pixel_values', shape]);
  const weight = numbers(g, 'weight', [4 * size, HIDDEN], 12, 0.1);
  g.ops('MatMul', [merged, weight], { outputs: ['image_features'] });
  g.output('image_features', DataType.FLOAT, ['merged_patches', HIDDEN]);
  return g.model;
}

/** Rows [B, rows, hidden] for the squares of pictures [B, 3, height, width]. */
export function patches(g: GraphBuilder, pixels: string, patch: number, outputs?: readonly string[]): string {
  const weight = numbers(g, 'weight', [HIDDEN, 3, patch, patch], 12, 0.1);
  const conv = g.op('Conv', [pixels, weight], { attributes: { strides: [patch, patch] } });
  const flat = g.op('Reshape', [conv, g.int64('flat', [3], [0, HIDDEN, -1])]);
  return g.op('Transpose', [flat], { attributes: { perm: [0, 2, 1] }, ...(outputs ? { outputs } : {}) });
}

export function numbers(g: GraphBuilder, name: string, dims: number[], seed: number, scale = 1): string {
  const random = gaussian(seed);
  const count = dims.reduce((product, dim) => product * dim, 1);
  return g.float32(
    name,
    dims,
    Array.from({ length: count }, () => scale * random()),
  );
}

/** An image processor that makes pictures of `side` by `side` pixels. */
export function pictures(type: string, side: number, extra: object = {}) {
  return {
    image_processor_type: type,
    do_resize: true,
    size: { height: side, width: side },
    do_rescale: true,
    rescale_factor: 1 / 255,
    do_normalize: true,
    image_mean: [0.5, 0.5, 0.5],
    image_std: [0.25, 0.25, 0.25],
    resample: 3,
    ...extra,
  };
}

/** As {@link pictures}: LLaVA's, which cuts the middle out. */
export function llavaPictures(side: number) {
  return pictures('CLIPImageProcessor', side, {
    processor_class: 'LlavaProcessor',
    size: { shortest_edge: side },
    do_center_crop: true,
    crop_size: { height: side, width: side },
  });
}

/**
 * A tokenizer of whole words: `special` tokens, then `words`, then w0, w1 and so on up to `vocab`; ids in that order.
 * @param bos the token that it begins every text with
 */
export function tokenizerFiles(
  special: readonly string[],
  words: readonly string[],
  { bos, vocab = VOCAB, ...config }: { bos?: string; vocab?: number } & Record<string, unknown>,
): Record<string, object> {
  const known = [...special, ...words];
  const all = [...known, ...Array.from({ length: vocab - known.length }, (_, i) => `w${i}`)];
  const first = bos && { SpecialToken: { id: bos, type_id: 0 } };
  return {
    'tokenizer.json': {
      version: '1.0',
      added_tokens: special.map((content, id) => ({
        id,
        content,
        special: true,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
      })),
      normalizer: null,
      pre_tokenizer: { type: 'Whitespace' },
      post_processor: first
        ? {
            type: 'TemplateProcessing',
            single: [first, { Sequence: { id: 'A', type_id: 0 } }],
            pair: [],
            special_tokens: { [bos]: { id: bos, ids: [all.indexOf(bos)], tokens: [bos] } },
          }
        : null,
      decoder: null,
      model: {
        type: 'WordLevel',
        vocab: Object.fromEntries(all.map((word, id) => [word, id])),
        unk_token: special[0],
      },
    },
    'tokenizer_config.json': {
      tokenizer_class: 'PreTrainedTokenizer',
      unk_token: special[0],
      pad_token: special[0],
      ...(bos ? { bos_token: bos } : {}),
      ...config,
    },
  };
}
