"""Stage 1: the vision tower alone, from dense labels.

Each of the 576 patch features must say what it lies on (object or text, shape, colour, size, texture, character, background,
whether it is an item's centre, how many objects the picture has). 576 labelled positions a picture instead of one caption:
what makes training a tower possible on a CPU.   python train_vision.py --data DIR --out DIR --minutes 25
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from data import HEADS, Scenes, dense_labels, head_sizes, vocabulary
from model import CONFIG, VisionTower, normalise, Llava
from optimiser import Optimisers

WEIGHTS = {"centre": 3.0, "background_color": 0.2, "background_style": 0.3, "count": 0.3, "kind": 1.0, "character": 2.0, "shape": 2.0}


class DenseHeads(nn.Module):
    def __init__(self, sizes: dict[str, int], width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.heads = nn.ModuleDict({name: nn.Linear(width, sizes[name]) for name in HEADS})

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.norm(x)
        return {name: head(x) for name, head in self.heads.items()}


def dense_loss(outputs: dict[str, torch.Tensor], labels: torch.Tensor):
    """labels [B, heads, 24, 24] -> (weighted loss, {head: accuracy})"""
    total, accuracy = 0.0, {}
    for i, name in enumerate(HEADS):
        target = labels[:, i].flatten()
        seen = target >= 0
        if not seen.any():
            continue
        logits, target = outputs[name].flatten(0, 1)[seen], target[seen]
        weight = torch.tensor([1.0, 20.0], device=logits.device) if name == "centre" else None
        total = total + WEIGHTS.get(name, 1.0) * F.cross_entropy(logits, target, weight=weight)
        accuracy[name] = (logits.argmax(-1) == target).float().mean().item()
    return total, accuracy


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--muon", type=float, default=0.02)
    parser.add_argument("--adam", type=float, default=2e-3)
    a = parser.parse_args()
    torch.manual_seed(0)
    scenes = Scenes(*a.data)
    lists = vocabulary(scenes.records)
    held = min(64, len(scenes) // 10)  # the last ones: to watch, never trained on
    out = Path(a.out)
    out.mkdir(parents=True, exist_ok=True)
    file = out / "vision.pt"

    tower, heads = VisionTower(CONFIG), DenseHeads(head_sizes(lists), CONFIG["vision_hidden"])
    tower.apply(Llava.initialise)
    tower, heads = tower.to(a.device), heads.to(a.device)
    optimisers = Optimisers([tower, heads], a.muon, a.adam)
    spent, step = 0.0, 0
    if file.exists():
        saved = torch.load(file, weights_only=False)
        tower.load_state_dict(saved["tower"])
        heads.load_state_dict(saved["heads"])
        optimisers.load_state_dict(saved["optimisers"])
        spent, step = saved["spent"], saved["step"]

    def run(indices):
        pixels = normalise(scenes.pixels(indices).to(a.device))
        labels = torch.from_numpy(np.stack([dense_labels(scenes.records[i], lists) for i in indices])).to(a.device)
        return dense_loss(heads(tower(pixels)), labels)

    def save():
        state = {"tower": tower.state_dict(), "heads": heads.state_dict(), "lists": lists}
        torch.save({**state, "optimisers": optimisers.state_dict(), "spent": spent, "step": step}, file.with_suffix(".tmp"))
        file.with_suffix(".tmp").rename(file)

    order = np.random.default_rng(step).permutation(len(scenes) - held)
    started = time.time()
    while spent < a.minutes * 60:
        at = step * a.batch % (len(order) - a.batch)
        loss, accuracy = run(order[at : at + a.batch])
        loss.backward()
        optimisers.step(spent / (a.minutes * 60))
        step += 1
        spent += time.time() - started
        started = time.time()
        if step % 50 == 0:
            with torch.no_grad():
                loss, accuracy = run(range(len(scenes) - held, len(scenes)))
            shown = " ".join(f"{k} {v:.3f}" for k, v in accuracy.items())
            print(f"{spent / 60:.1f} min, step {step} ({step * a.batch / spent:.1f} images/s): loss {loss:.3f} {shown}", flush=True)
        if step % 300 == 0:
            save()
    save()


if __name__ == "__main__":
    main()
