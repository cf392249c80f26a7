"""What the scene exporter wrote (images.u8, scenes.jsonl), as tensors."""

import json
import string
from pathlib import Path

import numpy as np
import torch

SIDE, PATCH = 24, 14
CHARACTERS = string.digits + string.ascii_uppercase
PROMPT = "USER: <image>\n{question} ASSISTANT:"


class Scenes:
    def __init__(self, *folders: str):
        self.images, self.records = [], []
        for folder in map(Path, folders):
            lines = (folder / "scenes.jsonl").read_text().splitlines()
            pixels = np.memmap(folder / "images.u8", np.uint8, "r").reshape(-1, 336, 336, 3)
            count = min(len(lines), len(pixels))
            self.images.append(pixels[:count])
            self.records += [json.loads(line) for line in lines[:count]]
        self.starts = np.cumsum([0] + [len(i) for i in self.images])

    def __len__(self) -> int:
        return len(self.records)

    def image(self, i: int) -> np.ndarray:
        shard = int(np.searchsorted(self.starts, i, "right")) - 1
        return self.images[shard][i - self.starts[shard]]

    def pixels(self, indices) -> torch.Tensor:
        """uint8 [B, 336, 336, 3]"""
        return torch.from_numpy(np.stack([self.image(i) for i in indices]))

    def cells(self, pairs) -> tuple[torch.Tensor, torch.Tensor]:
        """[(scene, cell 0..8)] -> uint8 [B, 112, 112, 3] and the 64 places of each crop's patches [B, 64]"""
        rows, places = [], []
        grid = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
        for i, cell in pairs:
            y, x = cell // 3, cell % 3
            rows.append(self.image(i)[y * 112 : y * 112 + 112, x * 112 : x * 112 + 112])
            places.append(grid[y * 8 : y * 8 + 8, x * 8 : x * 8 + 8].reshape(-1))
        return torch.from_numpy(np.stack(rows)), torch.from_numpy(np.stack(places))


def vocabulary(records) -> dict[str, list[str]]:
    """The closed lists behind the labels, sorted so that they do not depend on the order of the scenes."""
    objects = [item for r in records for item in r["items"] if item["kind"] == "object"]
    lists = {key: sorted({o[key] for o in objects}) for key in ("shape", "color", "size", "texture")}
    lists["word"] = sorted({i["text"] for r in records for i in r["items"] if i.get("textKind") == "word"})
    lists["background_color"] = sorted({r["background"]["color"] for r in records})
    lists["background_style"] = sorted({r["background"]["style"] for r in records})
    return lists


HEADS = ("kind", "shape", "color", "size", "texture", "word", "character", "background_color", "background_style", "centre", "count", "cell")


def head_sizes(lists: dict[str, list[str]]) -> dict[str, int]:
    sizes = {key: len(values) for key, values in lists.items()}
    return {**sizes, "kind": 3, "character": len(CHARACTERS), "centre": 2, "count": 10, "cell": 9}


def patch_box(box: dict, least: float) -> tuple[slice, slice]:
    """Rows and columns of the patches that a pixel box covers by at least the share `least` in either direction."""
    lo = lambda start: max(0, int(np.ceil(start / PATCH - 1 + least)))
    hi = lambda end: min(SIDE, int(np.floor(end / PATCH + 1 - least)))
    x0, x1, y0, y1 = lo(box["x"]), hi(box["x"] + box["w"]), lo(box["y"]), hi(box["y"] + box["h"])
    return slice(y0, max(y1, y0 + 1)), slice(x0, max(x1, x0 + 1))


def dense_labels(record: dict, lists: dict[str, list[str]]) -> np.ndarray:
    """int64 [heads, 24, 24]; -100 where a head has nothing to say about a patch."""
    labels = np.full((len(HEADS), SIDE, SIDE), -100, np.int64)
    at = {name: labels[i] for i, name in enumerate(HEADS)}
    at["kind"][:] = 0
    at["centre"][:] = 0
    # where a patch lies: a tower that is never asked forgets it, and then the decoder cannot say where anything is
    at["cell"][:] = np.arange(SIDE)[:, None] // 8 * 3 + np.arange(SIDE)[None] // 8
    at["count"][:] = sum(item["kind"] == "object" for item in record["items"])
    for key in ("color", "style"):
        at[f"background_{key}"][:] = lists[f"background_{key}"].index(record["background"][key])
    for item in record["items"]:
        box = item["bbox"]
        where = patch_box(box, 0.4)
        at["kind"][where] = 1 if item["kind"] == "object" else 2
        at["color"][where] = lists["color"].index(item["color"])
        for key in ("background_color", "background_style"):
            at[key][where] = -100
        for key in ("shape", "size", "texture"):
            if item["kind"] == "object":
                at[key][where] = lists[key].index(item[key])
        if item.get("textKind") == "word":
            at["word"][where] = lists["word"].index(item["text"])
        for character in item.get("chars", []):
            rows, _ = patch_box(character, 0.4)
            column = min(SIDE - 1, int((character["x"] + character["w"] / 2) / PATCH))
            at["character"][rows, column] = CHARACTERS.index(character["char"])
        row, column = int((box["y"] + box["h"] / 2) / PATCH), int((box["x"] + box["w"] / 2) / PATCH)
        at["centre"][min(row, SIDE - 1), min(column, SIDE - 1)] = 1
    return labels
