#!/usr/bin/env python3
"""Sluice and llama.cpp side by side: paired, interleaved runs of the same work on the same file.

    bench/compare.py                       every row
    bench/compare.py decode-1-stream ...   these rows; --list names them
    bench/compare.py --model FILE ROW      on another model: a file, or a name of bench/make_model.py
    bench/compare.py --record ...          also writes bench/results and docs/performance.md
    bench/compare.py --self ...            Sluice against itself: the noise of the machine

First llama.cpp runs the row once with each of its settings (-fa, --repack); the best serves for all
pairs. A pair is one run of each, in the order A B, B A, A B, ... A pair during which the machine
changed (two calibrations differ, or the hypervisor took processor time) is discarded whole and
made up for. Of the kept ratios ours / theirs the median is printed, and the lower end of its
one-sided 95 % interval. docs/performance.md says more. Standard library only.
"""

import argparse
import collections
import contextlib
import datetime
import hashlib
import itertools
import json
import math
import os
import pathlib
import re
import resource
import sys
import threading
import time

BENCH = pathlib.Path(__file__).resolve().parent
ROOT = BENCH.parent
sys.dont_write_bytecode = True
sys.path[:0] = [str(BENCH), str(ROOT / "tools" / "show.d")]

import make_model  # noqa: E402
import showlib     # noqa: E402

PAIRS = 7
TRIES_FACTOR = 2             # at most so many times the pairs are tried
CONFIDENCE = 0.95
CALIBRATION_CHANGE = 0.20    # more between before and after a pair: the pair is discarded
STEAL_SHARE = 0.05           # of the processors' time during a pair: likewise
OTHERS_SHARE = 0.05          # used by other processes, median of the pairs: a busy machine
RUN_TIMEOUT_S = 7200
RIVAL_TRIES = 5              # llama-batched-bench ends now and then before its log is written

# --- rows ------------------------------------------------------------------------------------

# batch sequences hold depth tokens, take prompt tokens, generate gen tokens; what is timed: "prompt"
# or "gen". reps: repetitions within a run, whose median counts. target: what tools/show asks of the
# lower bound.
Row = collections.namedtuple("Row", "name title model batch depth prompt gen timed reps target")


def row(name, title, model, timed, batch=1, depth=0, prompt=0, gen=0, reps=1, target=1.0):
    return Row(name, title, model, batch, depth, prompt, gen, timed, reps, target)


REAL, EXPERTS = "smollm2", "moe-0.3b-q4_k"
WIDE = [*(f"llama-3.2-1b-{kind}" for kind in ("q4_0", "q4_k", "q8_0", "bf16")), "qwen3-4b-q4_k"]

ROWS = [
    row("prefill-512", "prefill of 512 tokens", REAL, "prompt", prompt=512, reps=3),
    row("decode-1-stream", "decode, 1 sequence at 512 tokens", REAL, "gen", depth=512, gen=64, reps=3),
    *(row(f"decode-{n}-streams", f"decode, {n} sequences of 128 + 64", REAL, "gen", batch=n,
          prompt=128, gen=64) for n in (8, 32, 128)),
    row("decode-at-2000", "decode, 32 sequences at 2,000 tokens", REAL, "gen", batch=32, depth=2000,
        gen=32),
    row("prefill-8000", "prefill of 8,000 tokens", REAL, "prompt", prompt=8000),
    row("decode-at-8000", "decode, 1 sequence at 8,000 tokens", REAL, "gen", depth=8000, gen=32),
    row("moe-prefill", "experts: prefill of 512 tokens", EXPERTS, "prompt", prompt=512),
    row("moe-streams", "experts: decode, 8 sequences of 128 + 64", EXPERTS, "gen", batch=8, prompt=128,
        gen=64),
    *itertools.chain.from_iterable((
        row(f"{model}:prefill", f"{model}: prefill of 512 tokens", model, "prompt", prompt=512),
        row(f"{model}:stream", f"{model}: decode, 1 sequence at 512 tokens", model, "gen", depth=512,
            gen=16),
        row(f"{model}:many", f"{model}: decode, 32 sequences of 128 + 16", model, "gen", batch=32,
            prompt=128, gen=16)) for model in WIDE),
]


def model_path(name):
    if name == REAL:
        return showlib.smollm2()
    return make_model.model(name) if name in make_model.NAMES else pathlib.Path(name).resolve()


