#!/usr/bin/env python3
"""Time from the start of a process to its first token, against llama.cpp: paired as in compare.py.

    bench/cold_start.py                    SmolLM2, packed cache warm
    bench/cold_start.py --model NAME       a file, or a name of bench/make_model.py
    bench/cold_start.py --without-cache    nothing kept from an earlier start

Both programs get the prompt as plain text and generate one token greedily; what counts is the first byte
on standard output. The model's file and the cache file are in the page cache. First llama.cpp runs with
each of its settings; the fastest serves for all pairs, its warm-up run is off. Standard library only.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time

BENCH = pathlib.Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path[:0] = [str(BENCH), str(BENCH.parent / "tools" / "show.d")]

import compare  # noqa: E402
import pairs    # noqa: E402
import rows     # noqa: E402
import showlib  # noqa: E402

NAME = "first-token"
TITLE = "first token after process start, packed cache warm"
TARGET = 2.0  # half of llama.cpp's time
PROMPT = "The capital of France is"
SETTING_RUNS = 3
SETTINGS = [{"repack": repack} for repack in (False, True)]  # the file is mapped, and nothing is fitted


def first_byte_s(command):
    """Seconds until the program wrote something; it is then left to end."""
    began = time.monotonic()
    process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    first = os.read(process.stdout.fileno(), 1)
    elapsed = time.monotonic() - began
    process.communicate()
    if process.returncode != 0 or not first:
        raise RuntimeError(f"{pathlib.Path(str(command[0])).name} ended with {process.returncode} and "
                           f"{'some' if first else 'no'} output")
    return elapsed


def ours_command(model, threads, cache):
    return [showlib.SLUICE, "run", model, "--raw", "-p", PROMPT, "-n", 1, "--ignore-eos", "--threads",
            threads, "--quiet", "--packed-cache", cache]


def theirs_command(model, threads, settings):
    return [showlib.rival_binaries() / "llama-completion", "-m", model, "-t", threads, "-p", PROMPT, "-n", 1,
            "--temp", 0, "--ignore-eos", "-no-cnv", "--no-display-prompt", "--no-warmup", "-c", 512, "-fit",
            "off", "--repack" if settings["repack"] else "--no-repack"]


def best_settings(model, threads):
    """llama.cpp's fastest settings, by the least of a few runs."""
    tried = []
    for settings in SETTINGS:
        command = theirs_command(model, threads, settings)
        seconds = min(first_byte_s(command) for _ in range(SETTING_RUNS))
        tried.append((seconds, settings))
        showlib.say(f"{NAME}: llama.cpp {settings}: {seconds * 1e3:.0f} ms")
    return min(tried, key=lambda one: one[0])[1]


def measure(n_pairs=rows.PAIRS, model=None, threads=None, with_cache=True):
    """The pairs' summary; ours and theirs are starts per second, so that more is better as in all rows."""
    threads, model = threads or showlib.n_cpus(), model or showlib.smollm2()
    settings = best_settings(model, threads)
    theirs = theirs_command(model, threads, settings)
    with tempfile.TemporaryDirectory() as cache:
        ours = ours_command(model, threads, cache if with_cache else "off")
        first_byte_s(ours)  # leaves the cache file
        measured = pairs.measure_pairs(NAME, {"A": lambda: 1 / first_byte_s(ours),
                                              "B": lambda: 1 / first_byte_s(theirs)}, n_pairs)
    return {**pairs.summary(measured), "rival_settings": settings, "all_pairs": measured}


def figure(result):
    if result["ratio"] is None:
        return "no pair counts"
    return (f"{1 / result['ratio']:.2f} x llama.cpp's time, upper bound {1 / result['lower_bound']:.2f} "
            f"({1e3 / result['ours']:.0f} / {1e3 / result['theirs']:.0f} ms, {result['pairs']} pairs"
            + (f", {result['discarded']} discarded" if result["discarded"] else "")
            + (", other processes were running)" if result["busy"] else ")"))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--pairs", type=int, default=rows.PAIRS)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--without-cache", action="store_true")
    arguments = parser.parse_args()
    model = compare.model_path(arguments.model) if arguments.model else None
    result = measure(arguments.pairs, model, arguments.threads, not arguments.without_cache)
    print(f"{TITLE if not arguments.without_cache else 'first token after process start'} | "
          f"{figure(result)}")
    return 0


if __name__ == "__main__":
    showlib.end_children_with_us()
    sys.exit(main())
