"""Keeps what was trained in the repository, as half floats: checkpoint.safetensors, the model and the tower's dense heads.

  python checkpoint.py pack --run DIR      writes it from the newest of llava.pt and decoder.pt, and vision.pt
  python checkpoint.py unpack --run DIR    makes vision.pt and decoder.pt from it, to train on from there
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from runs import newest

FILE = Path(__file__).parent / "checkpoint.safetensors"
HEADS = "dense_heads."


def pack(run: Path) -> None:
    saved = newest(run)
    vision = torch.load(run / "vision.pt", weights_only=False, map_location="cpu")
    heads = saved.get("heads", vision["heads"])
    tensors = saved["model"] | {HEADS + name: value for name, value in heads.items()}
    save_file({k: v.half().contiguous() for k, v in tensors.items()}, FILE, {"lists": json.dumps(vision["lists"])})


def unpack(run: Path) -> None:
    run.mkdir(parents=True, exist_ok=True)
    with safe_open(FILE, "pt") as file:
        lists = json.loads(file.metadata()["lists"])
        tensors = {name: file.get_tensor(name).float() for name in file.keys()}
    part = lambda prefix: {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    torch.save({"tower": part("vision_tower."), "heads": part(HEADS), "lists": lists}, run / "vision.pt")
    torch.save({"model": {k: v for k, v in tensors.items() if not k.startswith(HEADS)}}, run / "decoder.pt")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["pack", "unpack"])
    parser.add_argument("--run", required=True)
    a = parser.parse_args()
    {"pack": pack, "unpack": unpack}[a.what](Path(a.run))


if __name__ == "__main__":
    main()
