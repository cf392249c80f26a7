"""The files of a training run."""

from pathlib import Path

import torch


def save_whole(state: dict, file: Path) -> None:
    """Whole or as it was: training may be killed while it writes."""
    torch.save(state, file.with_suffix(".tmp"))
    file.with_suffix(".tmp").rename(file)


def newest(run: Path) -> dict:
    """What the latest stage of a run has saved, on the CPU."""
    files = [run / "llava.pt", run / "decoder.pt"]
    for file in files:
        if file.exists():
            return torch.load(file, weights_only=False, map_location="cpu")
    raise SystemExit(f"neither {files[0]} nor {files[1]} is there; run train_llava.py first.")
