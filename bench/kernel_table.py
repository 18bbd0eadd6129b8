#!/usr/bin/env python3
"""Every number format's product beside what this machine allows: the kernel tables of
docs/performance.md.

    bench/kernel_table.py                prints the table of this processor's level
    bench/kernel_table.py avx2 avx512    of these levels (SLUICE_CPU_MASK)
    bench/kernel_table.py --record       also writes bench/results and docs/performance.md

Measured by `sluice bench --roofline` on the model `formats-all` of bench/make_model.py: one matrix
shape in every format, copies of it that exceed the caches, with 1 to 512 rows of activations. A cell
says GB/s of weights where reading is the nearer limit and GOP/s where arithmetic is, and the part of
that limit. Slow ones, below half of it, are named. Standard library only.
"""

import argparse
import datetime
import json
import pathlib
import sys

BENCH = pathlib.Path(__file__).resolve().parent
ROOT = BENCH.parent
sys.dont_write_bytecode = True
sys.path[:0] = [str(BENCH), str(ROOT / "tools" / "show.d")]

import make_model  # noqa: E402
import plot        # noqa: E402
import records     # noqa: E402
import rivals      # noqa: E402
import rows        # noqa: E402
import showlib     # noqa: E402

ROWS = (1, 4, 16, 64, 512)
SLOW = 0.5


def measure(level):
    """What the table of a level is made of."""
    model = make_model.model(make_model.ALL_TYPES)
    text = rivals.run([showlib.SLUICE, "bench", model, "--roofline", "--batch",
                       ",".join(map(str, ROWS)), "--threads", showlib.n_cpus(), "--json"], level)
    limits, *rates = map(json.loads, text.splitlines())
    square = make_model.FORMATS.n_embd
    return {"level": limits["level"], "limits": limits, "commit": records.measured_commit(),
            "cpu": showlib.cpu_model(), "cpus": showlib.n_cpus(),
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "rates": [rate for rate in rates if rate.get("n_in") == rate.get("n_out") == square]}


def formats(table):
    """Format -> rows -> rate; the formats by their number in a file."""
    by_name = {}
    for rate in table["rates"]:
        by_name.setdefault(rate["type"], {})[rate["rows"]] = rate
    return dict(sorted(by_name.items(), key=lambda item: make_model.TYPES[item[0].lower()].number))


def cell(rate):
    if rate is None:
        return "-"
    speed = f"{rate['gbps']:.1f} GB/s" if rate["limit"] == "memory" else f"{rate['gops']:,.0f} GOP/s"
    return f"{speed}, {rate['share']:.0%}"


def slow_ones(table):
    """What is below half of its limit, by format."""
    found = []
    for name, rates in formats(table).items():
        slow = [f"{n} ({rate['share']:.0%})" for n, rate in rates.items() if rate["share"] < SLOW]
        if slow:
            found.append(f"{name} at {', '.join(slow)}")
    return found


def lines(table):
    """A table in Markdown."""
    limits, slow = table["limits"], slow_ones(table)
    return [f"Level {table['level']}, {table['cpus']} threads: reading {limits['read_gbps']:.1f} GB/s, "
            f"int8 {limits['int8_gops']:,.0f} GOP/s ({limits['scaled_gops']:,.0f} with scales), float32 {limits['f32_gops']:,.0f} GOP/s. "
            f"Commit {table['commit']}, {table['date'][:10]}.", "",
            "| format | computed in | " + " | ".join(f"{n} rows" if n > 1 else "1 row" for n in ROWS)
            + " |", "| --- | --- |" + " --- |" * len(ROWS),
            *(f"| {name} | {next(iter(rates.values()))['as']} | "
              + " | ".join(cell(rates.get(n)) for n in ROWS) + " |"
              for name, rates in formats(table).items()), "",
            f"Slow, below {SLOW:.0%} of the nearer limit, with so many rows: {'; '.join(slow)}."
            if slow else f"None is below {SLOW:.0%} of the nearer limit."]


def newest():
    """The last table of each level, by processor, the highest level first."""
    found = {}
    for path in sorted((BENCH / "results").glob("kernels-[0-9]*.json")):
        for table in json.loads(path.read_text()):
            found.setdefault(table["cpu"], {})[table["level"]] = table
    return {cpu: [levels[name] for name in reversed(rows.LEVELS) if name in levels]
            for cpu, levels in sorted(found.items())}


def write_page():
    """The kernel tables and plots of docs/performance.md, one block for each kind of processor."""
    path = ROOT / "docs" / "performance.md"
    page = path.read_text()
    for cpu, tables in newest().items():
        name, title = records.slug(cpu), f"{tables[0]['cpus']} x {cpu}"
        image = plot.write_kernels(tables[0], formats(tables[0]),
                                   ROOT / "docs" / "plots" / f"kernels-{name}.svg")
        block = [f"### Kernels, {title}", "",
                 f"![Parts of the limit that each format's product reaches](plots/{image.name})"]
        for table in tables:
            block += ["", *lines(table)]
        page = records.page_with(page, f"kernels of {name}", block)
    path.write_text(page)


def keep(tables):
    """Writes bench/results/kernels-DATE-CPU.json, where a level's table takes the place of one of the
    same day, and the page."""
    first = tables[0]
    path = BENCH / "results" / f"kernels-{first['date'][:10]}-{records.slug(first['cpu'])}.json"
    old = json.loads(path.read_text()) if path.exists() else []
    by_level = {table["level"]: table for table in [*old, *tables]}
    path.write_text(json.dumps(list(by_level.values()), indent=None).replace("}, {", "},\n{") + "\n")
    write_page()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("levels", nargs="*", metavar="LEVEL")
    parser.add_argument("--record", action="store_true")
    arguments = parser.parse_args()
    known = showlib.isa_levels()
    if unknown := set(arguments.levels) - set(known):
        parser.error(f"this processor has no level {min(unknown)}; it has {', '.join(known)}")
    tables = [measure(level) for level in arguments.levels or known[-1:]]
    for table in tables:
        print("\n".join(lines(table)), end="\n\n")
    if arguments.record:
        if any(table["commit"] is None for table in tables):
            showlib.say("not recorded: the measured code has changes that are not committed")
            return 1
        keep(tables)
    return 0


if __name__ == "__main__":
    showlib.end_children_with_us()
    sys.exit(main())
