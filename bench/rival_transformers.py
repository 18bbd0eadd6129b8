"""Plain transformers with torch on the weights of a GGUF file, for bench/compare.py (see
rival_worker.py)."""

import pathlib

import rival_worker

import torch
import transformers

MODEL, THREADS, SEQUENCES, TOKENS, SETTINGS = rival_worker.arguments()

torch.set_num_threads(THREADS)
path = pathlib.Path(MODEL)
model = transformers.AutoModelForCausalLM.from_pretrained(
    path.parent, gguf_file=path.name, dtype=getattr(torch, SETTINGS["dtype"])).eval()


def generate(prompts, n):
    ids = torch.tensor(prompts)
    with torch.inference_mode():
        out = model.generate(ids, attention_mask=torch.ones_like(ids), min_new_tokens=n,
                             max_new_tokens=n, do_sample=False)
    return out.numel() - ids.numel()


rival_worker.serve(f"{transformers.__version__} with torch {torch.__version__}", generate)
