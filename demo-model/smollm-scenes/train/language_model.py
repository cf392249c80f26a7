"""SmolLM2 with frozen 8-bit weights and a LoRA, reading pictures that many separate texts share.

A picture's first tokens and its image (the prefix, P tokens) are computed once. Each text after it (a question with its answer, a
description) sees the prefix and itself only, as if it stood alone. Texts of about one length lie in one group [B, S, L].
H = 576 hidden, 9 query heads on 3 key heads of 64.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from layers import Frozen, head, linear, rms_norm, swiglu

# Outputs that share their input are one product.
PRODUCTS = {
    "self_attn.qkv": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    "self_attn.o": ["self_attn.o_proj"],
    "mlp.gate_up": ["mlp.gate_proj", "mlp.up_proj"],
    "mlp.down": ["mlp.down_proj"],
}


@dataclass
class Group:
    """Texts of one length after each picture's prefix."""

    ids: torch.Tensor  # [B, S, L]; padding stands behind a text, where nothing of it looks


@dataclass
class Looks:
    """Scores of the grounded heads over the prefix: one entry a layer and group, [B, S, L, heads, P]."""

    scores: list


class Layer(nn.Module):
    def __init__(self, weights: dict[str, torch.Tensor], rank: int, largest: dict[str, torch.Tensor]):
        """largest: of the products behind a norm, the largest input by channel. Channels that stand out move into the weights,
        where they cost fewer of the 8 bits (SmoothQuant, Xiao et al. 2023, arXiv 2211.10438); the norm divides by `smooth`."""
        super().__init__()
        self.frozen, self.smooth = {}, {}
        self.lora = nn.ParameterDict()
        for name, parts in PRODUCTS.items():
            weight = torch.cat([weights[f"{part}.weight"] for part in parts])
            if name in largest:
                self.smooth[name] = (largest[name].clamp_min(1e-5) / weight.abs().amax(0).clamp_min(1e-5)).sqrt()
                weight = weight * self.smooth[name]
            self.frozen[name] = Frozen(weight)
            key = name.replace(".", "_")
            self.lora[f"{key}_a"] = nn.Parameter(torch.randn(rank, weight.shape[1]) / math.sqrt(weight.shape[1]))
            self.lora[f"{key}_b"] = nn.Parameter(torch.zeros(weight.shape[0], rank))
        self.input_norm = nn.Parameter(weights["input_layernorm.weight"] / self.smooth["self_attn.qkv"])
        self.post_norm = nn.Parameter(weights["post_attention_layernorm.weight"] / self.smooth["mlp.gate_up"])

    def product(self, x: torch.Tensor, name: str) -> torch.Tensor:
        key = name.replace(".", "_")
        return linear(x, self.frozen[name], self.lora[f"{key}_a"], self.lora[f"{key}_b"])


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """x [T, heads, 64]; cos, sin [T, 1, 64], the second half of sin as it is and the first negative."""
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([second, first], -1) * sin


