"""The rows of bench/compare.py: work, rival, and what issue "Speed" asks of each. Standard library
only."""

import collections
import itertools

# name, title    of the row
# model          REAL, or a name of bench/make_model.py --list
# batch sequences hold depth tokens, take prompt tokens and generate gen tokens
# timed          "prompt", "gen", or "total": both kinds of tokens by the time of all
# reps           repetitions within a run, whose median counts
# rival          a key of bench/rivals.py
# target         least ratio (its lower bound): a number, a dict by level, or None: only shown
# share          part of what memory and arithmetic allow that will do in place of the target
# options        more flags of `sluice bench` on our side
# pairs          that count
# mask           level that both sides are held down to; None: the machine's own
# minutes        that it takes, about (2 cores of a Zen 4)
# in_issue       one of the issue's rows; others run by name only
Row = collections.namedtuple(
    "Row", "name title model batch depth prompt gen timed reps rival target share options pairs mask "
    "minutes in_issue")

PAIRS, MASKED_PAIRS = 7, 3
LEVELS = ("ref", "avx2", "avxvnni", "avx512", "avx512vnni", "avx512bf16", "amx")  # lowest first
REAL, EXPERTS = "smollm2", "moe-0.3b-q4_k"
ONE_B = "llama-3.2-1b"
WIDE = [*(f"{ONE_B}-{kind}" for kind in ("q4_0", "q4_k", "q8_0", "bf16")),
        *(f"qwen3-4b-{kind}" for kind in ("q4_0", "q4_k", "q8_0", "bf16"))]


def row(name, title, model, timed, batch=1, depth=0, prompt=0, gen=0, reps=1, rival="llama.cpp",
        target=None, share=None, options=(), pairs=PAIRS, mask=None, minutes=5, in_issue=True):
    return Row(name, title, model, batch, depth, prompt, gen, timed, reps, rival, target, share,
               tuple(options), pairs, mask, minutes, in_issue)


def users(rival, target, **more):
    return row(f"{rival}-32-users", "all tokens of 32 x (128 + 64) in process", REAL, "total",
               batch=32, prompt=128, gen=64, rival=rival, target=target, **more)


VNNI = ("avx512vnni", "avx512bf16")  # levels with that instruction, without AMX

ISSUE = [
    row("prefill-512", "prefill of 512 tokens", REAL, "prompt", prompt=512, reps=3,
        target={"amx": 5.0, **dict.fromkeys(VNNI, 4.0)}, minutes=1),
    row("prefill-1b-q4_k", "1B shape Q4_K: prefill of 512 tokens", f"{ONE_B}-q4_k", "prompt",
        prompt=512, target=2.5, minutes=5),
    row("prefill-1b-q8_0", "1B shape Q8_0: prefill of 512 tokens", f"{ONE_B}-q8_0", "prompt",
        prompt=512, target=2.5, minutes=5),
    row("decode-1-stream", "decode, 1 sequence at 512 tokens", REAL, "gen", depth=512, gen=64, reps=3,
        target=1.5, share=0.85, minutes=1),
    row("decode-1b-q4_k", "1B shape Q4_K: decode, 1 sequence", f"{ONE_B}-q4_k", "gen",
        depth=128, gen=32, target=1.15, share=0.85, minutes=2),
    *(row(f"decode-{n}-streams", f"decode, {n} sequences of 128 + 64", REAL, "gen",
          batch=n, depth=128, gen=64, target=target, minutes=minutes)
      for n, target, minutes in ((8, 4.0, 1), (32, 8.0, 2), (128, 10.0, 6))),
    row("decode-at-2000", "decode, 32 sequences at 2,000 tokens", REAL, "gen", batch=32, depth=2000,
        gen=16, target=10.0, share=0.70, minutes=4),
    row("prefill-8000", "prefill of 8,000 tokens", REAL, "prompt", prompt=8000, target=3.0, minutes=6),
    row("decode-at-8000", "decode, 1 sequence at 8,000 tokens", REAL, "gen", depth=8000, gen=32,
        target=1.5, minutes=6),
    users("openvino", 3.0, minutes=3),
    users("vllm", 3.0, minutes=8),
    row("moe-prefill", "experts: prefill of 512 tokens", EXPERTS, "prompt", prompt=512, target=3.0,
        minutes=1),
    row("moe-streams", "experts: decode, 8 sequences of 128 + 64", EXPERTS, "gen",
        batch=8, depth=128, gen=64, target=3.0, minutes=2),
    users("transformers", None, pairs=MASKED_PAIRS, minutes=6),
]

# What --batch-invariant leaves of our own speed: at most 25 % more time. With AMX only stated.
INVARIANT = [
    row(f"invariant-{what}", f"--batch-invariant: {title}", REAL, timed, rival="sluice",
        options=["--batch-invariant"], minutes=1, target={
            level: 0.8 for level in ("ref", "avx2", "avxvnni", "avx512", *VNNI)}, **work)
    for what, title, timed, work in (
        ("prefill", "prefill of 512 tokens", "prompt", {"prompt": 512, "reps": 3}),
        ("decode", "decode, 32 sequences of 128 + 64", "gen",
         {"batch": 32, "depth": 128, "gen": 64}))]

OTHERS = [
    row(f"{model}:{what}", f"{model}: {title}", model, timed, in_issue=False, minutes=minutes, **work)
    for model, (what, title, timed, minutes, work) in itertools.product(WIDE, (
        ("prefill", "prefill of 512 tokens", "prompt", 6, {"prompt": 512}),
        ("stream", "decode, 1 sequence at 512 tokens", "gen", 5, {"depth": 512, "gen": 16}),
        ("many", "decode, 32 sequences of 128 + 16", "gen", 5,
         {"batch": 32, "depth": 128, "gen": 16})))]


def masked(work, level):
    """The row at a lower level: three pairs, no target."""
    return work._replace(name=f"{work.name}@{level}", title=f"{work.title}, {level}", mask=level,
                         pairs=MASKED_PAIRS, target=None, share=None,
                         minutes=max(1, work.minutes * 2 // 3))


def rows(levels):
    """Every row of a machine with these levels, its own last. Repeated at the lower ones are those
    whose rival can be held down too; the reference level is no level to run at."""
    lower = [level for level in levels[:-1] if level != "ref" and
             not (level == "avx512vnni" and "avx512bf16" in levels)]  # but for BF16 files the same
    return [*ISSUE, *INVARIANT,
            *(masked(work, level) for level in lower for work in ISSUE if work.rival == "llama.cpp"),
            *OTHERS]


def target_of(work, level):
    return work.target.get(level) if isinstance(work.target, dict) else work.target


def goal(work, level):
    """What the row must reach, in words."""
    target, share = target_of(work, level), work.share
    if target is None:
        return "no target"
    return f"at least {target:g} x" + (f" or {share:.0%} of the limit" if share else "")
