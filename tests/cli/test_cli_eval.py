"""eval: perplexity and KL divergence from outside, interruptions, refusals."""

import fcntl
import json
import math
import os
import pathlib
import pty
import resource
import shutil
import signal
import subprocess
import time

import pytest

from conftest import (BINARY, ROOT, WAIT_S, misused, one_sentence, refused, sluice,
                      split_model)

SHARED = pathlib.Path(os.environ.get("SLUICE_SHARED") or ROOT.parent / "shared")
REAL = SHARED / "golden" / "real"
CHANGES = ("seconds", "tokens_per_second", "n_resumed")


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("".join(f"Line {i}: the quick brown fox <|im_end|> jumps, {i * i} times.\n"
                            for i in range(60)))
    return path


def evaluate(model, *args, **more):
    r = sluice("eval", model, "--json", *args, check=0, **more)
    assert r.err == "" and r.out.endswith(b"\n") and r.out.count(b"\n") == 1
    return json.loads(r.out)


def figures(o):
    return {k: v for k, v in o.items() if k not in CHANGES}


def test_form(tiny, text):
    o = evaluate(tiny, "--text", text, "--ctx", "64")
    assert o["n_chunks"] == o["n_tokens"] // 64 > 10
    assert o["n_scored"] == o["n_chunks"] * 31
    assert o["ppl"] == pytest.approx(math.exp(o["nll"])) and o["ppl_stderr"] > 0
    assert o["ctx"] == 64 and o["n_resumed"] == 0 and "kl_mean" not in o
    out = sluice("eval", tiny, "--text", text, "--ctx", "64", check=0).out.decode()
    assert f"{o['ppl']:.4f}" in out and "KL" not in out
    few = evaluate(tiny, "--text", text, "--ctx", "64", "--chunks", "2")
    assert few["n_scored"] == 62 and few["ppl"] != o["ppl"]
    whole = text.read_bytes()
    assert figures(evaluate(tiny, "--text", "-", "--ctx", "64", text=whole)) == figures(o)
    # One newline at the end is not part of the text; its tokens are those of plain text.
    bare = figures(evaluate(tiny, "--text", "-", "--ctx", "64", text=whole.removesuffix(b"\n")))
    assert bare == figures(o)
    ids = json.loads(sluice("tokenize", tiny, text=whole.removesuffix(b"\n"), check=0).out)
    assert o["n_tokens"] in (len(ids), len(ids) + 1) and 2 not in ids


def test_any_batch_and_threads(tiny, text):
    first = figures(evaluate(tiny, "--text", text, "--ctx", "100"))
    for more in (["--batch", "1"], ["--batch", "3", "--threads", "1"], ["--batch", "4000"]):
        assert figures(evaluate(tiny, "--text", text, "--ctx", "100", *more)) == first
    assert figures(evaluate(tiny, "--text", text, "--ctx", "100", "--exact"))["ppl"] == \
        pytest.approx(first["ppl"], rel=0.05)


def test_base(tiny, text, tmp_path):
    common = ["--text", text, "--ctx", "64"]
    saved = evaluate(tiny, *common, "--exact", "--save-logits", tmp_path / "base")
    same = evaluate(tiny, *common, "--exact", "--kl-base", tmp_path / "base")
    assert same["kl_mean"] < 2e-8 and same["kl_max"] < 1e-7 and same["top1_same"] == 1
    assert same["delta_p_max"] < 1e-6 and same["base_ppl"] == pytest.approx(saved["ppl"], rel=1e-6)
    other = evaluate(tiny, *common, "--kl-base", tmp_path / "base")
    assert same["kl_mean"] < other["kl_mean"] <= other["kl_p99"] <= other["kl_max"] < 0.1
    assert "KL divergence" in sluice("eval", tiny, *common, "--kl-base", tmp_path / "base",
                                     check=0).out.decode()
    refused(sluice("eval", tiny, "--text", text, "--ctx", "62", "--kl-base", tmp_path / "base"),
            "--ctx", "64")
    refused(sluice("eval", tiny, *common, "--kl-base", BINARY), BINARY, "not a base")
    refused(sluice("eval", tiny, *common, "--kl-base", tmp_path / "none"), "none")


