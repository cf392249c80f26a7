import { GraphBuilder } from '../../src/graph/onnx/builder.js';
import { DataType, type Model } from '../../src/graph/onnx/onnx.js';
import { PHI } from './chat-templates.js';
import type { TinyFamily } from './tiny-families.js';
import { HIDDEN, numbers, patches, pictures, tokenizerFiles, VOCAB } from './tiny-parts.js';

/** Four tiles of 336 pixels for a square, 2 x 2 tokens each (12 x 12 on the Hub). */
export function phi3V(decoder: string): TinyFamily {
  return {
    className: 'Phi3VForCausalLM',
    config: {
      model_type: 'phi3_v',
      num_hidden_layers: 2,
      num_attention_heads: 4,
      num_key_value_heads: 2,
      hidden_size: HIDDEN,
    },
    sessions: { embeds: ['prepare_inputs_embeds', preparedEmbeds], decoder: 'model' },
    vision: sizedEncoder,
    decoder,
    imageTokensOf: (images) => images * 27,
    files: {
      'preprocessor_config.json': pictures('Phi3VImageProcessor', 336, {
        processor_class: 'Phi3VProcessor',
        num_crops: 4,
        num_img_tokens: 4,
      }),
      ...tokenizerFiles(['<unk>', '<s>', '</s>', '<|assistant|>', '<|image|>', '<|end|>', '<|user|>'], [], {
        bos: '<s>',
        chat_template: PHI,
      }),
    },
  };
}

/**
 * Phi-3.5-vision's: pixel_values [images, 5, 3, 336, 336] and image_sizes [images, 2] to image_features [rows of all
 * images, hidden], with as many rows for an image as its size gives where a tile has 2 x 2 of them.
 */
function sizedEncoder(): Model {
  const g = GraphBuilder.create('vision_encoder', { '': 21 });
  g.input('pixel_values', DataType.FLOAT, ['images', 5, 3, 336, 336]);
  g.input('image_sizes', DataType.INT64, ['images', 2]);
  const tiles = g.op('Reshape', ['pixel_values', g.int64('tiles', [4], [-1, 3, 336, 336])]);
  const pooled = g.op('AveragePool', [tiles], { attributes: { kernel_shape: [28, 28], strides: [28, 28] } });
  // Nine rows for a tile, 45 for an image: more than the 27 of the largest.
  const rows = g.op('Reshape', [patches(g, pooled, 4), g.int64('rows', [2], [-1, HIDDEN])]);
  const [high, wide] = [0, 1].map((column) => {
    const pixels = g.op('Gather', ['image_sizes', g.int64('column', [1], [column])], {
      attributes: { axis: 1 },
    });
    return g.op('Div', [pixels, g.int64('tile', [1], [336])]);
  });
  // 2 x 2 for each tile and for the whole, 2 after each row of tiles and of the whole, 1 between.
  const squares = g.op('Mul', [g.op('Mul', [high!, wide!]), g.int64('square', [1], [4])]);
  const lines = g.op('Mul', [high!, g.int64('line', [1], [2])]);
  const count = g.op('Add', [g.op('Add', [squares, lines]), g.int64('whole', [1], [4 + 2 + 1])]);
  const places = g.int64(
    'places',
    [45],
    Array.from({ length: 45 }, (_, i) => i),
  );
  const used = g.op('Reshape', [g.op('Less', [places, count]), g.int64('flat', [1], [-1])]);
  g.ops('Compress', [rows, used], { attributes: { axis: 0 }, outputs: ['image_features'] });
  g.output('image_features', DataType.FLOAT, ['rows', HIDDEN]);
  return g.model;
}

/**
 * Phi-3.5-vision's embeddings: a row of a table for each token, and the rows image_features [rows, hidden] for the negative
 * ones. Fails when there are not as many of them.
 */
function preparedEmbeds(): Model {
  const g = GraphBuilder.create('prepare_inputs_embeds', { '': 21 });
  g.input('input_ids', DataType.INT64, ['batch_size', 'sequence_length']);
  g.input('image_features', DataType.FLOAT, ['rows', HIDDEN]);
  const zero = g.int64('zero', [], [0]);
  const known = g.op('Max', ['input_ids', zero]);
  const text = g.op('Gather', [numbers(g, 'table', [VOCAB, HIDDEN], 11), known]);
  const places = g.op('Transpose', [g.op('NonZero', [g.op('Less', ['input_ids', zero])])], {
    attributes: { perm: [1, 0] },
  });
  g.ops('ScatterND', [text, places, 'image_features'], { outputs: ['inputs_embeds'] });
  g.output('inputs_embeds', DataType.FLOAT, ['batch_size', 'sequence_length', HIDDEN]);
  return g.model;
}
