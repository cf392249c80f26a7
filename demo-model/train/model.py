"""The LLaVA architecture in plain PyTorch, with the parameter names of a Hugging Face checkpoint.

Only what training needs: no cache, no generation beyond greedy decoding for evaluation (see evaluate in train_llava.py).
Shapes: B images, N patches (576), T tokens, V = vision width, H = decoder width.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

CONFIG = {
    "image_size": 336,
    "patch_size": 14,
    "vision_hidden": 128,
    "vision_layers": 4,
    "vision_heads": 4,
    "vision_mlp": 512,
    "hidden": 192,
    "layers": 4,
    "heads": 6,
    "mlp": 512,
    "rope_theta": 10000.0,
    "rms_eps": 1e-5,
    "layer_norm_eps": 1e-5,
}


def sincos_position_embedding(side: int, width: int) -> torch.Tensor:
    """[side*side + 1, width]: the two-dimensional sine table as a starting point; trained on like any weight."""
    quarter = width // 4
    frequencies = 1.0 / 100 ** (torch.arange(quarter) / quarter)
    angles = torch.arange(side)[:, None] * frequencies[None]
    axis = torch.cat([angles.sin(), angles.cos()], dim=1)  # (side, width/2)
    rows = axis[:, None].expand(side, side, -1)
    columns = axis[None].expand(side, side, -1)
    table = torch.cat([rows, columns], dim=-1).reshape(side * side, width)
    return torch.cat([torch.zeros(1, width), table]) * 0.5


class ClipAttention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, n, v = x.shape
        split = lambda t: t.view(b, n, self.heads, v // self.heads).transpose(1, 2)
        y = F.scaled_dot_product_attention(split(self.q_proj(x)), split(self.k_proj(x)), split(self.v_proj(x)))
        return self.out_proj(y.transpose(1, 2).reshape(b, n, v))


class ClipMlp(nn.Module):
    def __init__(self, width: int, inner: int):
        super().__init__()
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class ClipLayer(nn.Module):
    def __init__(self, c: dict):
        super().__init__()
        self.self_attn = ClipAttention(c["vision_hidden"], c["vision_heads"])
        self.layer_norm1 = nn.LayerNorm(c["vision_hidden"], c["layer_norm_eps"])
        self.mlp = ClipMlp(c["vision_hidden"], c["vision_mlp"])
        self.layer_norm2 = nn.LayerNorm(c["vision_hidden"], c["layer_norm_eps"])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class ClipEmbeddings(nn.Module):
    def __init__(self, c: dict):
        super().__init__()
        side = c["image_size"] // c["patch_size"]
        self.class_embedding = nn.Parameter(torch.randn(c["vision_hidden"]) * 0.02)
        self.patch_embedding = nn.Conv2d(3, c["vision_hidden"], c["patch_size"], c["patch_size"], bias=False)
        self.position_embedding = nn.Embedding(side * side + 1, c["vision_hidden"])
        self.position_embedding.weight.data = sincos_position_embedding(side, c["vision_hidden"])

    def forward(self, pixels: torch.Tensor, places: torch.Tensor | None = None) -> torch.Tensor:
        """places [B, N]: where in the whole picture the patches of a crop lie; None: all of them, in order."""
        patches = self.patch_embedding(pixels).flatten(2).transpose(1, 2)  # (B, N, V)
        cls = self.class_embedding.expand(len(patches), 1, -1)
        table = self.position_embedding.weight
        if places is not None:
            table = torch.cat([table[:1].expand(len(patches), 1, -1), table[places + 1]], dim=1)
        return torch.cat([cls, patches], dim=1) + table


class ClipEncoder(nn.Module):
    def __init__(self, c: dict):
        super().__init__()
        self.layers = nn.ModuleList(ClipLayer(c) for _ in range(c["vision_layers"]))


class ClipVisionModel(nn.Module):
    def __init__(self, c: dict):
        super().__init__()
        self.embeddings = ClipEmbeddings(c)
        self.pre_layrnorm = nn.LayerNorm(c["vision_hidden"], c["layer_norm_eps"])
        self.encoder = ClipEncoder(c)
        self.post_layernorm = nn.LayerNorm(c["vision_hidden"], c["layer_norm_eps"])

    def forward(self, pixels: torch.Tensor, places: torch.Tensor | None = None) -> torch.Tensor:
        """[B, 3, 336, 336] normalised -> [B, N, V]: the last layer's patches, class token dropped (vision_feature_layer -1)."""
        x = self.pre_layrnorm(self.embeddings(pixels, places))
        for layer in self.encoder.layers:
            x = layer(x)
        return x[:, 1:]


