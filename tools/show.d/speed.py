"""What issue "Speed" said must be shown: the rows of bench/compare.py, each against llama.cpp. A line
passes when the lower bound of the median ratio reaches the row's target."""

import sys

import showlib
from showlib import NotHere, line

sys.path.insert(0, str(showlib.ROOT / "bench"))

import compare  # noqa: E402


def add(work):
    @line(work.name, f"{work.title}: at least {work.target:g} x llama.cpp's speed, lower 95 % bound")
    def one():
        result = compare.measure(work)
        if result["lower_bound"] is None:
            raise NotHere(f"too noisy a machine: {result['pairs']} pairs of "
                          f"{result['pairs'] + result['discarded']} count")
        return compare.figure(result), result["lower_bound"] >= work.target


for each in compare.ROWS:
    add(each)
