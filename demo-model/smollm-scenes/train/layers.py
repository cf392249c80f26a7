"""The parts of a Llama layer, on the CPU in 8 bits (int8.py), on a GPU in bfloat16."""

import torch
import torch.nn.functional as F

import int8


class Frozen:
    """A weight [outputs, inputs] that is never trained."""

    def __init__(self, weight: torch.Tensor):
        self.whole = weight
        self.of: dict[str, object] = {}

    def on(self, x: torch.Tensor):
        kind = x.device.type
        if kind not in self.of:
            self.of[kind] = int8.Frozen(self.whole) if kind == "cpu" else self.whole.to(x.device, torch.bfloat16)
            self.whole = None
        return self.of[kind]


def linear(x: torch.Tensor, frozen: Frozen, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """x [T, inputs] -> x W' + x A' B' [T, outputs]"""
    weight = frozen.on(x)
    if x.device.type == "cpu":
        return int8.Linear.apply(x, weight, a, b)
    narrow = x.bfloat16()
    return (narrow @ weight.T + narrow @ a.bfloat16().T @ b.bfloat16().T).float()


def head(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Exact: a gradient of logits is one large number and very many small ones, of which 8 bits leave nothing."""
    return x @ weight.T


def swiglu(both: torch.Tensor) -> torch.Tensor:
    """[T, 2 * width], gate then up -> [T, width]"""
    if both.device.type == "cpu":
        return int8.SwiGlu.apply(both)
    gate, up = both.chunk(2, -1)
    return F.silu(gate) * up


def rms_norm(x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    if x.device.type == "cpu":
        return int8.RmsNorm.apply(x, weight, epsilon)
    return F.rms_norm(x, weight.shape, weight, epsilon)
