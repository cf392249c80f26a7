"""Muon for the matrices of the layers, AdamW for everything else, one cosine schedule for both.

Muon: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/ : the momentum of a matrix is replaced by the nearest
orthogonal matrix (five Newton-Schulz steps). On a small model it needs about half of AdamW's samples.
"""

import math

import torch


def orthogonalise(g: torch.Tensor) -> torch.Tensor:
    """g [matrices, rows, columns], rows <= columns"""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g / (g.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        y = x @ x.mT
        x = a * x + (b * y + c * y @ y) @ x
    return x


class Muon(torch.optim.Optimizer):
    def __init__(self, parameters, lr: float, momentum: float = 0.95, weight_decay: float = 0.01):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            # matrices of one shape, lying or standing, go through the steps together: a few large products instead of many small ones
            alike: dict[tuple[int, int], list] = {}
            for p in group["params"]:
                if p.grad is None:
                    continue
                buffer = self.state[p].setdefault("momentum", torch.zeros_like(p))
                buffer.lerp_(p.grad, 1 - group["momentum"])
                update = p.grad.lerp(buffer, group["momentum"])
                standing = p.shape[0] > p.shape[1]
                alike.setdefault(tuple(sorted(p.shape)), []).append((p, standing, update.T if standing else update))
            for matrices in alike.values():
                updates = orthogonalise(torch.stack([update for _, _, update in matrices]))
                for (p, standing, _), update in zip(matrices, updates, strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(update.T if standing else update, alpha=-group["lr"] * max(1, p.shape[0] / p.shape[1]) ** 0.5)


class Optimisers:
    """Both optimisers behind one step(progress); progress in [0, 1] drives warm-up and cosine decay."""

    def __init__(self, modules, muon_lr: float, adam_lr: float, warmup: float = 0.03):
        named = [(n, p) for m in modules for n, p in m.named_parameters() if p.requires_grad]
        is_matrix = lambda n, p: p.ndim == 2 and ".layers." in f".{n}"
        matrices = [p for n, p in named if is_matrix(n, p)]
        others = [p for n, p in named if not is_matrix(n, p)]
        self.parameters = [p for _, p in named]
        self.all = [Muon(matrices, muon_lr)] if matrices else []
        self.all.append(torch.optim.AdamW(others, adam_lr, betas=(0.9, 0.98), weight_decay=0.01))
        self.base = [g["lr"] for o in self.all for g in o.param_groups]
        self.warmup = warmup

    def step(self, progress: float) -> None:
        scale = min(1, progress / self.warmup) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1, progress))))
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        groups = [g for o in self.all for g in o.param_groups]
        for group, lr in zip(groups, self.base, strict=True):
            group["lr"] = lr * scale
        for o in self.all:
            o.step()
            o.zero_grad(set_to_none=True)

    def state_dict(self):
        return [o.state_dict() for o in self.all]

    def load_state_dict(self, states):
        for o, s in zip(self.all, states, strict=True):
            o.load_state_dict(s)
