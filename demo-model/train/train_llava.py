"""Stage 2: projector and decoder on the frozen tower's features; stage 3: everything together.

A training row is one picture and all its instructions: the description and a dozen short questions share the image tokens, see
only those and themselves (block mask, positions restart after the image), so that each is answered as if asked alone.
In stage 2 most of the time only a quarter of the 576 image tokens is shown, at their original positions: four times as
many pictures an hour, and the last part of the time shows all of them.
  python train_llava.py --data DIR --out DIR --tokenizer DIR --minutes 45          (stage 2; vision.pt must lie in --out)
  python train_llava.py --data DIR --out DIR --tokenizer DIR --minutes 30 --joint  (stage 3)
"""

import argparse
import random
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

from data import Scenes, dense_labels, head_sizes
from grounding import Looks, grounding_loss, middle, name_ends
from model import CONFIG, Llava, normalise
from optimiser import Optimisers
from runs import save_whole
from train_vision import DenseHeads, dense_loss

DESCRIPTION_PROMPTS = [
    "Describe the image in detail.",
    "Describe this picture in detail.",
    "What do you see in this image? Describe it in detail.",
    "Give a detailed description of the picture.",
    "Tell me everything you see in the picture.",
    "Write a detailed description of this image.",
]
IMAGE_TOKENS = 576


def choose_patches(record: dict, kept: int) -> np.ndarray:
    """`kept` of the 576 patches, ascending: the middle of every item, so that none goes unseen, and random others."""
    middles = [middle(item["bbox"]) for item in record["items"]]
    others = np.setdiff1d(np.arange(IMAGE_TOKENS), middles)
    np.random.shuffle(others)
    return np.sort(np.concatenate([np.unique(middles), others])[:kept])


class Rows:
    """Token rows of scenes; see the module's docstring."""

    def __init__(self, tokenizer: Tokenizer):
        encode = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
        self.encode, self.end = encode, tokenizer.token_to_id("</s>")
        self.prefix = [tokenizer.token_to_id("<s>")] + encode("USER: ")
        self.tokenizer = tokenizer
        self.cache: dict[int, list] = {}
        self.sites: dict[int, list] = {}

    def sites_of(self, question: dict, prompt: str):
        """[(kind of site, place in the prompt, cells)]: where the question's tokens should look, see grounding.py"""
        encoded, cells = self.tokenizer.encode(prompt, add_special_tokens=False), question["cells"]
        if question["kind"] == "relation":
            start = [at for at, _ in encoded.offsets]
            ends = [sum(s < 1 + end for s in start) - 1 for end in name_ends(question["question"])]
            return [("name", place, [cell]) for place, cell in zip(ends, cells, strict=True)]
        return [("count" if question["kind"] == "count" else "answer", len(encoded.ids) - 1, cells)]

    def turns(self, index: int, record: dict):
        """[(kind, prompt ids, answer ids)]; the description's prompt is drawn anew each time."""
        if index not in self.cache:
            pairs = [(q["kind"], f"\n{q['question']} ASSISTANT:", q["answer"]) for q in record["questions"]]
            pairs.append(("description", None, record["description"]))
            self.cache[index] = [
                (kind, prompt and self.encode(prompt), self.encode(" " + answer) + [self.end]) for kind, prompt, answer in pairs
            ]
            self.sites[index] = [self.sites_of(q, prompt) for q, (_, prompt, _) in zip(record["questions"], pairs)]
        fresh = self.encode(f"\n{random.choice(DESCRIPTION_PROMPTS)} ASSISTANT:")
        return [(kind, prompt or fresh, answer) for kind, prompt, answer in self.cache[index]]

    def batch(self, scenes: Scenes, indices, kept: int):
        """Tensors of a batch with `kept` image tokens a row; segment 0 is the shared prefix, -1 is padding."""
        rows, sites = [], {"answer": [], "count": [], "name": []}
        for i in indices:
            shown = choose_patches(scenes.records[i], kept)
            start = len(self.prefix)
            ids = list(self.prefix) + [0] * kept
            positions = list(range(start)) + (start + shown).tolist()
            segments, targets, kinds = [0] * len(ids), [-100] * len(ids), []
            looks = Looks(scenes.records[i])
            for number, (kind, prompt, answer) in enumerate(self.turns(i, scenes.records[i]), 1):
                turn = prompt + answer
                for site, place, cells in self.sites[i][number - 1] if kind != "description" else []:
                    marked = looks.mark(cells, middles=site == "count")[shown]
                    if site == "count" or marked.any():
                        sites[site].append(((len(rows), len(ids) + place), marked))
                ids += turn
                positions += range(start + IMAGE_TOKENS, start + IMAGE_TOKENS + len(turn))
                segments += [number] * len(turn)
                # the token at place k is asked for the one at k + 1
                targets += [-100] * (len(prompt) - 1) + answer + [-100]
                kinds.append(kind)
            rows.append((ids, positions, segments, targets, shown, kinds))
        width = max(len(r[0]) for r in rows)
        pad = lambda k, value: torch.tensor([r[k] + [value] * (width - len(r[k])) for r in rows])
        segments = pad(2, -1)
        same = segments[:, :, None] == segments[:, None, :]
        mask = (same | (segments[:, None, :] == 0)).tril()
        shown = torch.from_numpy(np.stack([r[4] for r in rows]))
        return pad(0, 0), pad(1, 0), segments, pad(3, -100), mask[:, None], shown, [r[5] for r in rows], {
            kind: (torch.tensor([place for place, _ in found]), torch.from_numpy(np.stack([marked for _, marked in found])))
            for kind, found in sites.items()
            if found
        }


