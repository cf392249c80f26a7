"""How large the inputs of each layer's products get, by channel: calibration.safetensors, for the 8-bit products of training.

  python calibrate.py --checkpoint DIR --out DIR
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

TEXTS = [
    "<|im_start|>user\nDescribe the image in detail.<|im_end|>\n<|im_start|>assistant\nThere are three objects on a plain light blue background. "
    "In the top left there is a small red dotted star. The bottom right has a large, striped purple hexagon.<|im_end|>\n",
    "<|im_start|>user\nWhat color is the heart?<|im_end|>\n<|im_start|>assistant\nIt is yellow.<|im_end|>\n",
    "<|im_start|>user\nWrite a short story about a lighthouse keeper.<|im_end|>\n<|im_start|>assistant\nThe keeper climbed the stairs each night, "
    "lit the lamp, and wrote down the names of the 12 ships that passed.<|im_end|>\n",
]


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    a = parser.parse_args()
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(a.checkpoint, dtype=torch.float32)
    tokenizer = Tokenizer.from_file(str(a.checkpoint / "tokenizer.json"))
    largest: dict[str, torch.Tensor] = {}

    def record(name: str):
        def hook(_, inputs):
            # Without the first token, whose values are the sink's and like no other's.
            seen = inputs[0][0, 1:].abs().amax(0)
            largest[name] = torch.maximum(largest.get(name, seen), seen)

        return hook

    for i, layer in enumerate(model.model.layers):
        layer.self_attn.q_proj.register_forward_pre_hook(record(f"{i}.self_attn.qkv"))
        layer.mlp.gate_proj.register_forward_pre_hook(record(f"{i}.mlp.gate_up"))
    for text in TEXTS:
        model(torch.tensor([tokenizer.encode(text, add_special_tokens=False).ids]))
    save_file(largest, a.out / "calibration.safetensors")


if __name__ == "__main__":
    main()
