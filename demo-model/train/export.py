"""Writes llava.pt (or decoder.pt) as a Hugging Face LlavaForConditionalGeneration checkpoint, which `elastic-cache convert` turns into ONNX.

  python export.py --run DIR --tokenizer DIR --out DIR
"""

import argparse
import json
import shutil
from pathlib import Path

from safetensors.torch import save_file
from tokenizers import Tokenizer

from model import CONFIG as C
from runs import newest


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--out", required=True)
    a = parser.parse_args()
    run, out = Path(a.run), Path(a.out)
    out.mkdir(parents=True, exist_ok=True)
    weights = newest(run)["model"]
    save_file({k: v.contiguous() for k, v in weights.items()}, out / "model.safetensors", {"format": "pt"})
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(a.tokenizer) / name, out / name)
    token = Tokenizer.from_file(str(out / "tokenizer.json")).token_to_id
    write = lambda name, value: (out / name).write_text(json.dumps(value, indent=2) + "\n")
    write("config.json", {
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        "image_token_index": token("<image>"),
        "projector_hidden_act": "gelu",
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "default",
        "image_seq_length": (C["image_size"] // C["patch_size"]) ** 2,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "text_config": {
            "model_type": "llama", "hidden_size": C["hidden"], "intermediate_size": C["mlp"],
            "num_hidden_layers": C["layers"], "num_attention_heads": C["heads"], "num_key_value_heads": C["heads"],
            "hidden_act": "silu", "rms_norm_eps": C["rms_eps"], "rope_theta": C["rope_theta"],
            "max_position_embeddings": 4096, "vocab_size": weights["language_model.lm_head.weight"].shape[0],
            "bos_token_id": token("<s>"), "eos_token_id": token("</s>"), "pad_token_id": token("<pad>"),
            "tie_word_embeddings": False,
        },
        "vision_config": {
            "model_type": "clip_vision_model", "hidden_size": C["vision_hidden"], "intermediate_size": C["vision_mlp"],
            "num_hidden_layers": C["vision_layers"], "num_attention_heads": C["vision_heads"], "hidden_act": "gelu",
            "image_size": C["image_size"], "patch_size": C["patch_size"], "layer_norm_eps": C["layer_norm_eps"],
        },
    })
    write("generation_config.json", {
        "bos_token_id": token("<s>"), "eos_token_id": token("</s>"), "pad_token_id": token("<pad>"), "max_length": 4096,
    })
    size = C["image_size"]
    write("preprocessor_config.json", {
        "image_processor_type": "CLIPImageProcessor", "processor_class": "LlavaProcessor",
        "do_resize": True, "size": {"shortest_edge": size}, "do_center_crop": True,
        "crop_size": {"height": size, "width": size}, "do_rescale": True, "rescale_factor": 1 / 255,
        "do_normalize": True, "do_convert_rgb": True, "resample": 3,
        "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
    })
    write("processor_config.json", {
        "processor_class": "LlavaProcessor", "image_token": "<image>", "patch_size": C["patch_size"],
        "num_additional_image_tokens": 1, "vision_feature_select_strategy": "default",
    })


if __name__ == "__main__":
    main()
