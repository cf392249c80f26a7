"""Stage 1: the vision tower alone, from dense labels.

Each of the 576 patch features must say what it lies on (object or text, shape, colour, size, texture, character, background,
whether it is an item's centre, how many objects the picture has). 576 labelled positions a picture instead of one caption:
what makes training a tower possible on a CPU. The first part of the time shows single cells of the 3 x 3 grid at
their own positions (64 patches instead of 576, no attention over the whole picture), the rest whole pictures.
  python train_vision.py --data DIR --out DIR --minutes 25
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
from runs import save_whole

WEIGHTS = {"centre": 3.0, "background_color": 0.2, "background_style": 0.3, "count": 0.1, "cell": 2.0, "kind": 1.0, "character": 2.0, "shape": 2.0}


class DenseHeads(nn.Module):
    def __init__(self, sizes: dict[str, int], width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.heads = nn.ModuleDict({name: nn.Linear(width, sizes[name]) for name in HEADS})

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.norm(x)
        return {name: head(x) for name, head in self.heads.items()}


def dense_loss(outputs: dict[str, torch.Tensor], labels: torch.Tensor):
    """labels [B, heads, N] -> (weighted loss, {head: accuracy})"""
    total, accuracy = 0.0, {}
    for i, name in enumerate(HEADS):
        target = labels[:, i].flatten().long()
        seen = target >= 0
        if not seen.any():
            continue
        logits, target = outputs[name].flatten(0, 1)[seen], target[seen]
        weight = torch.tensor([1.0, 20.0], device=logits.device) if name == "centre" else None
        total = total + WEIGHTS.get(name, 1.0) * F.cross_entropy(logits, target, weight=weight)
        accuracy[name] = (logits.argmax(-1) == target).float().mean().item()
    return total, accuracy


def cells_to_show(record: dict) -> list[int]:
    """Every cell with something in it, and about one empty cell a picture."""
    full = [item["cell"] for item in record["items"]]
    empty = [c for c in range(9) if c not in full]
    return full + empty[record["seed"] % 9 :][:1]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--whole-from", type=float, default=0.75, help="share of the time after which whole pictures are shown")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--muon", type=float, default=0.03)
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
        saved = torch.load(file, weights_only=False, map_location=a.device)
        tower.load_state_dict(saved["tower"])
        heads.load_state_dict(saved["heads"])
        if "optimisers" in saved:  # else it was unpacked from the repository
            optimisers.load_state_dict(saved["optimisers"])
            spent, step = saved["spent"], saved["step"]

    known: dict[int, torch.Tensor] = {}

    def labels_of(i: int) -> torch.Tensor:
        if i not in known:
            known[i] = torch.from_numpy(dense_labels(scenes.records[i], lists)).flatten(1).to(torch.int16)
        return known[i]

    def run(indices):
        pixels = normalise(scenes.pixels(indices).to(a.device))
        labels = torch.stack([labels_of(i) for i in indices]).to(a.device)
        return dense_loss(heads(tower(pixels)), labels)

    def run_cells(pairs):
        crops, places = scenes.cells(pairs)
        labels = torch.stack([labels_of(i)[:, p] for (i, _), p in zip(pairs, places, strict=True)])
        labels[:, HEADS.index("count")] = -100  # a crop does not show how many objects the picture has
        return dense_loss(heads(tower(normalise(crops.to(a.device)), places.to(a.device))), labels.to(a.device))

    cells = [(i, c) for i in range(len(scenes) - held) for c in cells_to_show(scenes.records[i])]

    def save():
        state = {"tower": tower.state_dict(), "heads": heads.state_dict(), "lists": lists}
        save_whole({**state, "optimisers": optimisers.state_dict(), "spent": spent, "step": step}, file)

    draw = np.random.default_rng(step)
    started = time.time()
    while spent < a.minutes * 60:
        progress = spent / (a.minutes * 60)
        if progress < a.whole_from:
            loss, accuracy = run_cells([cells[k] for k in draw.integers(len(cells), size=a.batch * 8)])
        else:
            loss, accuracy = run(draw.integers(len(scenes) - held, size=a.batch).tolist())
        loss.backward()
        optimisers.step(progress)
        step += 1
        spent += time.time() - started
        started = time.time()
        if step % 50 == 0:
            watched = range(len(scenes) - held, len(scenes))
            with torch.no_grad():
                if progress < a.whole_from:
                    loss, accuracy = run_cells([(i, c) for i in watched for c in cells_to_show(scenes.records[i])])
                else:
                    loss, accuracy = run(watched)
            shown = " ".join(f"{k} {v:.3f}" for k, v in accuracy.items())
            print(f"{spent / 60:.1f} min, step {step} ({step / spent:.2f} steps/s): loss {loss:.3f} {shown}", flush=True)
        if step % 100 == 0:
            save()
    save()


if __name__ == "__main__":
    main()
