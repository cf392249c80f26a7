"""Teaches SmolLM2 to see drawn scenes: a projector, a LoRA in all layers, the norms, and (slowly) the tower, which is the embedded model's.

  python train.py --data DIR [DIR ...] --checkpoint DIR --minutes 8

Made for one GPU of the class of an H100; it is right on a CPU too, in float32, and far too slow there.
"""

import argparse
import itertools
import math
import random
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import nn
from torch.utils.data import DataLoader, Subset

from language_model import Llama
from rows import IMAGE_TOKENS, SIDE, Rows, Scenes, patches_of  # puts demo-model/train on the path
from model import CONFIG, VisionTower, normalise  # noqa: E402

GROUNDED = (9, 13, 17)
HELD_OUT = 64
TOWER = Path(__file__).parents[2] / "train" / "checkpoint.safetensors"


class Model(nn.Module):
    def __init__(self, checkpoint: Path, rows: Rows, rank: int, precision: torch.dtype):
        super().__init__()
        self.tower = VisionTower(CONFIG)
        tensors = load_file(TOWER)
        self.tower.load_state_dict({n.removeprefix("vision_tower."): t.float() for n, t in tensors.items() if n.startswith("vision_tower.")})
        self.llama = Llama(checkpoint, rank, GROUNDED, precision)
        hidden = self.llama.embedding.shape[1]
        self.projector = nn.Sequential(nn.Linear(CONFIG["vision_hidden"], hidden), nn.GELU(), nn.Linear(hidden, hidden))
        self.register_buffer("before", torch.tensor(rows.prefix), persistent=False)

    def forward(self, batch: dict[str, torch.Tensor]):
        """-> normed states [B, T, H], grounding loss"""
        image = self.projector(self.tower(normalise(batch["pixels"])))
        start = torch.cat([self.llama.embedding[self.before].expand(len(image), -1, -1), image.float()], 1)
        states, looks = self.llama(start, batch["ids"], batch["texts"], batch["positions"])
        right = (batch["cells"][..., None] & batch["patches"][:, None]) != 0  # [B, T, 576]
        told = right.any(-1)
        losses = []
        for scores in looks:
            over = scores[..., len(self.before) :].transpose(1, 2)[told]  # [N, share, 576]
            losses.append((over.logsumexp(-1) - over.masked_fill(~right[told][:, None], -1e9).logsumexp(-1)).mean())
        return states, torch.stack(losses).mean()


class Vocabulary:
    """The tokens that training compares: all that the data uses, and the commonest others."""

    def __init__(self, embedding: torch.Tensor, scenes: Scenes, commonest: int = 8000):
        used = set(range(commonest))
        for i in range(min(2000, len(scenes))):
            used.update(scenes[i]["ids"].tolist())
        self.tokens = torch.tensor(sorted(used), device=embedding.device)
        self.place = torch.full((len(embedding),), -100, device=embedding.device)
        self.place[self.tokens] = torch.arange(len(self.tokens), device=embedding.device)
        self.head = embedding[self.tokens]

    def targets(self, ids: torch.Tensor) -> torch.Tensor:
        return torch.where(ids >= 0, self.place[ids.clamp_min(0)], -100)


def words_of(record: dict, embedding: torch.Tensor, encode) -> torch.Tensor:
    """[576, H]: for each patch the words that describe what is there, added up: what the projector starts from."""
    mean = lambda text: embedding[torch.tensor(encode(" " + text))].mean(0)
    target = torch.zeros(IMAGE_TOKENS, embedding.shape[1])
    rows, columns = np.divmod(np.arange(IMAGE_TOKENS), SIDE)
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


def begin(model: Model, rows: Rows, scenes: Scenes, device: str, count: int = 320, steps: int = 900) -> None:
    """A projector that says roughly what is in a patch in the words of the language model; seconds instead of an hour of steps."""
    features, targets = [], []
    embedding = model.llama.embedding.cpu()
    for i in range(min(count, len(scenes) - HELD_OUT)):
        record = scenes.record(i)
        keep = np.random.choice(IMAGE_TOKENS, 160, replace=False)
        items = np.concatenate(list(patches_of(record).values()))
        keep = np.unique(np.concatenate([keep, np.random.choice(items, 60)]))
        with torch.no_grad():
            features.append(model.tower(normalise(scenes.pixels(i)[None].to(device)))[0, keep])
        targets.append(words_of(record, embedding, rows.encode)[keep])
    features = torch.cat(features)
    targets = torch.cat(targets).to(features)
    scale = targets.std()
    adam = torch.optim.AdamW(model.projector.parameters(), 3e-3)
    for step in range(steps):
        for group in adam.param_groups:
            group["lr"] = 3e-3 * (1 - step / steps)
        some = torch.randint(len(features), (512,), device=device)
        loss = ((model.projector(features[some]) - targets[some]) / scale).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    print(f"projector from words: {loss.item():.3f} of the variance is not explained", flush=True)


