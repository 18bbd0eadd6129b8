#!/usr/bin/env python3
"""Makes tests/golden/arch/nemotron: a small model of random weights and what the reference computes from it.

usage: make_arch.py OUT_DIR     needs: pip install torch==2.11.0 transformers==4.57.6 gguf==0.19.0

The reference is transformers in float32, "eager" attention, without a KV cache. Every weight is rounded to
a value that F32, BF16 and F16 all hold, so that the file's F16 matrices are the weights of the reference.
Norms scale by 1 + weight in the reference; the file holds the sum, which is rounded instead.
golden.json: for prompts of 1, 17 and 150 ids the logits of the last position, the five best of every
position, and 32 greedy ids with the distance to the runner-up.
"""
import base64
import json
import pathlib
import sys

import gguf
import numpy as np
import torch
import transformers

N_VOCAB, N_NEW, SEED, LOGITS_STD = 512, 32, 2201, 2.0
CONFIG = dict(vocab_size=N_VOCAB, max_position_embeddings=512, hidden_size=64, num_hidden_layers=3,
              num_attention_heads=4, num_key_value_heads=2, intermediate_size=160, hidden_act="relu2",
              partial_rotary_factor=0.5, norm_eps=1e-5, attention_bias=True, mlp_bias=True,
              tie_word_embeddings=False)


def rounded(t):
    t = t.to(torch.bfloat16).to(torch.float32)
    return torch.where(t.abs() < 2.0 ** -14, torch.zeros_like(t), t)


def scale_of(name, p):
    """The deviation of a parameter's weights: each product keeps the size of its input, roughly."""
    if name.endswith("bias"):
        return 0.3 if "_proj" in name and "self_attn.o" not in name and "mlp" not in name else 0.1
    if "norm" in name:
        return 0.2
    if "embed" in name:
        return 0.1 if CONFIG["tie_word_embeddings"] else 0.5
    gain = 2.0 if "lm_head" in name else 1.4 if "q_proj" in name or "k_proj" in name else 1.0
    return gain / p.shape[-1] ** 0.5


def is_norm(name):
    return name.endswith("norm.weight")


@torch.no_grad()
def make_model():
    torch.manual_seed(SEED)
    model = transformers.NemotronForCausalLM._from_config(transformers.NemotronConfig(**CONFIG),
                                                          attn_implementation="eager").float().eval()
    g = torch.Generator().manual_seed(SEED)
    for name, p in model.named_parameters():
        w = torch.randn(p.shape, generator=g) * scale_of(name, p)
        p.copy_(rounded(1 + w) - 1 if is_norm(name) else rounded(w))
    ids = torch.randint(0, N_VOCAB, (1, 64), generator=g)
    norm = model.model.norm  # brings the logits to LOGITS_STD
    for _ in range(4):
        r = LOGITS_STD / model(ids, use_cache=False).logits.std().item()
        norm.weight.copy_(rounded((1 + norm.weight) * r) - 1)
        norm.bias.copy_(rounded(norm.bias * r))
    return model


@torch.no_grad()
def logits_of(model, ids):
    return model(torch.tensor([ids]), use_cache=False).logits[0]


def make_case(model, n):
    """Of some prompts the first whose greedy ids are many and never near a tie."""
    best = None
    for attempt in range(8):
        g = torch.Generator().manual_seed(SEED * 1000 + n * 10 + attempt)
        prompt = torch.randint(0, N_VOCAB, (n,), generator=g).tolist()
        greedy, gap = [], []
        for _ in range(N_NEW):
            two = logits_of(model, prompt + greedy)[-1].topk(2)
            greedy.append(int(two.indices[0]))
            gap.append(float(two.values[0] - two.values[1]))
        merit = len(set(greedy)) + (100 if min(gap) > 0.02 else 0)
        if best is None or merit > best[0]:
            best = (merit, prompt, greedy, gap)
        if merit > 110:
            break
    _, prompt, greedy, gap = best
    rows = logits_of(model, prompt)
    five = rows.topk(5)
    last = base64.b64encode(rows[-1].numpy().astype("<f4").tobytes()).decode()
    return {"id": f"p{n}", "prompt": prompt, "logits_std": float(rows[-1].std()), "last_logits_b64": last,
            "top5_ids": five.indices.tolist(),
            "top5_logits": [[round(x, 5) for x in row] for row in five.values.tolist()],
            "greedy": greedy, "greedy_gap": [round(x, 5) for x in gap]}


def add_vocabulary(w):
    """SentencePiece's form, as these models have it: specials, bytes, then pieces that are never asked for."""
    pieces = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)]
    types = [gguf.TokenType.UNKNOWN] + [gguf.TokenType.CONTROL] * 2 + [gguf.TokenType.BYTE] * 256
    pieces += [f"\u2581{i}" for i in range(N_VOCAB - len(pieces))]
    types += [gguf.TokenType.NORMAL] * (N_VOCAB - len(types))
    w.add_tokenizer_model("llama")
    w.add_tokenizer_pre("default")
    w.add_token_list(pieces)
    w.add_token_scores([-float(i) for i in range(N_VOCAB)])
    w.add_token_types(types)
    w.add_unk_token_id(0)
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)


def write_gguf(model, path):
    c = model.config
    w = gguf.GGUFWriter(path, "nemotron")
    w.add_name("nemotron")
    w.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    w.add_block_count(c.num_hidden_layers)
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_feed_forward_length(c.intermediate_size)
    w.add_head_count(c.num_attention_heads)
    w.add_head_count_kv(c.num_key_value_heads)
    w.add_key_length(c.head_dim)
    w.add_value_length(c.head_dim)
    w.add_vocab_size(c.vocab_size)
    w.add_layer_norm_eps(c.norm_eps)
    w.add_rope_freq_base(c.rope_theta)
    w.add_rope_dimension_count(int(c.head_dim * c.partial_rotary_factor))
    w.add_rope_scaling_type(gguf.RopeScalingType.NONE)
    add_vocabulary(w)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.NEMOTRON, c.num_hidden_layers)
    for name, p in model.named_parameters():
        t = p.detach() + 1 if is_norm(name) else p.detach()
        t = t.numpy().astype(np.float16 if t.dim() > 1 else np.float32)
        w.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")), t)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    model = make_model()
    golden = {"name": "nemotron", "hf_class": "NemotronForCausalLM", "seed": SEED,
              "n_params": sum(p.numel() for p in model.parameters()), "vocab_size": N_VOCAB,
              "reference": f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}, "
                           "float32, eager attention, no KV cache",
              "cases": [make_case(model, n) for n in (1, 17, 150)], "gguf": {"f16": "nemotron.f16.gguf"}}
    write_gguf(model, out / "nemotron.f16.gguf")
    (out / "golden.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