def test_killed_and_resumed(tiny, text, tmp_path):
    common = ["--text", text, "--ctx", "64", "--batch", "1"]
    whole = evaluate(tiny, *common, "--exact", "--save-logits", tmp_path / "a")
    state = tmp_path / "state"
    command = [BINARY, "eval", tiny, *common, "--exact", "--threads", "1", "--save-logits",
               tmp_path / "b", "--resume", state]
    p = subprocess.Popen([str(x) for x in command], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE)
    deadline = time.monotonic() + WAIT_S
    while p.poll() is None and time.monotonic() < deadline and \
            not (state.exists() and state.stat().st_size > 100):
        time.sleep(0.001)
    p.kill()
    p.communicate(timeout=WAIT_S)
    resumed = evaluate(tiny, *common, "--exact", "--save-logits", tmp_path / "b", "--resume", state)
    assert resumed["n_resumed"] >= 1
    assert figures(resumed) == figures(whole)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    refused(sluice("eval", tiny, *common, "--resume", state), state, "--resume")  # not --exact
    other = tmp_path / "other"
    other.write_bytes(bytes(1000))
    refused(sluice("eval", tiny, *common, "--resume", other), other, "--resume")
    assert other.read_bytes() == bytes(1000)


def test_state_in_use(tiny, text, tmp_path):
    common = ["--text", text, "--ctx", "64", "--chunks", "2", "--resume", tmp_path / "state"]
    whole = evaluate(tiny, *common)
    before = (tmp_path / "state").read_bytes()
    with open(tmp_path / "state", "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        refused(sluice("eval", tiny, *common), tmp_path / "state", "in use", "--resume")
    assert (tmp_path / "state").read_bytes() == before
    assert figures(evaluate(tiny, *common)) == figures(whole)


@pytest.mark.parametrize("keep", [False, True])
def test_interrupted(tiny, text, tmp_path, keep):
    more = ["--resume", tmp_path / "state"] if keep else []
    many = tmp_path / "many.txt"
    many.write_bytes(text.read_bytes() * 100)
    command = [BINARY, "eval", tiny, "--text", many, "--exact", "--ctx", "512", "--batch", "1",
               "--save-logits", tmp_path / "base", *more]
    p = subprocess.Popen([str(x) for x in command], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, env={**os.environ, "SLUICE_CPU_MASK": "ref"})
    deadline = time.monotonic() + WAIT_S
    while p.poll() is None and time.monotonic() < deadline and not (tmp_path / "base").exists():
        time.sleep(0.001)
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=WAIT_S)
    assert p.returncode == 130 and out == b""
    assert (tmp_path / "base").exists() == keep, "what cannot be resumed is not left behind"
    if keep:
        one_sentence(err.decode(), "interrupted", tmp_path / "state")
    else:
        assert err == b""


