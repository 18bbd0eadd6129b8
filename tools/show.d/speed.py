"""What issue "Speed" said must be shown: the rows of bench/compare.py against their rivals, then what
must not be paid for it. A row passes when the lower bound of its median ratio reaches the target, or
where the issue says so, when its median is near enough to what the machine allows. A recorded row
stands until the code that it measures changes; a row of another machine or code is measured."""

import os
import subprocess
import sys

import showlib
from showlib import ASKED, GOLDEN, ROOT, NotHere, line, need

sys.path.insert(0, str(ROOT / "bench"))

import accuracy    # noqa: E402
import cold_start  # noqa: E402
import compare     # noqa: E402
import records     # noqa: E402
import rows        # noqa: E402

PPL_LIMIT, KV_LIMIT = 0.003, 0.002
VLLM_TPS = 1138  # all tokens of 32 x (128 + 64), bf16, 21 November 2026


# --- rows ------------------------------------------------------------------------------------

def figure_of(result, changed):
    return (f"{compare.figure(result)}; recorded at {result['commit']}, {result['date'][:10]}, "
            f"measured code changed since: {changed}")


def row_result(work):
    """(figure, passed) of a row: of its record where that stands, else measured."""
    record = records.standing(work, compare.model_file_name(work.model), showlib.n_cpus())
    stands = record is not None and record["changed"] == "no" and not ASKED["again"]
    if stands or ASKED["recorded"]:
        if record is None:
            raise NotHere("not recorded for this processor")
        return figure_of(record, record["changed"]), compare.verdict(record)
    result = compare.measure(work)
    if not result["pairs"]:
        raise NotHere(f"too noisy a machine: none of {result['discarded']} pairs counts")
    if ASKED["record"]:
        records.keep(result)
    return compare.figure(result), compare.verdict(result)


def vllm_unpaired(work, reason):
    """The row against the figure that vLLM had on another day, where it cannot be had here."""
    threads = showlib.n_cpus()
    ours = compare.rivals.Sluice(work, compare.model_path(work.model), threads)
    tps = compare.pairs.median([ours.tps() for _ in range(3)])
    figure = (f"unpaired: ours {tps:,.0f} tokens/s, vLLM 0.32 had {VLLM_TPS:,} on 2 cores of a Sapphire "
              f"Rapids with AMX ({reason})")
    if LEVELS[-1] != "amx" or threads != 2:
        raise NotHere(figure)
    return figure, tps >= work.target * VLLM_TPS


def row_line(work):
    try:
        return row_result(work)
    except NotHere as reason:
        if work.rival != "vllm" or ASKED["recorded"]:
            raise
        return vllm_unpaired(work, reason)


def add(work, level):
    rival = "" if work.rival == "sluice" else f" against {work.rival}"
    title = f"{work.title}{rival}: {rows.goal(work, work.mask or level)}"

    @line(work.name, title, work.minutes)
    def one():
        return row_line(work)


LEVELS = showlib.isa_levels()
ROWS = [work for work in rows.rows(LEVELS) if work.in_issue]
for each in ROWS:
    if not each.mask:
        add(each, LEVELS[-1])


@line(cold_start.NAME, f"{cold_start.TITLE}: at most {1 / cold_start.TARGET:g} x llama.cpp's time", 2)
def first_token():
    result = measured(cold_start.measure)
    if result["lower_bound"] is None:
        raise NotHere(f"too noisy a machine: only {result['pairs']} pairs count")
    return cold_start.figure(result), result["lower_bound"] >= cold_start.TARGET


def measured(function, *arguments):
    """A line that is short enough never to stand on a record."""
    if ASKED["recorded"]:
        raise NotHere("not kept: measured each time")
    return function(*arguments)


# --- accuracy --------------------------------------------------------------------------------

def real(golden):
    """(text, facts of its perplexity) of a real model's reference data."""
    data = showlib.real_golden(golden)["perplexity"]
    return need(GOLDEN / "real" / data["text_file"]), data


for name, path, golden in (("smollm2", showlib.smollm2, "smollm2.json"),
                           ("gemma", showlib.gemma, "gemma3.json")):
    @line(f"kl-{name}", f"{name}: mean KL divergence from float32 no worse than llama.cpp's", 4)
    def kl(path=path, golden=golden):
        return measured(lambda: accuracy.kl_verdict(path(), real(golden)[0]))

    @line(f"ppl-{name}", f"{name}: perplexity within {PPL_LIMIT:.1%} of float32's", 1)
    def ppl(path=path, golden=golden):
        text, data = real(golden)
        return measured(accuracy.ppl_verdict, path(), text, data["f32"]["ppl"], PPL_LIMIT)

    @line(f"int8-kv-{name}", f"{name}: INT8 keys and values change perplexity by at most {KV_LIMIT:.1%}",
          1)
    def int8_kv(path=path, golden=golden):
        text = real(golden)[0]
        return measured(lambda: accuracy.ppl_verdict(path(), text, accuracy.evaluate(path(), text)["ppl"],
                                                     KV_LIMIT, "--kv-type", "int8"))


@line("golden", "golden models, --exact, at every level: logits within 1e-3, same greedy tokens", 3)
def golden_levels():
    return measured(golden_at_levels)


def golden_at_levels():
    """The build's own test, once for each level."""
    showlib.check(["tools/build.sh", "release", "test_golden_logits"], timeout=1800)
    program, failed, levels = next((ROOT / "build").rglob("test_golden_logits")), [], LEVELS
    for level in levels:
        done = subprocess.run([program], cwd=ROOT, capture_output=True, text=True, timeout=1800,
                              env={**os.environ, "SLUICE_CPU_MASK": level,
                                   "SLUICE_SHARED": str(showlib.SHARED)})
        if done.returncode != 0:
            failed.append(level)
    figure = f"test_golden_logits at {', '.join(levels)}"
    return figure + (f"; fails at {', '.join(failed)}" if failed else ": all pass"), not failed


# --- at lower levels -------------------------------------------------------------------------

for each in ROWS:
    if each.mask:
        add(each, LEVELS[-1])
