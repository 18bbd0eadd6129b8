"""What speed costs in accuracy: divergence from float32 arithmetic on the same weights, ours and
llama.cpp's, each by its own program on the same text. Standard library only."""

import json
import math
import pathlib
import re
import tempfile

import showlib

CONTEXT, CHUNKS = 512, 8   # of each chunk the second half is scored, as llama-perplexity does
EVAL_TIMEOUT_S = 3600


def evaluate(model, text, *options, chunks=None):
    some = ["--chunks", chunks] if chunks else []
    return json.loads(showlib.sluice("eval", model, "--text", text, "--ctx", CONTEXT, *some, "--json",
                                     "--quiet", *options, timeout=EVAL_TIMEOUT_S))


def ours(model, text, folder, chunks):
    """(mean KL divergence, perplexity, perplexity of the reference): default mode against --exact."""
    base = pathlib.Path(folder, "base.lp")
    evaluate(model, text, "--exact", "--save-logits", base, chunks=chunks)
    got = evaluate(model, text, "--kl-base", base, chunks=chunks)
    base.unlink()
    return got["kl_mean"], got["ppl"], got["base_ppl"]


def read_theirs(text):
    """The same figures of what llama-perplexity --kl-divergence prints."""
    def value(name):
        return float(re.search(rf"^{name}\s*:\s+(\S+)", text, re.M).group(1))
    return value(r"Mean\s+KLD"), value(r"Mean PPL\(Q\)"), value(r"Mean PPL\(base\)")


def theirs(model, text, folder, chunks):
    """llama.cpp as it comes against llama.cpp on the same weights written out as float32, with
    float32 keys and values."""
    programs, whole = showlib.rival_binaries(), pathlib.Path(folder, "f32.gguf")
    base = pathlib.Path(folder, "base.kld")
    showlib.check([programs / "llama-quantize", "--allow-requantize", model, whole, "F32"],
                  timeout=EVAL_TIMEOUT_S)
    common = ["-f", text, "-c", CONTEXT, "--chunks", chunks, "-t", showlib.n_cpus(),
              "--kl-divergence-base", base]
    showlib.check([programs / "llama-perplexity", "-m", whole, *common, "-fa", "off", "-ctk", "f32",
                   "-ctv", "f32"], timeout=EVAL_TIMEOUT_S)
    whole.unlink()
    printed = showlib.check([programs / "llama-perplexity", "-m", model, *common, "--kl-divergence"],
                            timeout=EVAL_TIMEOUT_S).decode()
    return read_theirs(printed)


def kl_verdict(model, text, chunks=CHUNKS):
    """(figure, passed): our mean divergence is no more than llama.cpp's."""
    with tempfile.TemporaryDirectory(prefix="sluice-kl-") as folder:
        a, b = ours(model, text, folder, chunks), theirs(model, text, folder, chunks)
    apart = abs(math.log(a[2] / b[2]))
    return (f"mean KL {a[0]:.5f}, llama.cpp {b[0]:.5f}: {a[0] / b[0]:.2f} x ({chunks} chunks; "
            f"perplexity {a[1]:.4f} and {b[1]:.4f}, of the float32 references {a[2]:.4f} and "
            f"{b[2]:.4f})", a[0] <= b[0] and apart < 1e-3)


def ppl_verdict(model, text, reference_ppl, limit, *options):
    """(figure, passed): perplexity of the whole text within a part of a reference's."""
    ppl = evaluate(model, text, *options)["ppl"]
    apart = abs(ppl / reference_ppl - 1)
    return f"ppl {ppl:.4f}, reference {reference_ppl:.4f}: {apart:.2%} apart", apart <= limit
