"""Ctrl-C, terminals, and model files that change while they are in use."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import time

import pytest

from conftest import BINARY, WAIT_S, one_sentence

# Slow enough to be caught in the middle: the plain C kernels and a long answer.
SLOW = {**os.environ, "SLUICE_CPU_MASK": "ref"}
LONG = ["--raw", "-p", "Hi", "-n", "16000", "--ctx", "16384", "--ignore-eos", "--threads", "1",
        "--exact"]


def start(*args, env=None, **more):
    return subprocess.Popen([BINARY, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            env=env or SLOW, **more)


def read_all(p):
    out, err = p.communicate(timeout=WAIT_S)
    return out, err.decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_answer(tiny, number):
    p = start("run", tiny, *LONG)
    first = p.stdout.read(1)
    p.send_signal(number)
    out, err = read_all(p)
    assert p.returncode == 130
    assert first and out.endswith(b"\n")
    assert "generated" in err and err.count("\n") == 1


def test_interrupted_json(tiny):
    p = start("run", tiny, *LONG, "--json")
    time.sleep(0.3)  # most likely it generates by now; whatever it does, the end is the same
    p.send_signal(signal.SIGINT)
    out, err = read_all(p)
    assert p.returncode == 130 and err == ""
    if out:
        o = json.loads(out)
        assert o["finish_reason"] == "cancelled"
        assert o["timings"]["gen_n"] == len(o["ids"]) < 16000


def test_interrupted_twice(tiny):
    p = start("run", tiny, *LONG)
    p.stdout.read(1)
    p.send_signal(signal.SIGINT)
    p.send_signal(signal.SIGINT)
    read_all(p)
    assert p.returncode == 130


def test_interrupted_while_nobody_reads(tiny):
    """The pipe is full, the write waits: the signal must still be heard."""
    p = start("run", tiny, *LONG, env=os.environ)
    p.stdout.read(1)
    time.sleep(0.5)
    p.send_signal(signal.SIGINT)
    assert p.wait(WAIT_S) == 130
    read_all(p)


def test_interrupted_while_waiting_for_a_prompt(tiny):
    read, write = os.pipe()
    p = start("run", tiny, "-f", "-", stdin=read)
    time.sleep(0.2)
    p.send_signal(signal.SIGINT)
    assert p.wait(WAIT_S) in (130, -signal.SIGINT)
    assert read_all(p) == (b"", "")
    os.close(read)
    os.close(write)


def catches(p, number):
    """Whether the process has a handler for the signal."""
    status = open(f"/proc/{p.pid}/status").read()
    mask = re.search(r"^SigCgt:\s*(\w+)", status, re.M)
    return mask is not None and int(mask[1], 16) >> (number - 1) & 1 == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_without_anything_to_finish(tiny, number):
    read, write = os.pipe()
    p = start("tokenize", tiny, stdin=read)
    deadline = time.monotonic() + WAIT_S
    while not catches(p, number) and time.monotonic() < deadline:
        time.sleep(0.001)
    p.send_signal(number)
    assert p.wait(WAIT_S) == 130
    assert read_all(p) == (b"", "")
    os.close(read)
    os.close(write)


def test_interrupted_bench(tiny):
    p = start("bench", tiny, "--prompt", "512", "--gen", "512", "--reps", "1000", "--json")
    time.sleep(0.2)
    p.send_signal(signal.SIGINT)
    assert p.wait(WAIT_S) in (130, -signal.SIGINT)
    out, err = read_all(p)
    assert out == b"" and err == ""


def test_interrupted_logits(tiny, tmp_path):
    out = tmp_path / "rows"
    ids = ",".join(["7"] * 16000)
    p = start("logits", tiny, "--ids", ids, "--out", out)
    deadline = time.monotonic() + WAIT_S
    while not (out.exists() and out.stat().st_size > 0) and time.monotonic() < deadline:
        time.sleep(0.005)
    p.send_signal(signal.SIGINT)
    assert p.wait(WAIT_S) == 130
    read_all(p)
    assert not out.exists(), "a part of the rows is no result"


def on_terminal(args, at_text=None, then=None):
    """Runs on a pseudo-terminal: what was written to it, and the exit code. Calls then(pid) once
    at_text was seen."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execv(BINARY, [str(BINARY), *map(str, args)])
    seen = b""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if not select.select([fd], [], [], 1)[0]:
            continue
        try:
            new = os.read(fd, 65536)
        except OSError:
            break
        if not new:
            break
        seen += new
        if at_text and at_text in seen:
            then(pid)
            at_text = None
    os.close(fd)
    return seen, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_terminal(smollm2):
    seen, code = on_terminal(["run", smollm2, "-p", "Say hello.", "-n", "8", "--temp", "0"])
    assert code == 0 and b"tokens/s" in seen
    assert b"\x1b" not in seen, "no escape sequences are needed"
    if b"packing" in seen:  # a load that took a while
        progress = seen[:seen.rindex(b"packing") + 80]
        assert progress.count(b"\r") >= 2 and b"%" in progress
    quiet, code = on_terminal(["run", smollm2, "-p", "Say hello.", "-n", "8", "--temp", "0", "-q"])
    assert code == 0 and b"packing" not in quiet and b"tokens/s" not in quiet


