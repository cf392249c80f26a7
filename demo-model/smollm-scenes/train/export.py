"""Puts what was trained on the language model it was trained on: a Hugging Face LlavaForConditionalGeneration checkpoint.

  python export.py pack --run DIR                                 adapter.safetensors from DIR/latest.pt, half precision
  python export.py apply --checkpoint SMOLLM2_DIR --out DIR        the whole model, for `elastic-cache convert`
  python export.py unpack --run DIR                               DIR/latest.pt from adapter.safetensors, to train on from there
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer

HERE = Path(__file__).parent
ADAPTER = HERE.parent / "adapter.safetensors"
TOWER = HERE.parents[1] / "train" / "checkpoint.safetensors"
# A name that SmolLM2 keeps in reserve; its embedding is never read, the image's tokens take its place.
IMAGE = "<filename>"
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['content'] is string %}{{ message['content'] | trim }}{% else %}"
    "{% for part in message['content'] if part['type'] == 'image' %}{{ '" + IMAGE + "\\n' }}{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] | trim }}{% endfor %}{% endif %}"
    "{{ '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
PARTS = {
    "self_attn_qkv": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    "self_attn_o": ["self_attn.o_proj"],
    "mlp_gate_up": ["mlp.gate_proj", "mlp.up_proj"],
    "mlp_down": ["mlp.down_proj"],
}


def smooth_of(weights: list[torch.Tensor], largest: torch.Tensor) -> torch.Tensor:
    """As in language_model.Layer."""
    return (largest.clamp_min(1e-5) / torch.cat(weights).abs().amax(0).clamp_min(1e-5)).sqrt()


def pack(run: Path) -> None:
    saved = torch.load(run / "latest.pt", weights_only=True, map_location="cpu")
    tensors = {name: value.half().contiguous() for name, value in saved["trained"].items()}
    calibration = load_file(run / "calibration.safetensors")
    tensors |= {f"calibration.{name}": value.half().contiguous() for name, value in calibration.items()}
    save_file(tensors, ADAPTER, {"step": str(saved["step"]), "pictures": str(saved["used"])})
    print(f"{ADAPTER.name}: {ADAPTER.stat().st_size / 1e6:.1f} MB after {saved['step']} steps, {saved['used']} pictures")


def unpack(run: Path) -> None:
    """The optimiser's moments do not fit into a repository: it starts anew."""
    run.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.float() for name, value in load_file(ADAPTER).items()}
    with safe_open(ADAPTER, "pt") as file:
        note = file.metadata()
    trained = {name: value for name, value in tensors.items() if not name.startswith("calibration.")}
    torch.save({"trained": trained, "step": int(note["step"]), "used": int(note["pictures"])}, run / "latest.pt")
    calibration = {n.removeprefix("calibration."): v for n, v in tensors.items() if n.startswith("calibration.")}
    save_file(calibration, run / "calibration.safetensors")


@torch.no_grad()
def apply(checkpoint: Path, out: Path) -> None:
    base = load_file(checkpoint / "model.safetensors")
    tensors = {name: value.float() for name, value in load_file(ADAPTER).items()}
    config = json.loads((checkpoint / "config.json").read_text())
    for i in range(config["num_hidden_layers"]):
        layer, ours = f"model.layers.{i}.", f"llama.layers.{i}."
        for key, parts in PARTS.items():
            weights = [base[f"{layer}{part}.weight"].float() for part in parts]
            change = tensors[f"{ours}lora.{key}_b"] @ tensors[f"{ours}lora.{key}_a"]
            calibrated = f"calibration.{i}.{key.replace('self_attn_', 'self_attn.').replace('mlp_', 'mlp.')}"
            if calibrated in tensors:
                smooth = smooth_of(weights, tensors[calibrated])
                change /= smooth
                norm, of = ("input_norm", "input_layernorm") if key == "self_attn_qkv" else ("post_norm", "post_attention_layernorm")
                base[f"{layer}{of}.weight"] = tensors[f"{ours}{norm}"] * smooth
            for part, weight, added in zip(parts, weights, change.split([len(w) for w in weights]), strict=True):
                base[f"{layer}{part}.weight"] = weight + added
    base["model.norm.weight"] = tensors["llama.norm"]
    state = {f"language_model.{name}": value for name, value in base.items()}
    for old, new in (("0", "linear_1"), ("2", "linear_2")):
        for part in ("weight", "bias"):
            state[f"multi_modal_projector.{new}.{part}"] = tensors[f"projector.{old}.{part}"]
    with safe_open(TOWER, "pt") as file:
        state |= {name: file.get_tensor(name).float() for name in file.keys() if name.startswith("vision_tower.")}
    state |= {f"vision_tower.{n.removeprefix('tower.')}": v for n, v in tensors.items() if n.startswith("tower.")}
    out.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in state.items()}, out / "model.safetensors", {"format": "pt"})
    write_files(checkpoint, config, out)


def write_files(checkpoint: Path, config: dict, out: Path) -> None:
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    tokenizer.add_special_tokens([AddedToken(IMAGE, special=True, normalized=False)])
    tokenizer.save(str(out / "tokenizer.json"))
    settings = json.loads((checkpoint / "tokenizer_config.json").read_text())
    write = lambda name, value: (out / name).write_text(json.dumps(value, indent=2) + "\n")
    write("tokenizer_config.json", settings | {"processor_class": "LlavaProcessor", "chat_template": TEMPLATE})
    write("generation_config.json", json.loads((checkpoint / "generation_config.json").read_text()))
    size = 336
    write("config.json", {
        "architectures": ["LlavaForConditionalGeneration"], "model_type": "llava",
        "image_token_index": tokenizer.token_to_id(IMAGE), "projector_hidden_act": "gelu", "vision_feature_layer": -1,
        "vision_feature_select_strategy": "default", "image_seq_length": 576, "tie_word_embeddings": True, "text_config": config,
        "vision_config": {
            "model_type": "clip_vision_model", "hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4,
            "num_attention_heads": 4, "hidden_act": "gelu", "image_size": size, "patch_size": 14, "layer_norm_eps": 1e-5,
        },
    })
    write("preprocessor_config.json", {
        "image_processor_type": "CLIPImageProcessor", "processor_class": "LlavaProcessor",
        "do_resize": True, "size": {"shortest_edge": size}, "do_center_crop": True,
        "crop_size": {"height": size, "width": size}, "do_rescale": True, "rescale_factor": 1 / 255,
        "do_normalize": True, "do_convert_rgb": True, "resample": 3,
        "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
    })
    write("processor_config.json", {
        "processor_class": "LlavaProcessor", "image_token": IMAGE, "patch_size": 14,
        "num_additional_image_tokens": 1, "vision_feature_select_strategy": "default",
    })


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["pack", "unpack", "apply"])
    parser.add_argument("--run", type=Path)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    if a.what == "apply":
        apply(a.checkpoint, a.out)
    else:
        {"pack": pack, "unpack": unpack}[a.what](a.run)


if __name__ == "__main__":
    main()