class VisionTower(nn.Module):
    def __init__(self, c: dict):
        super().__init__()
        self.vision_model = ClipVisionModel(c)

    def forward(self, pixels: torch.Tensor, places: torch.Tensor | None = None) -> torch.Tensor:
        return self.vision_model(pixels, places)


class Projector(nn.Module):
    def __init__(self, c: dict):
        super().__init__()
        self.linear_1 = nn.Linear(c["vision_hidden"], c["hidden"])
        self.linear_2 = nn.Linear(c["hidden"], c["hidden"])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear_2(F.gelu(self.linear_1(x)))


class RmsNorm(nn.Module):
    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """x [B, heads, T, D]; cos, sin [B, 1, T, D/2]; rotate-half as Llama."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


class LlamaAttention(nn.Module):
    def __init__(self, c: dict):
        super().__init__()
        self.heads = c["heads"]
        self.q_proj = nn.Linear(c["hidden"], c["hidden"], bias=False)
        self.k_proj = nn.Linear(c["hidden"], c["hidden"], bias=False)
        self.v_proj = nn.Linear(c["hidden"], c["hidden"], bias=False)
        self.o_proj = nn.Linear(c["hidden"], c["hidden"], bias=False)
        self.queries = self.keys = None  # [B, heads, T, D] of the last forward pass, for the grounding loss

    def forward(self, x, cos, sin, mask):
        b, t, h = x.shape
        split = lambda y: y.view(b, t, self.heads, h // self.heads).transpose(1, 2)
        q, k, v = rotate(split(self.q_proj(x)), cos, sin), rotate(split(self.k_proj(x)), cos, sin), split(self.v_proj(x))
        self.queries, self.keys = q, k
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.o_proj(y.transpose(1, 2).reshape(b, t, h))


class LlamaMlp(nn.Module):
    def __init__(self, c: dict):
        super().__init__()
        self.gate_proj = nn.Linear(c["hidden"], c["mlp"], bias=False)
        self.up_proj = nn.Linear(c["hidden"], c["mlp"], bias=False)
        self.down_proj = nn.Linear(c["mlp"], c["hidden"], bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class LlamaLayer(nn.Module):
    def __init__(self, c: dict):
        super().__init__()
        self.self_attn = LlamaAttention(c)
        self.mlp = LlamaMlp(c)
        self.input_layernorm = RmsNorm(c["hidden"], c["rms_eps"])
        self.post_attention_layernorm = RmsNorm(c["hidden"], c["rms_eps"])

    def forward(self, x, cos, sin, mask):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class LlamaModel(nn.Module):
    def __init__(self, c: dict, vocabulary: int):
        super().__init__()
        self.embed_tokens = nn.Embedding(vocabulary, c["hidden"])
        self.layers = nn.ModuleList(LlamaLayer(c) for _ in range(c["layers"]))
        self.norm = RmsNorm(c["hidden"], c["rms_eps"])


class LanguageModel(nn.Module):
    def __init__(self, c: dict, vocabulary: int):
        super().__init__()
        self.model = LlamaModel(c, vocabulary)
        self.lm_head = nn.Linear(c["hidden"], vocabulary, bias=False)
        half = c["hidden"] // c["heads"] // 2
        self.register_buffer("inverse_frequencies", c["rope_theta"] ** (-torch.arange(half) / half), persistent=False)

    def forward(self, x: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """x [B, T, H], positions [B, T], mask bool [B, 1, T, T] (True = sees) -> hidden states [B, T, H]."""
        angles = positions[:, None, :, None].float() * self.inverse_frequencies
        cos, sin = angles.cos(), angles.sin()
        for layer in self.model.layers:
            x = layer(x, cos, sin, mask)
        return self.model.norm(x)


class Llava(nn.Module):
    def __init__(self, vocabulary: int, c: dict = CONFIG):
        super().__init__()
        self.vision_tower = VisionTower(c)
        self.multi_modal_projector = Projector(c)
        self.language_model = LanguageModel(c, vocabulary)
        self.apply(self.initialise)
        for layer in self.language_model.model.layers:
            for weight in (layer.self_attn.o_proj.weight, layer.mlp.down_proj.weight):
                weight.data /= math.sqrt(2 * c["layers"])

    @staticmethod
    def initialise(module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.5 / math.sqrt(module.in_features))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding) and module.num_embeddings != 577:
            nn.init.normal_(module.weight, std=0.5)

# CLIP's own normalisation, as preprocessor_config.json states it.
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)


def normalise(images: torch.Tensor) -> torch.Tensor:
    """uint8 [B, 336, 336, 3] -> float32 [B, 3, 336, 336]."""
    return (images.permute(0, 3, 1, 2).float() / 255 - MEAN.to(images.device)) / STD.to(images.device)
