import type { PretrainedConfig } from '@huggingface/transformers';
import { describe, expect, it } from 'vitest';
import { modelClass } from './model-class.js';

const classOf = (config: object) => {
  const { Model, textOnly } = modelClass('a/model', config as PretrainedConfig);
  return [Model.name, textOnly];
};

describe('modelClass', () => {
  it.each([
    ['llama', 'LlamaForCausalLM', true],
    ['gemma3_text', 'Gemma3ForCausalLM', true],
    ['gemma3', 'Gemma3ForCausalLM', true],
    ['gemma3', 'Gemma3ForConditionalGeneration', false],
    ['qwen2_vl', 'Qwen2VLForConditionalGeneration', false],
    ['phi3_v', 'Phi3VForCausalLM', false],
    ['phi3', 'Phi3ForCausalLM', true],
    ['llava_qwen2', 'LlavaQwen2ForCausalLM', false],
  ])('of %s with architecture %s', (model_type, architecture, textOnly) => {
    expect(classOf({ model_type, architectures: [architecture] })).toEqual([architecture, textOnly]);
  });

  it('takes the class for images where a config names no architecture', () => {
    expect(classOf({ model_type: 'gemma3' })).toEqual(['Gemma3ForConditionalGeneration', false]);
    expect(classOf({ model_type: 'qwen3', architectures: [] })).toEqual(['Qwen3ForCausalLM', true]);
  });

  it('refuses encoders, and decoders beside an encoder', () => {
    for (const config of [{ model_type: 'bert' }, {}, { model_type: 'florence2', is_encoder_decoder: true }])
      expect(() => classOf(config)).toThrow(expect.objectContaining({ code: 'unsupported-model' }));
  });
});