def test_no_progress_without_terminal(smollm2):
    p = start("run", smollm2, "-p", "Say hello.", "-n", "2", env=os.environ)
    out, err = read_all(p)
    assert p.returncode == 0 and "packing" not in err and "\r" not in err


def test_interrupted_load(smollm2):
    sent = []

    def interrupt(pid):
        sent.append(pid)
        os.kill(pid, signal.SIGINT)
    seen, code = on_terminal(["run", smollm2, "-p", "Count to 1000.", "-n", "500"], b"packing", interrupt)
    if not sent:
        pytest.skip("the load was over before its progress was shown")
    assert code == 130


def copy_of(model, tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(model.read_bytes())
    return path


@pytest.mark.parametrize("size", [0, 1, 4096, 8192, 100000, -4096, -1])
def test_file_that_shrinks(tiny, tmp_path, size):
    path = copy_of(tiny, tmp_path)
    p = start("run", path, *LONG)
    assert p.stdout.read(1)
    os.truncate(path, size if size >= 0 else path.stat().st_size + size)
    out, err = read_all(p)
    assert p.returncode == 1, err
    assert out.endswith(b"\n")
    one_sentence(err, path)


def test_file_that_shrinks_with_json(tiny, tmp_path):
    path = copy_of(tiny, tmp_path)
    p = start("run", path, *LONG, "--json")
    time.sleep(0.3)
    os.truncate(path, 4096)
    out, err = read_all(p)
    assert p.returncode == 1 and out == b""
    one_sentence(err, path)


def test_file_that_is_written_to(tiny, tmp_path):
    path = copy_of(tiny, tmp_path)
    p = start("run", path, *LONG)
    assert p.stdout.read(1)
    with open(path, "r+b") as f:
        f.seek(200000)
        f.write(b"\0" * 5000)
    out, err = read_all(p)
    assert p.returncode == 1
    one_sentence(err, path)


def test_file_that_is_replaced(tiny, tmp_path):
    """As package managers and model tools do it: the old file lives on."""
    path = copy_of(tiny, tmp_path)
    p = start("run", path, "--raw", "-p", "Hi", "-n", "1500", "--ignore-eos", "--threads", "1", "--exact")
    assert p.stdout.read(1)
    other = tmp_path / "new"
    other.write_bytes(b"GGUF")
    other.rename(path)
    out, err = read_all(p)
    assert p.returncode == 0, err
    one_more = start("run", path, "-p", "Hi")
    assert one_more.wait(WAIT_S) == 1
    read_all(one_more)


def test_server_without_standard_output(tiny):
    """Nobody reads which port it is: it is said, and served all the same."""
    with open("/dev/full", "wb") as full:
        p = subprocess.Popen([BINARY, "serve", tiny, "--port", "0", "--quiet"], stdout=full,
                             stderr=subprocess.PIPE, text=True)
    one_sentence(p.stderr.readline(), "sluice serve", "standard output", "No space")
    p.send_signal(signal.SIGTERM)
    assert p.wait(WAIT_S) == 0
    assert p.stderr.read() == ""
    p.stderr.close()
