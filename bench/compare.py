#!/usr/bin/env python3
"""Sluice and its rivals side by side: paired, interleaved runs of the same work on the same file.

    bench/compare.py                       the rows that issue "Speed" asks for
    bench/compare.py decode-1-stream ...   these rows; --list names all, with the minutes they take
    bench/compare.py --model FILE ROW      on another model: a file, or a name of bench/make_model.py
    bench/compare.py --pairs N ...         so many pairs, not the row's own number
    bench/compare.py --record ...          also writes bench/results and docs/performance.md
    bench/compare.py --recorded            what is recorded for this processor, and whether it stands
    bench/compare.py --self ...            Sluice against itself: the noise of the machine

First the rival gets its best settings (bench/rivals.py); they serve for all pairs. A pair is one run
of each side, in the order A B, B A, A B, ... A pair during which the machine changed (two
calibrations differ, or the hypervisor took processor time) is discarded whole and made up for. Of
the kept ratios ours / theirs the median is printed, and the lower end of its one-sided 95 %
interval. docs/performance.md says more. Standard library only.
"""

import argparse
import contextlib
import datetime
import hashlib
import pathlib
import re
import sys
import time

BENCH = pathlib.Path(__file__).resolve().parent
ROOT = BENCH.parent
sys.dont_write_bytecode = True
sys.path[:0] = [str(BENCH), str(ROOT / "tools" / "show.d")]

import limits      # noqa: E402
import make_model  # noqa: E402
import pairs       # noqa: E402
import records     # noqa: E402
import rivals      # noqa: E402
import rows        # noqa: E402
import showlib     # noqa: E402


def model_path(name):
    if name == rows.REAL:
        return showlib.smollm2()
    return make_model.model(name) if name in make_model.NAMES else pathlib.Path(name).resolve()


def model_file_name(name):
    """What the file of a row's model is called, without fetching or making it."""
    if name == rows.REAL:
        return "SmolLM2-135M-Instruct.Q4_1.gguf"
    return make_model.file_name(name) if name in make_model.NAMES else pathlib.Path(name).name


def all_rows():
    return rows.rows(showlib.isa_levels())


def level(mask=None):
    text = rivals.run([showlib.SLUICE, "version", "--verbose"], mask)
    return re.search(r"^level\s+(\S+)", text, re.M).group(1)


def measure(work, n_pairs=None, threads=None):
    """The result of a row: everything that the files of bench/results keep of it."""
    began, threads, model = time.monotonic(), threads or showlib.n_cpus(), model_path(work.model)
    ours = rivals.Sluice(work, model, threads, work.options)
    with contextlib.closing(rivals.open_rival(work, model, threads)) as theirs:
        limit = limits.of(work, model, threads) if work.share else None
        ours.tps()  # the file is in the page cache, the processor awake
        measured = pairs.measure_pairs(work.name, {"A": ours.tps, "B": theirs.tps},
                                       n_pairs or work.pairs, theirs.cpu_seconds)
        version = theirs.version()
    with open(model, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    result = {
        "row": work.name, "title": work.title, "model": model.name, "model_sha256": digest,
        **pairs.summary(measured), "threads": threads, "level": level(work.mask),
        "pairs_wanted": work.pairs, "commit": records.measured_commit(), "cpu": showlib.cpu_model(),
        "cpus": showlib.n_cpus(), "minutes": round((time.monotonic() - began) / 60, 1),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "rival": f"{theirs.name} {version}", "rival_settings": theirs.settings,
        "rival_tried": theirs.tried, "ours_command": rivals.printable(ours.command),
        "theirs_command": rivals.printable(theirs.command), "limit": limit, "share": None,
        "all_pairs": measured}
    if limit and result["ours"]:
        result["share"] = result["ours"] / limit["tps"]
    return {**result, "target": rows.target_of(work, result["level"]), "share_target": work.share,
            "goal": rows.goal(work, result["level"])}


def verdict(result):
    """Whether a result reaches what is asked; None where nothing is."""
    if result["target"] is None:
        return None
    return (result["lower_bound"] or 0) >= result["target"] or \
        bool(result["share_target"]) and (result["share"] or 0) >= result["share_target"]


def figure(result):
    """One line of text, with the limit where a row has one."""
    text = records.figure(result)
    return text + (f"; {limits.share_text(result)}" if result["share"] else "")


def show_recorded():
    for one in records.latest(showlib.cpu_model()):
        print(f"{one['row']} | {figure(one)} | {one['goal']} | recorded at {one['commit']}, "
              f"{one['date'][:10]}; measured code changed since: "
              f"{records.changed_since(one['commit'])}")


def chosen_rows(arguments, parser):
    known = all_rows()
    if unknown := set(arguments.rows) - {work.name for work in known}:
        parser.error(f"there is no row {min(unknown)}; --list shows the names")
    chosen = [work for work in known
              if work.name in arguments.rows or not arguments.rows and (work.in_issue or arguments.list)]
    if arguments.model:
        chosen = [work._replace(model=arguments.model) for work in chosen]
    if arguments.with_itself:
        chosen = [work._replace(rival="sluice", share=None) for work in chosen]
    return chosen


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--model")
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--recorded", action="store_true")
    parser.add_argument("--self", action="store_true", dest="with_itself")
    arguments = parser.parse_args()
    if arguments.recorded:
        show_recorded()
        return 0
    chosen = chosen_rows(arguments, parser)
    if arguments.list:
        for work in chosen:
            print(f"{work.name:34} {work.minutes:3} min  {work.title}")
        return 0
    showlib.say(f"{len(chosen)} rows, about {sum(work.minutes for work in chosen)} min")
    for work in chosen:
        try:
            result = measure(work, arguments.pairs, arguments.threads)
        except showlib.NotHere as reason:
            print(f"{work.title} | {work.model} | not here: {reason}", flush=True)
            continue
        print(f"{work.title} | {result['model']} | {figure(result)}", flush=True)
        if arguments.record and not arguments.with_itself:
            records.keep(result)
    return 0


if __name__ == "__main__":
    showlib.end_children_with_us()
    sys.exit(main())
