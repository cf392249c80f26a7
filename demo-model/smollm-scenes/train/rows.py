"""Scenes and what is said of them, as tensors."""

import random
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

sys.path.insert(0, str(Path(__file__).parents[2] / "train"))
from data import SIDE, Scenes as Files, patch_box  # noqa: E402

IMAGE_TOKENS = SIDE * SIDE
SPOKEN = 701  # tokens of all that is said of a picture; with the picture 1,280
PROMPTS = [
    "Describe the image in detail.",
    "Describe this picture in detail.",
    "What do you see in this image? Describe it in detail.",
    "Give a detailed description of the picture.",
    "Tell me everything you see in the picture.",
    "Write a detailed description of this image.",
    "Please describe what is shown here.",
    "What is in the image?",
]


@dataclass
class Text:
    """ids [L]; asked [L]: whether the token after is asked for; cells [L]: bits of the cells that the token after is read from"""

    kind: str
    ids: list
    asked: list
    cells: list


class Rows:
    def __init__(self, tokenizer: Tokenizer):
        self.encode = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
        self.prefix = self.encode("<|im_start|>user\n")
        self.middle = self.encode("<|im_end|>\n<|im_start|>assistant\n")
        self.end = self.encode("<|im_end|>")

    def text(self, kind: str, question: str, pieces: list) -> Text:
        """pieces: [(text, cells)]"""
        prompt = self.encode("\n" + question) + self.middle
        ids, asked, cells = list(prompt), [False] * (len(prompt) - 1), [0] * (len(prompt) - 1)
        for words, of in pieces:
            part = self.encode(words)
            ids += part
            asked += [True] * len(part)
            cells += [sum(1 << cell for cell in set(of))] * len(part)
        ids += self.end
        return Text(kind, ids, asked + [True, False], cells + [0, 0])

    def texts(self, record: dict) -> list[Text]:
        rows = [self.text(q["kind"], q["question"], [(q["answer"], q["cells"])]) for q in record["questions"]]
        for pieces in record["descriptions"]:
            parts = [(p["text"], [p["cell"]] if "cell" in p else []) for p in pieces]
            rows.append(self.text("description", random.choice(PROMPTS), parts))
        return rows


def patches_of(record: dict) -> dict[int, np.ndarray]:
    """By cell, the patches of its item."""
    grid = np.arange(IMAGE_TOKENS).reshape(SIDE, SIDE)
    return {item["cell"]: grid[patch_box(item["bbox"], 0.4)].reshape(-1) for item in record["items"]}


class Scenes(torch.utils.data.Dataset):
    """Pictures of one or more folders, each with all that is said of it in one row of SPOKEN tokens:
    pixels uint8 [336, 336, 3]; ids, texts (which text, 0 is padding), positions, targets (-100 where nothing is asked), cells [SPOKEN]; patches [576], bits of cells."""

    def __init__(self, folders: list[str], rows: Rows):
        self.rows, self.files = rows, Files(*folders)

    def __len__(self) -> int:
        return len(self.files)

    def record(self, index: int) -> dict:
        return self.files.records[index]

    def pixels(self, index: int) -> torch.Tensor:
        return self.files.pixels([index])[0]

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        record = self.record(index)
        texts = self.rows.texts(record)
        random.shuffle(texts)
        row = {name: np.zeros(SPOKEN, np.int64) for name in ("ids", "texts", "positions", "cells", "short")}
        row["targets"] = np.full(SPOKEN, -100, np.int64)
        at = 0
        for which, text in enumerate(texts):
            end = at + len(text.ids)
            if end > SPOKEN:
                continue
            row["ids"][at:end] = text.ids
            row["texts"][at:end] = which + 1
            row["positions"][at:end] = len(self.rows.prefix) + IMAGE_TOKENS + np.arange(len(text.ids))
            row["cells"][at:end] = text.cells
            row["short"][at:end] = text.kind != "description"
            asked = at + np.flatnonzero(text.asked)
            row["targets"][asked] = row["ids"][asked + 1]
            at = end
        patches = np.zeros(IMAGE_TOKENS, np.int64)
        for cell, covered in patches_of(record).items():
            patches[covered] |= 1 << cell
        return {"pixels": self.pixels(index), "patches": torch.from_numpy(patches), **{n: torch.from_numpy(v) for n, v in row.items()}}
