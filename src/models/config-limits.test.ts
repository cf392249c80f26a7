import type { PretrainedConfig } from '@huggingface/transformers';
import { describe, expect, it } from 'vitest';
import { refuseHostileConfig } from './config-limits.js';

const look = (config: object) => () => refuseHostileConfig('owner/name', config as PretrainedConfig);

describe('a config with numbers that no model has', () => {
  it.each([
    [
      { num_hidden_layers: 1e9 },
      'num_hidden_layers in config.json of owner/name is 1000000000, and must be 10000',
    ],
    [
      { text_config: { num_hidden_layers: -1 } },
      'text_config.num_hidden_layers in config.json of owner/name is -1',
    ],
    [{ text_config: { num_key_value_heads: Number.NaN } }, 'text_config.num_key_value_heads'],
    [{ a: { b: { n_layer: Infinity } } }, 'a.b.n_layer'],
    [{ 'transformers.js_config': { use_external_data_format: 1e7 } }, 'must be 1000 at most'],
    [
      { image_token_index: 1.5 },
      'image_token_index in config.json of owner/name is 1.5, and must be a whole',
    ],
    [{ image_token_id: '5' }, 'image_token_id'],
  ])('%j is refused by its name', (config, message) => {
    expect(look(config)).toThrow(message);
    expect(look(config)).toThrow(expect.objectContaining({ code: 'invalid-model' }));
  });

  it('is none of those that count from the end, name no token, or hold other things under such names', () => {
    const nested: Record<string, unknown> = {};
    let inner = nested;
    for (let depth = 0; depth < 1000; depth++) inner = inner.deeper = {};
    inner.num_hidden_layers = 1e9;
    for (const config of [
      { vision_feature_layer: -2, feature_layers: [-2, -5, 8], image_token_id: null },
      { num_hidden_layers: 0, use_external_data_format: true, num_attention_heads: [8, 16] },
      { use_external_data_format: { 'model.onnx': 2 } },
      nested,
    ]) {
      expect(look(config)).not.toThrow();
    }
  });
});
