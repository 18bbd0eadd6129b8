"""Model files that are wrong: each is refused with one sentence, quickly and in little memory.

A sample of the files by default; SLUICE_ALL_CASES=1 runs all. SLUICE_NO_LIMITS=1 takes the limits of
memory and time away, for programs that were built with sanitizers."""

import os
import subprocess
import time

import pytest

import gguf_edit
import malformed
from conftest import BINARY, GOLDEN, NO_LIMITS, one_sentence

ALL = os.environ.get("SLUICE_ALL_CASES", "") not in ("", "0")
MEMORY_MAX_MB = 200
TIME_MAX_S = 2.0
SAMPLED = 60
FLIPPED = 300

PATHS = {"q4_1": GOLDEN / "quant" / "llama-quant.Q4_1.gguf",
         "q4_k": GOLDEN / "quant" / "llama-quant.Q4_K_M.gguf",
         "yarn": GOLDEN / "arch" / "llama-rope-yarn" / "llama-rope-yarn.f16.gguf"}


def load_bases():
    out = []
    for name, path in PATHS.items():
        data = path.read_bytes()
        f = gguf_edit.File(data)
        assert f.bytes() == data, "what is taken apart goes together again"
        out.append((name, f, data))
    return out


def sample(cases, n):
    cases = list(cases)
    step = max(1, len(cases) // n)
    return cases if ALL else cases[::step]


def run(path):
    """(exit code, stdout, stderr, resident MB, seconds)"""
    began = time.monotonic()
    p = subprocess.Popen([BINARY, "run", path, "--ids", "1,2,3", "-n", "2", "--threads", "1", "--json"],
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with p.stdout, p.stderr:
        out, err = p.stdout.read(), p.stderr.read()
    _, status, usage = os.wait4(p.pid, 0)
    p.returncode = os.waitstatus_to_exitcode(status)
    return p.returncode, out, err.decode(), usage.ru_maxrss / 1024, time.monotonic() - began


def judge(path, codes, seconds=TIME_MAX_S):
    code, out, err, memory_mb, took_s = run(path)
    assert code in codes, f"exit code {code}; {err}"
    if code == 1:
        assert out == b""
        one_sentence(err, path)
    if not NO_LIMITS:
        assert memory_mb < MEMORY_MAX_MB
        # Processor time would be fairer to a busy machine, but a wait must be seen too: once more.
        assert took_s < seconds or run(path)[4] < seconds


BASES = load_bases()
CASES = sample(malformed.cases(BASES), SAMPLED)
FLIPS = sample(malformed.flips(BASES, FLIPPED), SAMPLED // 4)


def test_number_of_cases():
    assert len({name for name, _ in malformed.cases(BASES)}) >= 300
    names = [name for name, _ in malformed.cases(BASES)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name, make", CASES, ids=[name for name, _ in CASES])
def test_refused(name, make, tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(make())
    judge(path, (1,))


@pytest.mark.parametrize("name, make", FLIPS, ids=[name for name, _ in FLIPS])
def test_wrong_bytes(name, make, tmp_path):
    """May still be a usable model."""
    path = tmp_path / "model.gguf"
    path.write_bytes(make())
    judge(path, (0, 1))
