"""What issue "Speed" said must be shown: the rows of bench/compare.py, each against llama.cpp. A line
passes when the lower bound of the median ratio reaches the row's target."""

import sys

import showlib
from showlib import NotHere, line

sys.path.insert(0, str(showlib.ROOT / "bench"))

import cold_start  # noqa: E402
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


@line(cold_start.NAME, f"{cold_start.TITLE}: at most {1 / cold_start.TARGET:g} x llama.cpp's time, upper 95 % "
      "bound")
def first_token():
    result = cold_start.measure()
    if result["lower_bound"] is None:
        raise NotHere(f"too noisy a machine: {result['pairs']} pairs of "
                      f"{result['pairs'] + result['discarded']} count")
    return cold_start.figure(result), result["lower_bound"] >= cold_start.TARGET