# --- the two programs ------------------------------------------------------------------------

def median(values):
    values = sorted(values)
    half = len(values) // 2
    return values[half] if len(values) % 2 else (values[half - 1] + values[half]) / 2


def ours_command(work, model, threads):
    return [showlib.SLUICE, "bench", model, "--prompt", work.prompt, "--gen", work.gen, "--batch",
            work.batch, "--depth", work.depth, "--reps", work.reps, "--threads", threads, "--quiet",
            "--json"]


def ours_tps(work, text):
    return json.loads(text)[f"{work.timed}_tps"]


# What of llama.cpp is tried before the pairs.
SETTINGS = [{"flash": flash, "repack": repack} for flash in (True, False) for repack in (True, False)]


def theirs_command(work, model, threads, settings):
    flash = "on" if settings["flash"] else "off"
    folder = showlib.rival_binaries()
    if work.batch == 1:
        return [folder / "llama-bench", "-m", model, "-t", threads, "-p", work.prompt, "-n", work.gen,
                "-d", work.depth, "-fa", flash, "--repack", int(settings["repack"]), "-r", work.reps,
                "-o", "json"]
    # The first tokens are the depth, computed once and copied, or the prompt of each.
    first = work.depth or work.prompt
    return [folder / "llama-batched-bench", "-m", model, "-t", threads,
            "-c", work.batch * (first + work.gen + 1), "-b", 2048, "-ub", 512, "-npp", first,
            "-ntg", work.gen, "-npl", ",".join([str(work.batch)] * work.reps), "-fa", flash,
            "--repack" if settings["repack"] else "--no-repack", "--output-format", "jsonl",
            *(["-pps"] if work.depth else [])]


class NoResult(RuntimeError):
    """The rival ended well but left out results."""


def theirs_tps(work, text):
    if work.batch == 1:
        runs = json.loads(text)
        if len(runs) != 1:
            raise RuntimeError(f"llama-bench gave {len(runs)} results in place of one")
        return median(runs[0]["samples_ts"])
    runs = [json.loads(text) for text in text.splitlines() if text.startswith("{")]
    if len(runs) != work.reps:
        raise NoResult(f"llama-batched-bench gave {len(runs)} results in place of {work.reps}")
    return median([run["speed_pp" if work.timed == "prompt" else "speed_tg"] for run in runs])


def run_theirs(work, command):
    """Its tokens/s. A run that showed no result is repeated: nobody knows what it measured."""
    for _ in range(RIVAL_TRIES - 1):
        with contextlib.suppress(NoResult):
            return theirs_tps(work, run(command))
    return theirs_tps(work, run(command))


def run(command):
    return showlib.check(command, timeout=RUN_TIMEOUT_S).decode()


# --- the machine -----------------------------------------------------------------------------

CpuTimes = collections.namedtuple("CpuTimes", "busy steal total ours")


def cpu_times(text=None):
    """Of all processors since the start: seconds of work, stolen, altogether; and of our children."""
    if text is None:
        text = pathlib.Path("/proc/stat").read_text()
    user, nice, system, idle, iowait, irq, softirq, steal = map(int, text.split("\n")[0].split()[1:9])
    tick = os.sysconf("SC_CLK_TCK")
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    busy = user + nice + system + irq + softirq
    return CpuTimes(busy / tick, steal / tick, (busy + idle + iowait + steal) / tick,
                    sum(usage.ru_utime + usage.ru_stime for usage in used))


def shares(before, after):
    """(stolen, used by others) of the processors' time between two readings."""
    total = max(after.total - before.total, 1e-9)
    others = (after.busy - before.busy) - (after.ours - before.ours)
    return (after.steal - before.steal) / total, max(others, 0.0) / total


CALIBRATION_BYTES, CALIBRATION_ROUNDS = 1 << 20, 96


def calibrate():
    """Seconds of a fixed amount of hashing on every processor at once."""
    data = bytes(CALIBRATION_BYTES)

    def work():
        digest = hashlib.sha256()
        for _ in range(CALIBRATION_ROUNDS):
            digest.update(data)  # without the interpreter's lock
    threads = [threading.Thread(target=work) for _ in range(showlib.n_cpus())]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - began