class Llama(nn.Module):
    def __init__(self, checkpoint: Path, calibration: Path, rank: int, grounded: tuple[int, ...]):
        """grounded: layers whose first key head, with its query heads, is told where to look"""
        super().__init__()
        c = json.loads((checkpoint / "config.json").read_text())
        self.heads, self.kv_heads, self.width = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
        self.epsilon = c["rms_norm_eps"]
        self.grounded = grounded
        largest = load_file(calibration)
        with safe_open(checkpoint / "model.safetensors", "pt") as file:
            self.register_buffer("embedding", file.get_tensor("model.embed_tokens.weight"), persistent=False)
            self.norm = nn.Parameter(file.get_tensor("model.norm.weight"))
            names = [name for name in file.keys() if name.startswith("model.layers.")]
            self.layers = nn.ModuleList()
            for i in range(c["num_hidden_layers"]):
                prefix = f"model.layers.{i}."
                weights = {n.removeprefix(prefix): file.get_tensor(n) for n in names if n.startswith(prefix)}
                self.layers.append(Layer(weights, rank, {name: largest[f"{i}.{name}"] for name in ("self_attn.qkv", "mlp.gate_up")}))
        theta = c["rope_parameters"]["rope_theta"]
        self.register_buffer("frequencies", theta ** (-torch.arange(0, self.width, 2) / self.width), persistent=False)

    def output(self, tokens: torch.Tensor) -> torch.Tensor:
        """The output product over some of the vocabulary."""
        return self.embedding[tokens]

    def forward(self, prefix: torch.Tensor, positions: torch.Tensor, groups: list[Group], start: int):
        """prefix [B, P, H] at positions [B, P]; texts begin at position `start` -> hidden states of each group [B, S, L, H], looks"""
        batch, length, hidden = prefix.shape
        device = prefix.device
        flat = [prefix.flatten(0, 1)] + [self.embedding[g.ids].flatten(0, 2) for g in groups]
        sizes = [len(part) for part in flat]
        at = [positions.flatten()] + [(start + torch.arange(g.ids.shape[2], device=device)).expand(g.ids.shape).flatten() for g in groups]
        angles = torch.cat(at)[:, None].float() * self.frequencies
        cos = torch.cat([angles.cos()] * 2, -1)[:, None]
        sin = torch.cat([-angles.sin(), angles.sin()], -1)[:, None]
        causal = torch.full((length, length), -1e9, device=device).triu(1)
        own = [torch.full((n, n), -1e9, device=device).triu(1) for n in (g.ids.shape[2] for g in groups)]
        looks = Looks([])
        x = torch.cat(flat)
        share = self.heads // self.kv_heads
        for index, layer in enumerate(self.layers):
            y = rms_norm(x, layer.input_norm, self.epsilon)
            qkv = layer.product(y, "self_attn.qkv").view(len(x), -1, self.width)
            q, k, v = qkv.split([self.heads, self.kv_heads, self.kv_heads], 1)
            q, k = rotate(q, cos, sin) * self.width**-0.5, rotate(k, cos, sin)
            qs, ks, vs = q.split(sizes), k.split(sizes), v.split(sizes)
            outputs = []
            # [B, kv, P, 64]
            keys = ks[0].view(batch, length, self.kv_heads, self.width).transpose(1, 2)
            values = vs[0].view(batch, length, self.kv_heads, self.width).transpose(1, 2)
            query = qs[0].view(batch, length, self.kv_heads, share, self.width).permute(0, 2, 3, 1, 4)  # [B, kv, share, P, 64]
            scores = query.reshape(batch, self.kv_heads, share * length, self.width) @ keys.mT
            scores = scores.view(batch, self.kv_heads, share, length, length) + causal
            read = scores.softmax(-1).view(batch, self.kv_heads, share * length, length) @ values
            outputs.append(read.view(batch, self.kv_heads, share, length, self.width).permute(0, 3, 1, 2, 4).reshape(batch * length, -1))
            for g, mask, gq, gk, gv in zip(groups, own, qs[1:], ks[1:], vs[1:], strict=True):
                _, s, n = g.ids.shape
                # [B, kv, S, share, L, 64] over the prefix of its picture
                query = gq.view(batch, s, n, self.kv_heads, share, self.width).permute(0, 3, 1, 4, 2, 5).contiguous()
                over = (query.view(batch, self.kv_heads, s * share * n, self.width) @ keys.mT).view(batch, self.kv_heads, s, share * n, length)
                gk = gk.view(batch, s, n, self.kv_heads, self.width).permute(0, 3, 1, 2, 4)
                gv = gv.view(batch, s, n, self.kv_heads, self.width).permute(0, 3, 1, 2, 4)
                within = query.view(batch, self.kv_heads, s, share * n, self.width) @ gk.mT
                within = (within.view(batch, self.kv_heads, s, share, n, n) + mask).view(batch, self.kv_heads, s, share * n, n)
                weights = torch.cat([over, within], -1).softmax(-1)
                if index in self.grounded:
                    looks.scores.append(over[:, 0].view(batch, s, share, n, length).transpose(2, 3))
                of_prefix, of_own = weights.split([length, n], -1)
                read = (of_prefix.reshape(batch, self.kv_heads, s * share * n, length) @ values).view(batch, self.kv_heads, s, share, n, self.width)
                read = read + (of_own @ gv).view(batch, self.kv_heads, s, share, n, self.width)
                outputs.append(read.permute(0, 2, 4, 1, 3, 5).reshape(batch * s * n, -1))
            x = x + layer.product(torch.cat(outputs), "self_attn.o")
            y = rms_norm(x, layer.post_norm, self.epsilon)
            x = x + layer.product(swiglu(layer.product(y, "mlp.gate_up")), "mlp.down")
        parts = x.split(sizes)[1:]
        return [part.view(*g.ids.shape, hidden) for part, g in zip(parts, groups, strict=True)], looks

    def logits(self, hidden: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        return head(rms_norm(hidden, self.norm, self.epsilon), output)