def loss_of(model: Model, batch: dict[str, torch.Tensor], vocabulary: Vocabulary):
    """-> loss of each asked token, whether it would be said, their mask [B, T], grounding loss"""
    states, grounding = model(batch)
    asked = batch["targets"] >= 0
    logits = states[asked].to(model.llama.precision) @ vocabulary.head.to(model.llama.precision).T
    targets = vocabulary.targets(batch["targets"][asked])
    return F.cross_entropy(logits.float(), targets, reduction="none"), logits.argmax(-1) == targets, asked, grounding


@torch.no_grad()
@torch.compiler.set_stance("force_eager")
def evaluate(model: Model, batches, vocabulary: Vocabulary, device: str) -> str:
    """Teacher forced: share of short answers with every token right, and of description tokens right."""
    answers, described, losses = [], [], []
    for batch in batches:
        batch = {name: value.to(device) for name, value in batch.items()}
        loss, right, asked, _ = loss_of(model, batch, vocabulary)
        losses.append(loss.mean().item())
        short = batch["short"][asked] > 0
        described.append(right[~short].float().mean().item())
        which = (torch.arange(len(asked), device=device)[:, None] * 100 + batch["texts"])[asked][short]
        wrong = torch.zeros(int(which.max()) + 1, device=device).index_add_(0, which, (~right[short]).float())
        answers.append((wrong[which.unique()] == 0).float().mean().item())
    return f"loss {np.mean(losses):.4f}, short answers {np.mean(answers):.3f}, description tokens {np.mean(described):.3f}"


def save(model: Model, out: Path, steps: int, pictures: int) -> None:
    trained = {name: value.data.half().cpu().contiguous() for name, value in model.named_parameters()}
    save_file(trained, out, {"steps": str(steps), "pictures": str(pictures)})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "adapter.safetensors")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--batch", type=int, default=16, help="pictures, each with eighteen texts")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--grounding", type=float, default=0.1)
    parser.add_argument("--workers", type=int, default=14)
    parser.add_argument("--device", default="cuda")
    a = parser.parse_args()
    began = time.time()
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    on_gpu = a.device == "cuda"
    torch.set_float32_matmul_precision("high")
    rows = Rows(Tokenizer.from_file(str(a.checkpoint / "tokenizer.json")))
    scenes = Scenes(a.data, rows)
    model = Model(a.checkpoint, rows, a.rank, torch.bfloat16 if on_gpu else torch.float32).to(a.device)
    vocabulary = Vocabulary(model.llama.embedding, scenes)
    watched = list(DataLoader(Subset(scenes, range(len(scenes) - HELD_OUT, len(scenes))), 16))
    order = np.random.permutation(len(scenes) - HELD_OUT)
    loader = DataLoader(Subset(scenes, order), a.batch, shuffle=True, num_workers=a.workers, drop_last=True, pin_memory=on_gpu, persistent_workers=a.workers > 0)
    slow = [p for n, p in model.named_parameters() if n.startswith("tower.") or "norm" in n]
    fast = [p for n, p in model.named_parameters() if not (n.startswith("tower.") or "norm" in n)]
    print(f"{len(scenes)} scenes, {sum(p.numel() for p in slow + fast) / 1e6:.2f} million trained numbers, {len(vocabulary.tokens)} tokens compared", flush=True)
    begin(model, rows, scenes, a.device)
    if on_gpu:
        for layer in model.llama.layers:
            layer.compile()
    adam = torch.optim.AdamW([{"params": fast, "rate": a.rate, "weight_decay": 0.01}, {"params": slow, "rate": a.rate / 5, "weight_decay": 0.0}], a.rate, betas=(0.9, 0.98))
    step, running, started = 0, [], time.time()
    for batch in itertools.chain.from_iterable(itertools.repeat(loader)):
        progress = (time.time() - began) / (60 * a.minutes)
        if progress >= 1:
            break
        batch = {name: value.to(a.device, non_blocking=True) for name, value in batch.items()}
        losses, _, asked, grounding = loss_of(model, batch, vocabulary)
        # The short answers are a quarter of the tokens and nearly all of the questions.
        weights = 1 + batch["short"][asked]
        loss = (losses * weights).sum() / weights.sum()
        (loss + a.grounding * grounding).backward()
        norm = nn.utils.clip_grad_norm_(slow + fast, 1.0)
        scale = min(1, (step + 1) / 60) * (0.5 + 0.5 * math.cos(math.pi * progress))
        for group in adam.param_groups:
            group["lr"] = group["rate"] * scale
        if torch.isfinite(norm):
            adam.step()
        adam.zero_grad(set_to_none=True)
        step += 1
        running.append(torch.stack([loss.detach(), grounding.detach(), norm]))
        if step % 50 == 0 or step == 5:
            values = torch.stack(running).mean(0).tolist()
            speed = len(running) * a.batch / (time.time() - started)
            running, started = [], time.time()
            print(f"{(time.time() - began) / 60:.2f} min, step {step}, loss {values[0]:.4f}, grounding {values[1]:.3f}, norm {values[2]:.2f}, {speed:.1f} pictures/s", flush=True)
        if step % 1000 == 0:
            print("   held out:", evaluate(model, watched, vocabulary, a.device), flush=True)
            save(model, a.out, step, step * a.batch)
            started = time.time()
    print("   held out:", evaluate(model, watched, vocabulary, a.device), flush=True)
    save(model, a.out, step, step * a.batch)


if __name__ == "__main__":
    main()