def forward(model: Llava, rows: Rows, batch, features: torch.Tensor):
    """features [B, 576, V] -> (logits at the places that are asked, their targets, flat places)"""
    ids, positions, _, targets, mask, shown, *_ = batch
    image = model.multi_modal_projector(features.gather(1, shown[..., None].expand(-1, -1, features.shape[-1])))
    start = len(rows.prefix)
    text = model.language_model.model.embed_tokens(ids)
    x = torch.cat([text[:, :start], image, text[:, start + shown.shape[1] :]], dim=1)
    hidden = model.language_model(x, positions, mask)
    asked = targets.flatten() >= 0
    return model.language_model.lm_head(hidden.flatten(0, 1)[asked]), targets.flatten()[asked], asked.nonzero()[:, 0]


@torch.no_grad()
def evaluate(model, rows, scenes, indices, tower_features, device) -> str:
    """Share of short answers with every token right, by kind, and of description tokens right (teacher forced)."""
    score: dict[str, list[float]] = {}
    for at in range(0, len(indices), 8):
        batch = to_device(rows.batch(scenes, indices[at : at + 8], IMAGE_TOKENS), device)
        logits, targets, places = forward(model, rows, batch, tower_features(indices[at : at + 8]))
        right = logits.argmax(-1) == targets
        width = batch[0].shape[1]
        keys = (places // width) * 100 + batch[2].flatten()[places]
        for key in keys.unique():
            kind = batch[6][int(key) // 100][int(key) % 100 - 1]
            value = right[keys == key].float()
            score.setdefault(kind, []).append(value.mean().item() if kind == "description" else value.min().item())
    short = [v for k, values in score.items() if k != "description" for v in values]
    return f"short {np.mean(short):.3f} " + " ".join(f"{k} {np.mean(v):.3f}" for k, v in sorted(score.items()))


def to_device(batch, device):
    return tuple(t.to(device) if isinstance(t, torch.Tensor) else t for t in batch)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--joint", action="store_true")
    parser.add_argument("--kept", type=int, default=144)
    parser.add_argument("--full-from", type=float, default=0.8, help="share of the time after which all image tokens are shown")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--muon", type=float, default=0.02)
    parser.add_argument("--adam", type=float, default=2e-3)
    parser.add_argument("--tower", type=float, default=0.3, help="learning rate of the tower in stage 3, as a share of the decoder's")
    parser.add_argument("--grounding", type=float, default=0.2, help="weight of the grounding loss")
    parser.add_argument("--device", default="cpu")
    a = parser.parse_args()
    torch.manual_seed(0)
    random.seed(int(time.time()))
    scenes = Scenes(*a.data)
    held = min(48, len(scenes) // 10)
    watched = range(len(scenes) - held, len(scenes))
    tokenizer = Tokenizer.from_file(str(Path(a.tokenizer) / "tokenizer.json"))
    rows, out = Rows(tokenizer), Path(a.out)
    file = out / ("llava.pt" if a.joint else "decoder.pt")

    model = Llava(tokenizer.get_vocab_size()).to(a.device)
    vision = torch.load(out / "vision.pt", weights_only=False, map_location=a.device)
    model.vision_tower.load_state_dict(vision["tower"])
    heads = DenseHeads(head_sizes(vision["lists"]), CONFIG["vision_hidden"]).to(a.device)
    heads.load_state_dict(vision["heads"])
    if a.joint and not file.exists():
        model.load_state_dict(torch.load(out / "decoder.pt", weights_only=False, map_location=a.device)["model"])
    optimisers = [Optimisers([model.multi_modal_projector, model.language_model], a.muon, a.adam)]
    if a.joint:  # slower, so that what the tower has learned lasts while the decoder learns to use it
        optimisers.append(Optimisers([model.vision_tower, heads], a.tower * a.muon, a.tower * a.adam))
    spent, step = 0.0, 0
    if file.exists():
        saved = torch.load(file, weights_only=False, map_location=a.device)
        model.load_state_dict(saved["model"])
        heads.load_state_dict(saved.get("heads", vision["heads"]))
        if "optimisers" in saved:  # else it was unpacked from the repository: the same weights, a new schedule
            for optimiser, state in zip(optimisers, saved["optimisers"], strict=True):
                optimiser.load_state_dict(state)
            spent, step = saved["spent"], saved["step"]

    frozen: dict[int, torch.Tensor] = {}

    def grounding(batch) -> torch.Tensor:
        start = len(rows.prefix)
        sites = {kind: (places.to(a.device), marked.to(a.device)) for kind, (places, marked) in batch[7].items()}
        return grounding_loss(model.language_model.model.layers, sites, batch[4], slice(start, start + batch[5].shape[1]))

    def features(indices) -> torch.Tensor:
        if a.joint:
            return model.vision_tower(normalise(scenes.pixels(indices).to(a.device)))
        missing = [i for i in indices if i not in frozen]
        if missing:
            with torch.no_grad():
                for i, f in zip(missing, model.vision_tower(normalise(scenes.pixels(missing).to(a.device))).half()):
                    frozen[i] = f.clone()
        return torch.stack([frozen[i] for i in indices]).float()

    def save() -> None:
        state = {"model": model.state_dict(), "heads": heads.state_dict(), "spent": spent, "step": step}
        save_whole({**state, "optimisers": [o.state_dict() for o in optimisers]}, file)

    started, running, grounded = time.time(), [], []
    order = np.random.default_rng(int(started)).permutation(len(scenes) - held)
    while spent < a.minutes * 60:
        progress = spent / (a.minutes * 60)
        at = step * a.batch % (len(order) - a.batch)
        indices = order[at : at + a.batch].tolist()
        batch = to_device(rows.batch(scenes, indices, IMAGE_TOKENS if progress > a.full_from else a.kept), a.device)
        seen = features(indices)
        logits, targets, _ = forward(model, rows, batch, seen)
        loss = F.cross_entropy(logits, targets)
        running.append(loss.item())
        looking = grounding(batch)
        grounded.append(looking.item())
        loss = loss + a.grounding * looking
        if a.joint:
            labels = torch.from_numpy(np.stack([dense_labels(scenes.records[i], vision["lists"]) for i in indices])).flatten(2)
            loss = loss + 0.05 * dense_loss(heads(seen), labels.to(a.device))[0]
        loss.backward()
        for optimiser in optimisers:
            optimiser.step(progress)
        step += 1
        spent += time.time() - started
        started = time.time()
        if step % 50 == 0:
            rate = 50 * a.batch / max(1e-9, spent - getattr(main, "marked", 0.0))
            main.marked = spent
            print(f"{spent / 60:.1f} min, step {step}, loss {np.mean(running[-50:]):.4f}, grounding {np.mean(grounded[-50:]):.3f}, {rate:.1f} pictures/s", flush=True)
        if step % 500 == 0:
            print("   held out:", evaluate(model, rows, scenes, list(watched), features, a.device), flush=True)
            save()
    print("   held out:", evaluate(model, rows, scenes, list(watched), features, a.device), flush=True)
    save()


if __name__ == "__main__":
    main()
