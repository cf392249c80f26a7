"""Tells the decoder where to look: the attention of the token before an answer should lie on the items it is read from.

Finding an object by its looks ("where is the star?") is a detour for a decoder that can read a picture in order, and is learned
late from answers alone. Two heads of one layer are shown the way: at the last token of each question, their attention over the image
tokens should fall on the patches of the items that the question is about (a comparison's first item for one head, its second for the other;
the middles of the counted items for a count, so that large items do not outweigh small ones). The other heads and layers are left free.
"""

import numpy as np
import torch

from data import PATCH, SIDE, patch_box

LAYER, HEADS = 2, (0, 1)


def middle(box: dict) -> int:
    """The patch in the middle of a pixel box."""
    row, column = int((box["y"] + box["h"] / 2) / PATCH), int((box["x"] + box["w"] / 2) / PATCH)
    return min(row, SIDE - 1) * SIDE + min(column, SIDE - 1)


def targets(record: dict) -> torch.Tensor:
    """bool [questions, heads, 576]: the patches that each head should look at; none where a question is about nothing there."""
    grid = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    patches = {i["cell"]: grid[patch_box(i["bbox"], 0.4)].reshape(-1) for i in record["items"]}
    middles = {i["cell"]: middle(i["bbox"]) for i in record["items"]}
    found = np.zeros((len(record["questions"]), len(HEADS), SIDE * SIDE), bool)
    for q, question in enumerate(record["questions"]):
        cells = [c for c in question["cells"] if c in patches]
        for h in range(len(HEADS)):
            for cell in cells[h : h + 1] if question["kind"] == "relation" else cells:
                found[q, h, middles[cell] if question["kind"] == "count" else patches[cell]] = True
    return torch.from_numpy(found)


def grounding_loss(attention, asked: torch.Tensor, looked_at: torch.Tensor, image: slice) -> torch.Tensor:
    """attention: the layer, after its forward pass; asked [B, Q]: places of the questions' last tokens; looked_at bool
    [B, Q, heads, image tokens shown] -> mean of -log(share of the attention over image tokens that lies on the patches)."""
    heads = list(HEADS)
    queries, keys = attention.queries[:, heads], attention.keys[:, heads, image]
    rows = queries.gather(2, asked[:, None, :, None].expand(-1, len(heads), -1, queries.shape[-1]))
    scores = rows @ keys.transpose(2, 3) / queries.shape[-1] ** 0.5  # (B, heads, Q, shown)
    wanted = looked_at.transpose(1, 2)
    on = scores.masked_fill(~wanted, -1e9).logsumexp(-1)
    return (scores.logsumexp(-1) - on)[wanted.any(-1)].mean()
