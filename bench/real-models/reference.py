"""What PyTorch says after a few prompts, for check.ts:  python reference.py CHECKPOINT  writes CHECKPOINT/reference.json

Prompts go through the checkpoint's own tokenizer.json and chat template; the text is greedy. `gap` is the smallest distance of
the two largest logits on the way: where it is below the rounding of another runtime, texts may part.
"""

import json
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM
from transformers.utils.chat_template_utils import render_jinja_template

NEW = 48
QUESTIONS = [
    "What is the capital of France?",
    "Explain in three sentences why the sky is blue.",
    "Write a short story about a lighthouse keeper who finds a letter in a bottle.",
    "Translate to French: The train leaves at 17:45 from platform 3.",
]

torch.set_num_threads(1)  # two threads that wait for each other are slower than one where the machine is shared
checkpoint = Path(sys.argv[1])
model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32, attn_implementation="eager").eval()
tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
settings = json.loads((checkpoint / "tokenizer_config.json").read_text())
cases = []
with torch.no_grad():
    for question in QUESTIONS:
        rendered, _ = render_jinja_template(
            [[{"role": "user", "content": question}]], chat_template=settings["chat_template"], add_generation_prompt=True,
            bos_token=settings["bos_token"], eos_token=settings["eos_token"],
        )
        [prompt] = rendered
        ids = tokenizer.encode(prompt, add_special_tokens=False).ids
        out = model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), max_new_tokens=NEW,
                             min_new_tokens=NEW, do_sample=False, eos_token_id=None)[0].tolist()
        top = model(torch.tensor([out])).logits[0, len(ids) - 1 : -1].sort(-1).values[:, -2:]
        case = dict(question=question, prompt=prompt, ids=ids, new=out[len(ids):], text=tokenizer.decode(out[len(ids):]),
                    gap=(top[:, 1] - top[:, 0]).min().item(), last=[round(x, 4) for x in model(torch.tensor([ids])).logits[0, -1, :64].tolist()])
        cases.append(case)
        print(f"{len(ids)} tokens, gap {case['gap']:.4f}: {case['text']!r}")
(checkpoint / "reference.json").write_text(json.dumps(cases))
