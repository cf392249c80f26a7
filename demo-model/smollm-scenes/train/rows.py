"""Scenes and what is said of them, as tensors."""

import random
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from language_model import Group

sys.path.insert(0, str(Path(__file__).parents[2] / "train"))
from data import PATCH, SIDE, Scenes, patch_box  # noqa: E402, F401

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
IMAGE_TOKENS = SIDE * SIDE


@dataclass
class Text:
    """ids [L]; answers: whether the token after is asked for [L]; looks: the cells that a token's successor is read from [L]"""

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
        ids, asked, cells = list(prompt), [False] * (len(prompt) - 1), [()] * (len(prompt) - 1)
        for words, of in pieces:
            part = self.encode(words)
            ids += part
            asked += [True] * len(part)
            cells += [of] * len(part)
        ids += self.end
        return Text(kind, ids, asked + [True, False], cells + [(), ()])

    def texts(self, record: dict) -> list[Text]:
        rows = [self.text(q["kind"], q["question"], [(q["answer"], tuple(q["cells"]))]) for q in record["questions"]]
        for pieces in record["descriptions"]:
            parts = [(p["text"], (p["cell"],) if "cell" in p else ()) for p in pieces]
            rows.append(self.text("description", random.choice(PROMPTS), parts))
        return rows


def patches_of(record: dict) -> dict[int, np.ndarray]:
    grid = np.arange(IMAGE_TOKENS).reshape(SIDE, SIDE)
    return {item["cell"]: grid[patch_box(item["bbox"], 0.4)].reshape(-1) for item in record["items"]}


def choose(record: dict, kept: int, each: int = 3) -> np.ndarray:
    """`kept` of the 576 patches, ascending: some of every item, and random others."""
    some = [np.random.choice(p, min(each, len(p)), replace=False) for p in patches_of(record).values()]
    some = np.unique(np.concatenate(some))
    others = np.setdiff1d(np.arange(IMAGE_TOKENS), some)
    np.random.shuffle(others)
    return np.sort(np.concatenate([some, others])[:kept])


@dataclass
class Batch:
    shown: torch.Tensor  # [B, kept]
    groups: list[Group]
    targets: list[torch.Tensor]  # [B, S, L], -100 where nothing is asked
    marks: list[torch.Tensor]  # bool [B, S, L, kept]: which of the shown patches a token should look at
    kinds: list[list[list[str]]]  # [groups][B][S]

    def to(self, device: str) -> "Batch":
        groups = [Group(g.ids.to(device)) for g in self.groups]
        move = lambda tensors: [t.to(device) for t in tensors]
        return Batch(self.shown.to(device), groups, move(self.targets), move(self.marks), self.kinds)


def batch_of(rows: Rows, records: list[dict], kept: int, buckets: int = 3) -> Batch:
    shown = [np.arange(IMAGE_TOKENS) if kept == IMAGE_TOKENS else choose(r, kept) for r in records]
    texts = [sorted(rows.texts(r), key=lambda t: len(t.ids)) for r in records]
    count = len(texts[0])
    short = count - 2
    edges = [0] + [round(short * (i + 1) / buckets) for i in range(buckets)] + [count]
    batch = Batch(torch.from_numpy(np.stack(shown)), [], [], [], [])
    marked = []
    for record, tokens in zip(records, shown, strict=True):
        of = {cell: np.isin(tokens, patches) for cell, patches in patches_of(record).items()}
        marked.append(of)
    for first, last in zip(edges, edges[1:]):
        part = [t[first:last] for t in texts]
        width = max(len(t.ids) for ts in part for t in ts)
        ids = np.zeros((len(part), last - first, width), np.int64)
        targets = np.full(ids.shape, -100, np.int64)
        marks = np.zeros((*ids.shape, kept), bool)
        for b, ts in enumerate(part):
            for s, t in enumerate(ts):
                n = len(t.ids)
                ids[b, s, :n] = t.ids
                for place in np.flatnonzero(t.asked):
                    targets[b, s, place] = t.ids[place + 1]
                    for cell in t.cells[place]:
                        if cell in marked[b]:
                            marks[b, s, place] |= marked[b][cell]
        batch.groups.append(Group(torch.from_numpy(ids)))
        batch.targets.append(torch.from_numpy(targets))
        batch.marks.append(torch.from_numpy(marks))
        batch.kinds.append([[t.kind for t in ts] for ts in part])
    return batch
