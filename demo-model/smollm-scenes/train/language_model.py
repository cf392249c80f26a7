"""SmolLM2 (Llama architecture) with a LoRA in every layer; the weights themselves are frozen, in bfloat16 on a GPU.

Shapes: B pictures, P tokens of a picture and what stands before it, T tokens of all that is said of it, H width.
"""

import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import nn

PRODUCTS = {
    "self_attn.qkv": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    "self_attn.o": ["self_attn.o_proj"],
    "mlp.gate_up": ["mlp.gate_proj", "mlp.up_proj"],
    "mlp.down": ["mlp.down_proj"],
}


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """x [B, heads, N, D]; cos, sin [B, 1, N, D], the first half of sin negative."""
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([second, first], -1) * sin


class Layer(nn.Module):
    def __init__(self, weights: dict[str, torch.Tensor], rank: int, config: dict, precision: torch.dtype):
        super().__init__()
        self.heads, self.kv_heads, self.width = config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]
        self.epsilon = config["rms_norm_eps"]
        self.lora = nn.ParameterDict()
        for name, parts in PRODUCTS.items():
            weight = torch.cat([weights[f"{part}.weight"] for part in parts])
            key = name.replace(".", "_")
            self.register_buffer(key, weight.to(precision), persistent=False)
            self.lora[f"{key}_a"] = nn.Parameter(torch.randn(rank, weight.shape[1]) / math.sqrt(weight.shape[1]))
            self.lora[f"{key}_b"] = nn.Parameter(torch.zeros(weight.shape[0], rank))
        self.input_norm = nn.Parameter(weights["input_layernorm.weight"].float())
        self.post_norm = nn.Parameter(weights["post_attention_layernorm.weight"].float())

    def product(self, x: torch.Tensor, key: str) -> torch.Tensor:
        weight, a, b = getattr(self, key), self.lora[f"{key}_a"], self.lora[f"{key}_b"]
        return x @ weight.T + (x @ a.to(x.dtype).T) @ b.to(x.dtype).T

    def forward(self, x, cos, sin, mask, prefix: int):
        """x [B, P + T, H] float32, mask [B, 1, T, P + T] to be added -> the same, queries [B, share, T, D] and keys [B, P, D] of the first key head"""
        batch, length, _ = x.shape
        precision = self.self_attn_qkv.dtype
        y = F.rms_norm(x, self.input_norm.shape, self.input_norm, self.epsilon).to(precision)
        qkv = self.product(y, "self_attn_qkv").view(batch, length, -1, self.width).transpose(1, 2)
        q, k, v = qkv.split([self.heads, self.kv_heads, self.kv_heads], 1)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        share = self.heads // self.kv_heads
        keys, values = k.repeat_interleave(share, 1), v.repeat_interleave(share, 1)
        # A picture sees itself alone, and costs no mask; what is said of it sees the picture and its own text.
        seen = F.scaled_dot_product_attention(q[:, :, :prefix], keys[:, :, :prefix], values[:, :, :prefix], is_causal=True)
        said = F.scaled_dot_product_attention(q[:, :, prefix:], keys, values, attn_mask=mask)
        read = torch.cat([seen, said], 2).transpose(1, 2).reshape(batch, length, -1)
        x = x + self.product(read, "self_attn_o")
        y = F.rms_norm(x, self.post_norm.shape, self.post_norm, self.epsilon).to(precision)
        gate, up = self.product(y, "mlp_gate_up").chunk(2, -1)
        x = x + self.product(F.silu(gate) * up, "mlp_down")
        return x, q[:, :share, prefix:], k[:, 0, :prefix]


class Llama(nn.Module):
    def __init__(self, checkpoint: Path, rank: int, grounded: tuple[int, ...], precision: torch.dtype):
        """grounded: layers whose first key head, with its query heads, is told where to look"""
        super().__init__()
        c = json.loads((checkpoint / "config.json").read_text())
        self.width, self.epsilon, self.grounded, self.precision = c["head_dim"], c["rms_norm_eps"], grounded, precision
        with safe_open(checkpoint / "model.safetensors", "pt") as file:
            self.register_buffer("embedding", file.get_tensor("model.embed_tokens.weight").float(), persistent=False)
            self.norm = nn.Parameter(file.get_tensor("model.norm.weight").float())
            names = [name for name in file.keys() if name.startswith("model.layers.")]
            self.layers = nn.ModuleList()
            for i in range(c["num_hidden_layers"]):
                prefix = f"model.layers.{i}."
                self.layers.append(Layer({n.removeprefix(prefix): file.get_tensor(n) for n in names if n.startswith(prefix)}, rank, c, precision))
        theta = c["rope_parameters"]["rope_theta"] if "rope_parameters" in c else c["rope_theta"]
        self.register_buffer("frequencies", theta ** (-torch.arange(0, self.width, 2) / self.width), persistent=False)

    def forward(self, start: torch.Tensor, ids: torch.Tensor, texts: torch.Tensor, positions: torch.Tensor):
        """start [B, P, H]; ids [B, T]; texts [B, T]: which text a token is of; positions [B, T]
        -> normed states [B, T, H], and of each grounded layer scores [B, share, T, P]"""
        prefix, length = start.shape[1], ids.shape[1]
        at = torch.cat([torch.arange(prefix, device=ids.device).expand(len(ids), -1), positions], 1)
        angles = (at[..., None].float() * self.frequencies)[:, None]
        cos = torch.cat([angles.cos()] * 2, -1).to(self.precision)
        sin = torch.cat([-angles.sin(), angles.sin()], -1).to(self.precision)
        own = (texts[:, :, None] == texts[:, None]) & torch.ones(length, length, dtype=torch.bool, device=ids.device).tril()
        mask = torch.zeros(len(ids), 1, length, prefix + length, dtype=self.precision, device=ids.device)
        mask[:, 0, :, prefix:].masked_fill_(~own, float("-inf"))
        x = torch.cat([start.float(), self.embedding[ids]], 1)
        looks = []
        for index, layer in enumerate(self.layers):
            x, queries, keys = layer(x, cos, sin, mask, prefix)
            if index in self.grounded:
                looks.append((queries @ keys[:, None].mT).float() * self.width**-0.5)
        return F.rms_norm(x[:, prefix:], self.norm.shape, self.norm, self.epsilon), looks