def why_discarded(before, after, steal):
    """Why a pair with these calibrations (seconds) and share of stolen time does not count; None if
    it does. Never looks at what the pair measured."""
    if max(before, after) > (1 + CALIBRATION_CHANGE) * min(before, after):
        return f"calibration changed from {before:.3f} to {after:.3f} s"
    if steal > STEAL_SHARE:
        return f"{steal:.0%} of the time was stolen"
    return None


# --- statistics ------------------------------------------------------------------------------

def lower_bound(values, confidence=CONFIDENCE):
    """Lower end of the one-sided interval of the median, by the sign test: the k-th smallest value,
    with the largest k whose interval still has the confidence. Holds for any distribution; None
    where there are too few values."""
    n, allowed, below, k = len(values), 1 - confidence, 0.0, 0
    for i in range(n):
        below += math.comb(n, i) / 2 ** n  # the median is under the (i + 1)-th smallest
        if below > allowed:
            break
        k = i + 1
    return sorted(values)[k - 1] if k else None


def summary(pairs):
    """Figures of the kept pairs."""
    kept = [pair for pair in pairs if pair["discarded"] is None]
    if not kept:
        return {"pairs": 0, "discarded": len(pairs), "ratio": None, "lower_bound": None, "ours": None,
                "theirs": None, "busy": True}
    ratios = [pair["ours"] / pair["theirs"] for pair in kept]
    return {"pairs": len(kept), "discarded": len(pairs) - len(kept), "ratio": median(ratios),
            "lower_bound": lower_bound(ratios), "ours": median([pair["ours"] for pair in kept]),
            "theirs": median([pair["theirs"] for pair in kept]),
            "busy": median([pair["others"] for pair in kept]) > OTHERS_SHARE}


# --- measuring -------------------------------------------------------------------------------

def best_settings(work, model, threads):
    """llama.cpp's best settings for the row, and the speed of each."""
    tried = []
    for settings in SETTINGS:
        tps = run_theirs(work, theirs_command(work, model, threads, settings))
        tried.append({**settings, "tps": tps})
        showlib.say(f"{work.name}: llama.cpp {settings}: {tps:.1f} tokens/s")
    best = max(tried, key=lambda one: one["tps"])
    return {key: best[key] for key in SETTINGS[0]}, tried


def one_pair(sides, order):
    """Runs both sides, each a function that returns tokens/s, in this order."""
    before, times = calibrate(), cpu_times()
    tps = {side: sides[side]() for side in order}
    (steal, others), after = shares(times, cpu_times()), calibrate()
    return {"order": "".join(order), "ours": tps["A"], "theirs": tps["B"],
            "calibration_s": [round(before, 4), round(after, 4)], "steal": round(steal, 4),
            "others": round(others, 4), "discarded": why_discarded(before, after, steal)}


def measure_pairs(work, sides, n_pairs):
    pairs = []
    while sum(pair["discarded"] is None for pair in pairs) < n_pairs and \
            len(pairs) < TRIES_FACTOR * n_pairs:
        pairs.append(one_pair(sides, ("A", "B") if len(pairs) % 2 == 0 else ("B", "A")))
        last = pairs[-1]
        showlib.say(f"{work.name}: pair {len(pairs)} {last['order']}: {last['ours']:.1f} / "
                    f"{last['theirs']:.1f} = {last['ours'] / last['theirs']:.3f}"
                    + (f", discarded: {last['discarded']}" if last["discarded"] else ""))
    return pairs


def level():
    return re.search(r"^level\s+(\S+)", run([showlib.SLUICE, "version", "--verbose"]), re.M).group(1)


def rival_version():
    if os.environ.get("LLAMA_CPP_BIN"):
        return "of LLAMA_CPP_BIN"
    pins = json.loads((ROOT / "tools" / "pins.json").read_text())
    return "of llama-cpp-python " + pins["packages"]["llama-cpp-python"]["version"]


def printable(command):
    return " ".join(pathlib.Path(str(part)).name if os.sep in str(part) else str(part)
                    for part in command)


