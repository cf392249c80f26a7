"""Tells the decoder where to look: attention that answers need is asked for by name.

Finding an object by its looks ("where is the star?") is a detour for a decoder that can read a picture in order, and is learned
late from answers alone. Two heads of two layers are shown the way, the others are left free:

- At a question's last token, the attention over the image falls on the items that the answer is read from.
- For a count it is spread evenly over the middles of the counted items and the first token of the row, whose share
  then says how many there are.
- A comparison names two objects. At the end of either name, one layer earlier, the attention falls on the object named; the last
  token has only to compare what lies there.
"""

import re

import numpy as np
import torch

from data import PATCH, SIDE, patch_box

NAME_LAYER, ANSWER_LAYER = 1, 2
HEADS = [0, 1]
COMPARISON = re.compile(r"Is (?P<first>the .+?) (?:(?:to the )?(?:left|right) of|above|below|higher than|lower than) (?P<second>the .+)\?")


def middle(box: dict) -> int:
    """The patch in the middle of a pixel box."""
    row, column = int((box["y"] + box["h"] / 2) / PATCH), int((box["x"] + box["w"] / 2) / PATCH)
    return min(row, SIDE - 1) * SIDE + min(column, SIDE - 1)


def name_ends(question: str) -> list[int]:
    """Where the names of the two objects that a question compares end."""
    found = COMPARISON.fullmatch(question)
    return [found.end("first"), found.end("second")]


class Looks:
    """Which patches to look at from where, of one picture's questions."""

    def __init__(self, record: dict):
        grid = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
        self.patches = {i["cell"]: grid[patch_box(i["bbox"], 0.4)].reshape(-1) for i in record["items"]}
        self.middles = {i["cell"]: [middle(i["bbox"])] for i in record["items"]}

    def mark(self, cells, middles=False) -> np.ndarray:
        """bool [576]"""
        marked = np.zeros(SIDE * SIDE, bool)
        for cell in cells:
            if cell in self.patches:  # "what is in ...?" may ask about an empty cell
                marked[(self.middles if middles else self.patches)[cell]] = True
        return marked


def scores_of(attention, places: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Scores of the rows at places [N, 2] (picture, token) in the grounded heads, over all keys -> [N, heads, T]"""
    queries = attention.queries[places[:, 0][:, None], torch.tensor(HEADS), places[:, 1][:, None]]
    keys = attention.keys[:, HEADS][places[:, 0]]
    scores = (keys @ queries[..., None])[..., 0] / queries.shape[-1] ** 0.5
    return scores.masked_fill(~mask[places[:, 0], 0, places[:, 1]][:, None], -1e9)


def looking_loss(scores: torch.Tensor, marked: torch.Tensor, image: slice) -> torch.Tensor:
    """-log of the share of the attention over the image [N, heads, T] that falls on the marked tokens, bool [N, shown]"""
    over = scores[..., image]
    return over.logsumexp(-1).mean(-1) - over.masked_fill(~marked[:, None], -1e9).logsumexp(-1).mean(-1)


def counting_loss(scores: torch.Tensor, marked: torch.Tensor, image: slice) -> torch.Tensor:
    """Cross entropy between the attention over everything and an even share for the first token and every marked one."""
    wanted = torch.zeros_like(scores[:, 0])
    wanted[:, image], wanted[:, 0] = marked.float(), 1
    wanted = wanted / wanted.sum(-1, keepdim=True)
    surplus = torch.log(wanted.clamp_min(1e-9)) - scores.log_softmax(-1).mean(1)
    return (wanted * surplus).sum(-1)


def grounding_loss(layers, sites: dict, mask: torch.Tensor, image: slice) -> torch.Tensor:
    """sites: per kind ("answer", "count", "name") the places [N, 2] and the marks [N, shown]"""
    losses = []
    for kind, (places, marked) in sites.items():
        attention = layers[NAME_LAYER if kind == "name" else ANSWER_LAYER].self_attn
        loss = counting_loss if kind == "count" else looking_loss
        losses.append(loss(scores_of(attention, places, mask), marked, image))
    return torch.cat(losses).mean()
