"""Teaches SmolLM2 to see drawn scenes: a projector, a LoRA in all layers, and the norms; the tower is the embedded model's, frozen.

  python train.py --data DIR --out DIR --checkpoint DIR --until 20:05 background-training

Goes on from --out/latest.pt; stops at the time of day given, and lets the learning rate fall towards it. Most steps show a
part of the 576 image tokens at their true positions, the last ones show all.
"""

import argparse
import datetime
import json
import random
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from tokenizers import Tokenizer
from torch import nn

from language_model import Llama
from rows import IMAGE_TOKENS, Rows, Scenes, batch_of, patches_of  # puts demo-model/train on the path
from model import CONFIG, VisionTower, normalise  # noqa: E402

GROUNDED = (9, 13, 17)


class Model(nn.Module):
    def __init__(self, a):
        super().__init__()
        self.tower = VisionTower(CONFIG)
        with safe_open(Path(__file__).parents[2] / "train" / "checkpoint.safetensors", "pt") as file:
            names = [n for n in file.keys() if n.startswith("vision_tower.")]
            self.tower.load_state_dict({n.removeprefix("vision_tower."): file.get_tensor(n).float() for n in names})
        self.tower.requires_grad_(False)
        self.llama = Llama(a.checkpoint, a.out / "calibration.safetensors", a.rank, GROUNDED)
        hidden = self.llama.embedding.shape[1]
        self.projector = nn.Sequential(nn.Linear(CONFIG["vision_hidden"], hidden), nn.GELU(), nn.Linear(hidden, hidden))

    def trained(self) -> dict[str, torch.Tensor]:
        return {n: p for n, p in self.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.tower(normalise(pixels.to(self.llama.embedding.device)))


def words_of(record: dict, embedding: torch.Tensor, encode) -> torch.Tensor:
    """[576, H]: for each patch the words that describe what is there, added up: what the projector starts from."""
    mean = lambda text: embedding[torch.tensor(encode(" " + text))].mean(0)
    target = torch.zeros(IMAGE_TOKENS, embedding.shape[1])
    rows, columns = np.divmod(np.arange(IMAGE_TOKENS), 24)
    for i, word in enumerate(["top", "middle", "bottom"]):
        target[rows // 8 == i] += 0.7 * mean(word)
    for i, word in enumerate(["left", "center", "right"]):
        target[columns // 8 == i] += 0.7 * mean(word)
    ground = target + 0.7 * (mean(record["background"]["color"]) + mean(record["background"]["style"]) + mean("background"))
    patches = patches_of(record)
    for item in record["items"]:
        if item["kind"] == "object":
            said = sum(mean(item[key]) for key in ("size", "color", "texture", "shape"))
        else:
            said = mean(item["text"]) * 2 + mean(item["color"]) + mean("text")
        ground[patches[item["cell"]]] = target[patches[item["cell"]]] + said
    return ground


def begin(model: Model, rows: Rows, scenes: Scenes, count: int = 320, steps: int = 900) -> None:
    """A projector that says roughly what is in a patch in the words of the language model; a minute instead of an hour of steps."""
    features, targets = [], []
    embedding = model.llama.embedding.cpu()
    for i in range(count):
        keep = np.random.choice(IMAGE_TOKENS, 160, replace=False)
        items = np.concatenate(list(patches_of(scenes.records[i]).values()))
        keep = np.unique(np.concatenate([keep, np.random.choice(items, 60)]))
        features.append(model.features(scenes.pixels([i]))[0, keep])
        targets.append(words_of(scenes.records[i], embedding, rows.encode)[keep])
    features = torch.cat(features)
    targets = torch.cat(targets).to(features.device)
    scale = targets.std()
    adam = torch.optim.AdamW(model.projector.parameters(), 3e-3)
    for step in range(steps):
        for group in adam.param_groups:
            group["lr"] = 3e-3 * (1 - step / steps)
        some = torch.randint(len(features), (512,), device=features.device)
        loss = ((model.projector(features[some]) - targets[some]) / scale).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        if step % 100 == 99:
            print(f"projector from words, step {step + 1}: {loss.item():.3f} of the variance is not explained", flush=True)


def forward(model: Model, rows: Rows, batch, features: torch.Tensor):
    """-> hidden states at the places that are asked, their targets, (group, b, s) of each, grounding loss"""
    shown = batch.shown
    image = model.projector(features.gather(1, shown[..., None].expand(-1, -1, features.shape[-1])))
    device = image.device
    start = model.llama.embedding[torch.tensor(rows.prefix, device=device)].expand(len(image), -1, -1)
    at = torch.cat([torch.arange(len(rows.prefix), device=device).expand(len(image), -1), len(rows.prefix) + shown], 1)
    hidden, looks = model.llama(torch.cat([start, image], 1), at, batch.groups, len(rows.prefix) + IMAGE_TOKENS)
    asked = [t >= 0 for t in batch.targets]
    states = torch.cat([h[m] for h, m in zip(hidden, asked, strict=True)])
    targets = torch.cat([t[m] for t, m in zip(batch.targets, asked, strict=True)])
    places = torch.cat([torch.cat([torch.full((int(m.sum()), 1), g, device=device), m.nonzero()], 1) for g, m in enumerate(asked)])
    losses = []
    for i, scores in enumerate(looks.scores):
        marks = batch.marks[i % len(batch.groups)]
        which = marks.any(-1)
        over = scores[which][..., len(rows.prefix) :]  # [N, heads, kept]
        right = over.masked_fill(~marks[which][:, None], -1e9)
        losses.append((over.logsumexp(-1) - right.logsumexp(-1)).mean(-1))
    return states, targets, places, torch.cat(losses).mean()


class Vocabulary:
    """The tokens that training compares: all that the data uses, and the commonest others."""

    def __init__(self, model: Model, rows: Rows, scenes: Scenes):
        used = set(range(3000)) | set(rows.end)
        for record in scenes.records[:1500]:
            for text in rows.texts(record):
                used.update(text.ids)
        self.tokens = torch.tensor(sorted(used))
        self.place = torch.zeros(len(model.llama.embedding), dtype=torch.long)
        self.place[self.tokens] = torch.arange(len(self.tokens))
        self.head = model.llama.output(self.tokens)


@torch.no_grad()
def evaluate(model, rows, scenes, indices, vocabulary, kept: int) -> str:
    """Teacher forced: share of answers with every token right, by kind, and of description tokens right."""
    score: dict[str, list[float]] = {}
    losses = []
    for i in indices:
        batch = batch_of(rows, [scenes.records[i]], kept).to(vocabulary.place.device)
        states, targets, places, _ = forward(model, rows, batch, model.features(scenes.pixels([i])))
        logits = model.llama.logits(states, vocabulary.head)
        wanted = vocabulary.place[targets]
        losses.append(F.cross_entropy(logits, wanted).item())
        right = logits.argmax(-1) == wanted
        keys = places[:, 0] * 100 + places[:, 2]
        for key in keys.unique():
            kind = batch.kinds[int(key) // 100][0][int(key) % 100]
            score.setdefault(kind, []).append(right[keys == key].float().mean().item())
    short = [v for k, values in score.items() if k != "description" for v in values]
    return f"loss {np.mean(losses):.4f} short {np.mean(short):.3f} " + " ".join(f"{k} {np.mean(v):.3f}" for k, v in sorted(score.items()))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--until", required=True, help="time of day, UTC")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--kept", type=int, default=96)
    parser.add_argument("--full-from", type=float, default=0.85, help="share of the time after which all image tokens are shown")
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--grounding", type=float, default=0.1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("name", nargs="?", help="to be found by in a list of processes")
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    random.seed(time.time())
    np.random.seed(int(time.time()))
    hour, minute = map(int, a.until.split(":"))
    now = datetime.datetime.now(datetime.timezone.utc)
    deadline = now.replace(hour=hour, minute=minute, second=0).timestamp()
    scenes = Scenes(*a.data)
    held = 24
    rows = Rows(Tokenizer.from_file(str(a.checkpoint / "tokenizer.json")))
    model = Model(a)
    vocabulary = Vocabulary(model, rows, scenes)
    model.to(a.device)
    vocabulary.place, vocabulary.head = vocabulary.place.to(a.device), vocabulary.head.to(a.device)
    parameters = model.trained()
    print(f"{len(scenes)} scenes, {sum(p.numel() for p in parameters.values()) / 1e6:.2f} million trained numbers, {len(vocabulary.tokens)} tokens compared", flush=True)
    matrices = [p for p in parameters.values() if p.ndim == 2]
    others = [p for p in parameters.values() if p.ndim != 2]
    adam = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}], a.rate, betas=(0.9, 0.98))
    file = a.out / "latest.pt"
    began, step, used = time.time(), 0, 0
    if file.exists():
        saved = torch.load(file, weights_only=True, map_location=a.device)
        model.load_state_dict(saved["trained"], strict=False)
        step, used = saved["step"], saved["used"]
        if "adam" in saved:  # else it was unpacked from the repository: the same weights, a new schedule
            adam.load_state_dict(saved["adam"])
            began = saved["began"]
        print(f"goes on from step {step}", flush=True)
    else:
        begin(model, rows, scenes)
        began = time.time()

    def save() -> None:
        state = {"trained": {n: p.data for n, p in parameters.items()}, "adam": adam.state_dict(), "began": began, "step": step, "used": used}
        torch.save(state, file.with_suffix(".tmp"))
        file.with_suffix(".tmp").rename(file)

    save()
    order = np.random.default_rng(0).permutation(len(scenes) - held)
    watched = range(len(scenes) - held, len(scenes))
    running, saved_at, looked_at = [], time.time(), time.time()
    started, marked = time.process_time(), time.time()
    while time.time() < deadline:
        progress = (time.time() - began) / (deadline - began)
        kept = IMAGE_TOKENS if progress > a.full_from else a.kept
        indices = [int(order[(used + k) % len(order)]) for k in range(a.batch)]
        used += a.batch
        batch = batch_of(rows, [scenes.records[i] for i in indices], kept).to(a.device)
        states, targets, _, grounding = forward(model, rows, batch, model.features(scenes.pixels(indices)))
        loss = F.cross_entropy(model.llama.logits(states, vocabulary.head), vocabulary.place[targets])
        (loss + a.grounding * grounding).backward()
        norm = nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        scale = min(1, (step + 1) / 40) * min(1, max(0.02, (1 - progress) / 0.4))
        for group in adam.param_groups:
            group["lr"] = a.rate * scale
        if torch.isfinite(norm):
            adam.step()
        adam.zero_grad(set_to_none=True)
        step += 1
        running.append((loss.item(), grounding.item(), norm.item()))
        if step % 10 == 0:
            values = np.mean(running[-10:], 0)
            busy, wall = time.process_time() - started, time.time() - marked
            started, marked = time.process_time(), time.time()
            print(f"{(time.time() - began) / 60:.1f} min, step {step}, loss {values[0]:.4f}, grounding {values[1]:.3f}, norm {values[2]:.2f}, "
                  f"{busy / 10 / a.batch:.2f} s of CPU and {wall / 10 / a.batch:.2f} s a picture", flush=True)
        if time.time() - saved_at > 180:
            save()
            saved_at = time.time()
        if time.time() - looked_at > 720 or step == 100:
            print("   held out:", evaluate(model, rows, scenes, watched, vocabulary, a.kept), flush=True)
            looked_at = time.time()
    save()
    print("   held out, all tokens:", evaluate(model, rows, scenes, watched, vocabulary, IMAGE_TOKENS), flush=True)


if __name__ == "__main__":
    main()