def test_progress_on_a_terminal(tiny, text):
    master, slave = pty.openpty()
    many = text.read_bytes() * 50
    p = subprocess.Popen([str(BINARY), "eval", str(tiny), "--text", "-", "--ctx", "64", "--exact"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=slave)
    os.close(slave)
    out, _ = p.communicate(many, timeout=WAIT_S)
    shown = b""
    try:
        while block := os.read(master, 65536):
            shown += block
    except OSError:  # the other end is closed
        pass
    os.close(master)
    assert p.returncode == 0 and b"perplexity" in out
    assert b"chunks, ppl" in shown and b"tokens/s" in shown and b"left" in shown
    assert b"\x1b" not in shown


def test_refuses(tiny, text, tmp_path):
    misused(sluice("eval", tiny), "--text")
    misused(sluice("eval", tiny, "--text", text, "--ctx", "3"), "--ctx")
    misused(sluice("eval", tiny, "--text", text, "--batch", "0"), "--batch")
    misused(sluice("eval", tiny, "--text", text, "--kl-base", text), "--kl-base", "--text")
    refused(sluice("eval", tiny, "--text", tmp_path / "none"), "none")
    refused(sluice("eval", tiny, "--text", tmp_path), tmp_path)
    refused(sluice("eval", tiny, "--text", text, "--ctx", "16385"), "--ctx", "16384")
    refused(sluice("eval", tiny, "--text", "-", text="short"), "--text", "512")
    refused(sluice("eval", tiny, "--text", "-", text=""), "--text")
    refused(sluice("eval", tiny, "--text", text, "--save-logits", tmp_path / "no" / "x"), "no/x")
    refused(sluice("eval", tiny, "--text", text, "--save-logits", "/dev/full"), "/dev/full")
    refused(sluice("eval", tiny, "--text", text, "--resume", tmp_path), tmp_path)
    for device in ("/dev/null", "/dev/full"):
        refused(sluice("eval", tiny, "--text", text, "--resume", device), device, "not a regular file")
    refused(sluice("eval", tiny, "--text", text, "--kv-memory", "1K"), "--kv-memory")
    refused(sluice("eval", tiny, "--text", text, "--ctx", "64", "--batch", "9", "--kv-memory", "64K"),
            "--kv-memory", "--batch")


@pytest.mark.parametrize("flag, victim", [
    ("--save-logits", "model"), ("--resume", "model"), ("--save-logits", "text"),
    ("--resume", "text"), ("--save-logits", "base")])
def test_spares_what_it_reads(tiny, text, tmp_path, flag, victim):
    """However the file is called: a link to it, or a way around."""
    model, book, base = (tmp_path / name for name in ("model", "text", "base"))
    shutil.copy(tiny, model)
    shutil.copy(text, book)
    common = ["--text", book, "--ctx", "64", "--chunks", "2"]
    evaluate(model, *common, "--save-logits", base)
    before = (tmp_path / victim).read_bytes()
    (tmp_path / "link").symlink_to(victim)
    (tmp_path / "folder").mkdir()
    for name in ("link", f"folder/../{victim}", f"./{victim}"):
        misused(sluice("eval", model, *common, "--kl-base", base, flag, f"{tmp_path}/{name}"),
                flag, "same file")
    assert (tmp_path / victim).read_bytes() == before
    # Nor may its two files be one that is yet to be made.
    misused(sluice("eval", model, *common, "--save-logits", "new", "--resume", "./new",
                   cwd=tmp_path), "--resume", "same file")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("flag", ["--save-logits", "--resume"])
def test_spares_all_parts_of_a_model(tiny, text, tmp_path, flag):
    first, second = split_model(tiny, tmp_path)
    before = second.read_bytes()
    (tmp_path / "link").symlink_to(second.name)
    for out in (second, tmp_path / "link"):
        refused(sluice("eval", first, "--text", text, "--ctx", "64", "--chunks", "2", flag, out),
                flag, out.name, "model itself")
    assert second.read_bytes() == before


def test_full_disk(tiny, text, tmp_path):
    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
    refused(sluice("eval", tiny, "--text", text, "--ctx", "64", "--save-logits", tmp_path / "base",
                   preexec_fn=small_files), tmp_path / "base", "too large")
    assert not (tmp_path / "base").exists()


@pytest.mark.skipif(not REAL.is_dir(), reason="no shared reference data")
def test_reference_perplexity(smollm2, tmp_path):
    golden = json.loads((REAL / "smollm2.json").read_text())["perplexity"]
    text, base = REAL / golden["text_file"], tmp_path / "exact.lp"
    exact = evaluate(smollm2, "--text", text, "--chunks", "2", "--exact", "--save-logits", base)
    assert exact["ppl"] == pytest.approx(golden["f32"]["cumulative"][1], rel=1e-4)
    # Rounded activations move the perplexity of two chunks by some tenths of a percent either way,
    # whatever the order of a sum is; the divergence does not depend on such luck.
    fast = evaluate(smollm2, "--text", text, "--chunks", "2", "--kl-base", base)
    assert fast["ppl"] == pytest.approx(exact["ppl"], rel=0.01)
    assert fast["kl_mean"] < 0.004
