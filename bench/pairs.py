"""Paired, interleaved runs of two sides: the state of the machine around them, which pairs count, and
what the kept ratios say. docs/performance.md explains the rules. Standard library only."""

import collections
import hashlib
import math
import os
import pathlib
import resource
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tools" / "show.d"))

import showlib  # noqa: E402

TRIES_FACTOR = 2             # at most so many times the pairs are tried
CONFIDENCE = 0.95
CALIBRATION_CHANGE = 0.20    # more between before and after a pair: the pair is discarded
STEAL_SHARE = 0.05           # of the processors' time during a pair: likewise
OTHERS_SHARE = 0.05          # used by other processes, median of the pairs: a busy machine


def median(values):
    values = sorted(values)
    half = len(values) // 2
    return values[half] if len(values) % 2 else (values[half - 1] + values[half]) / 2


# --- the machine -----------------------------------------------------------------------------

CpuTimes = collections.namedtuple("CpuTimes", "busy steal total ours")


def cpu_times(text=None, more_s=0.0):
    """Of all processors since the start: seconds of work, stolen, altogether; and of our children, of
    which those that live on have taken more_s."""
    if text is None:
        text = pathlib.Path("/proc/stat").read_text()
    user, nice, system, idle, iowait, irq, softirq, steal = map(int, text.split("\n")[0].split()[1:9])
    tick = os.sysconf("SC_CLK_TCK")
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    busy = user + nice + system + irq + softirq
    return CpuTimes(busy / tick, steal / tick, (busy + idle + iowait + steal) / tick,
                    more_s + sum(usage.ru_utime + usage.ru_stime for usage in used))


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

def one_pair(sides, order, more_cpu_s=lambda: 0.0):
    """Runs both sides, each a function that returns a speed, in this order. more_cpu_s: seconds of
    processes of ours that outlive a run."""
    before, times = calibrate(), cpu_times(more_s=more_cpu_s())
    tps = {side: sides[side]() for side in order}
    (steal, others), after = shares(times, cpu_times(more_s=more_cpu_s())), calibrate()
    return {"order": "".join(order), "ours": tps["A"], "theirs": tps["B"],
            "calibration_s": [round(before, 4), round(after, 4)], "steal": round(steal, 4),
            "others": round(others, 4), "discarded": why_discarded(before, after, steal)}


def measure_pairs(name, sides, n_pairs, more_cpu_s=lambda: 0.0):
    pairs = []
    while sum(pair["discarded"] is None for pair in pairs) < n_pairs and \
            len(pairs) < TRIES_FACTOR * n_pairs:
        pairs.append(one_pair(sides, ("A", "B") if len(pairs) % 2 == 0 else ("B", "A"),
                              more_cpu_s))
        last = pairs[-1]
        showlib.say(f"{name}: pair {len(pairs)} {last['order']}: {last['ours']:.1f} / "
                    f"{last['theirs']:.1f} = {last['ours'] / last['theirs']:.3f}"
                    + (f", discarded: {last['discarded']}" if last["discarded"] else ""))
    return pairs
