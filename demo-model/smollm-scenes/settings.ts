/** A name that SmolLM2 keeps in reserve, and its number; its embedding is never read, the image's tokens take its place. */
const IMAGE = { token: '<filename>', id: 6 };
const SIDE = 336;
const TEMPLATE =
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}" +
  "{% if message['content'] is string %}{{ message['content'] | trim }}{% else %}" +
  `{% for part in message['content'] if part['type'] == 'image' %}{{ '${IMAGE.token}\\n' }}{% endfor %}` +
  "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] | trim }}{% endfor %}{% endif %}" +
  "{{ '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/** The JSON files of a LLaVA checkpoint on a language model: its `config.json` and `tokenizer_config.json` as they are on the Hub, and what sees. */
export function settingsOf(config: object, tokenizer: object): Record<string, object> {
  return {
    'config.json': {
      architectures: ['LlavaForConditionalGeneration'],
      model_type: 'llava',
      image_token_index: IMAGE.id,
      projector_hidden_act: 'gelu',
      vision_feature_layer: -1,
      vision_feature_select_strategy: 'default',
      image_seq_length: 576,
      tie_word_embeddings: true,
      text_config: config,
      vision_config: {
        model_type: 'clip_vision_model',
        hidden_size: 128,
        intermediate_size: 512,
        num_hidden_layers: 4,
        num_attention_heads: 4,
        hidden_act: 'gelu',
        image_size: SIDE,
        patch_size: 14,
        layer_norm_eps: 1e-5,
      },
    },
    'tokenizer_config.json': { ...tokenizer, processor_class: 'LlavaProcessor', chat_template: TEMPLATE },
    'preprocessor_config.json': {
      image_processor_type: 'CLIPImageProcessor',
      processor_class: 'LlavaProcessor',
      do_resize: true,
      size: { shortest_edge: SIDE },
      do_center_crop: true,
      crop_size: { height: SIDE, width: SIDE },
      do_rescale: true,
      rescale_factor: 1 / 255,
      do_normalize: true,
      do_convert_rgb: true,
      resample: 3,
      image_mean: [0.48145466, 0.4578275, 0.40821073],
      image_std: [0.26862954, 0.26130258, 0.27577711],
    },
    'processor_config.json': {
      processor_class: 'LlavaProcessor',
      image_token: IMAGE.token,
      patch_size: 14,
      num_additional_image_tokens: 1,
      vision_feature_select_strategy: 'default',
    },
  };
}
