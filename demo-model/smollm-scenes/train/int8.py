"""Frozen linear layers in 8 bits with a LoRA beside them, and the elementwise parts of a Llama layer, for one CPU core.

Products of the frozen weights run in int8 both ways (SwitchBack, Wortsman et al. 2023, arXiv 2304.13013: activations and gradients by
row, weights by output channel forward and by input channel back); what is trained stays float32. On a Xeon with AVX-512 VNNI
that is 680 GFLOP/s a core, where float32 is 110 and bfloat16 70. On a GPU, layers.py does all of it in bfloat16.
"""

import functools
from pathlib import Path

import torch
from torch.utils.cpp_extension import load


class Kernels:
    """kernels.cpp, compiled when it is first called for: a GPU needs none of it."""

    @functools.cached_property
    def library(self):
        return load("smollm_scenes_kernels", [str(Path(__file__).parent / "kernels.cpp")],
                    extra_cflags=["-O3", "-march=native", "-ffast-math", "-mprefer-vector-width=512"])

    def __getattr__(self, name: str):
        return getattr(self.library, name)


kernels = Kernels()


def levels_of(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """weight [rows, width] -> int8, a scale for each row"""
    scale = weight.abs().amax(1).clamp_min(1e-30) / 127
    return (weight / scale[:, None]).round().to(torch.int8), scale


class Frozen:
    """A weight [outputs, inputs] that is never trained."""

    def __init__(self, weight: torch.Tensor):
        self.outputs, self.inputs = weight.shape
        forward, self.forward_scale = levels_of(weight)
        back, self.back_scale = levels_of(weight.T)
        self.forward, self.back = forward.contiguous().t(), back.contiguous().t()

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        levels, scale = kernels.quantise(x)
        return kernels.scaled(torch._int_mm(levels, self.forward), scale, self.forward_scale)

    def apply_back(self, g: torch.Tensor) -> torch.Tensor:
        levels, scale = kernels.quantise(g)
        return kernels.scaled(torch._int_mm(levels, self.back), scale, self.back_scale)


class Linear(torch.autograd.Function):
    """x [T, inputs] -> x W' + x A' B' [T, outputs]"""

    @staticmethod
    def forward(ctx, x, frozen: Frozen, a, b):
        low = x @ a.T
        ctx.save_for_backward(x, low, a, b)
        ctx.frozen = frozen
        return frozen.apply(x).addmm_(low, b.T)

    @staticmethod
    def backward(ctx, g):
        x, low, a, b = ctx.saved_tensors
        g = g.contiguous()
        g_low = g @ b
        return ctx.frozen.apply_back(g).addmm_(g_low, a), None, g_low.T @ x, g.T @ low


class SwiGlu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, both):
        ctx.save_for_backward(both)
        return kernels.swiglu(both)

    @staticmethod
    def backward(ctx, g):
        return kernels.swiglu_backward(*ctx.saved_tensors, g.contiguous())


class RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, epsilon: float):
        y, inverse = kernels.rms_norm(x, weight, epsilon)
        ctx.save_for_backward(x, weight, inverse)
        return y

    @staticmethod
    def backward(ctx, g):
        return *kernels.rms_norm_backward(*ctx.saved_tensors, g.contiguous()), None