def measure(work, n_pairs=PAIRS, threads=None, with_itself=False):
    """The result of a row: everything that the files of bench/results keep of it."""
    threads, model = threads or showlib.n_cpus(), model_path(work.model)
    ours = ours_command(work, model, threads)
    settings, tried, theirs = None, [], ours
    if not with_itself:
        settings, tried = best_settings(work, model, threads)
        theirs = theirs_command(work, model, threads, settings)
    sides = {"A": lambda: ours_tps(work, run(ours)),
             "B": lambda: ours_tps(work, run(ours)) if with_itself else run_theirs(work, theirs)}
    sides["A"]()  # the file is in the page cache, the processor awake
    pairs = measure_pairs(work, sides, n_pairs)
    with open(model, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "row": work.name, "title": work.title, "model": model.name, "model_sha256": digest,
        **summary(pairs), "threads": threads, "level": level(), "commit": showlib.commit(),
        "cpu": showlib.cpu_model(), "cpus": showlib.n_cpus(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "rival": "sluice" if with_itself else f"llama.cpp {rival_version()}",
        "rival_settings": settings, "rival_tried": tried, "ours_command": printable(ours),
        "theirs_command": printable(theirs), "all_pairs": pairs}


# --- what is written -------------------------------------------------------------------------

def number(value, form):
    return "-" if value is None else format(value, form)


def figure(result):
    """One line of text."""
    text = (f"{number(result['ratio'], '.2f')} x, lower bound {number(result['lower_bound'], '.2f')} "
            f"({number(result['ours'], ',.0f')} / {number(result['theirs'], ',.0f')} tokens/s, "
            f"{result['pairs']} pairs")
    if result["discarded"]:
        text += f", {result['discarded']} discarded"
    return text + (", other processes were running)" if result["busy"] else ")")


HEAD = ["| work | model | ours / llama.cpp | lower 95 % bound | ours, tokens/s | llama.cpp | its settings "
        "| pairs | threads | level | commit |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"]


def table_row(result):
    settings = result["rival_settings"]
    shown = f"-fa {'on' if settings['flash'] else 'off'}, repack {'on' if settings['repack'] else 'off'}"
    return "| " + " | ".join([
        result["title"], result["model"], number(result["ratio"], ".2f"),
        number(result["lower_bound"], ".2f"), number(result["ours"], ",.0f"),
        number(result["theirs"], ",.0f"), shown, str(result["pairs"]), str(result["threads"]),
        result["level"], result["commit"]]) + " |"


def page_with(page, key, results):
    """The page with the table of one file of results; a table of the same file is replaced."""
    begin, end = f"<!-- {key} -->", f"<!-- end of {key} -->"
    first = results[0]
    block = "\n".join([begin, f"### {first['date'][:10]}, {first['cpus']} x {first['cpu']}", "", *HEAD,
                       *map(table_row, results), end])
    if begin in page:
        before, rest = page.split(begin, 1)
        return before + block + rest.split(end, 1)[1]
    return page.rstrip("\n") + "\n\n" + block + "\n"


def merged(results, new):
    """The results with a new one, in place of one of the same row and model."""
    key = new["row"], new["model"]
    kept = [result for result in results if (result["row"], result["model"]) != key]
    return sorted([*kept, new], key=lambda result: [one.name for one in ROWS].index(result["row"]))


def record(result):
    if result["busy"] or result["lower_bound"] is None or result["rival_settings"] is None:
        showlib.say(f"{result['row']} is not recorded: other processes were running, too few pairs, or "
                    "no rival")
        return
    cpu = re.sub(r"[^a-z0-9]+", "-", result["cpu"].lower()).strip("-")
    path = BENCH / "results" / f"{result['date'][:10]}-{cpu}.json"
    results = merged(json.loads(path.read_text()) if path.exists() else [], result)
    path.write_text(json.dumps(results, indent=1) + "\n")
    page = ROOT / "docs" / "performance.md"
    page.write_text(page_with(page.read_text(), path.name, results))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--model")
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--self", action="store_true", dest="with_itself")
    arguments = parser.parse_args()
    unknown = set(arguments.rows) - {work.name for work in ROWS}
    if unknown:
        parser.error(f"there is no row {min(unknown)}; --list shows the names")
    chosen = [work for work in ROWS if not arguments.rows or work.name in arguments.rows]
    for work in chosen:
        if arguments.list:
            print(f"{work.name:30} {work.title}")
            continue
        if arguments.model:
            work = work._replace(model=arguments.model)
        result = measure(work, arguments.pairs, arguments.threads, arguments.with_itself)
        print(f"{work.title} | {result['model']} | {figure(result)}", flush=True)
        if arguments.record:
            record(result)
    return 0


if __name__ == "__main__":
    showlib.end_children_with_us()
    sys.exit(main())
