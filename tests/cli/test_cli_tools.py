"""logits, bench and inspect."""

import base64
import json
import os
import resource
import shutil
import struct

import pytest

from conftest import NO_LIMITS, misused, one_sentence, refused, sluice, split_model


def floats(data):
    return struct.unpack(f"<{len(data) // 4}f", data)


def logits(model, ids, path, *flags):
    r = sluice("logits", model, "--ids", ",".join(map(str, ids)), "--out", path, *flags, check=0)
    assert r.out == b"" and r.err == ""
    return floats(path.read_bytes())


def far(a, b):
    assert len(a) == len(b)
    return max(abs(x - y) for x, y in zip(a, b))


def test_logits_are_the_reference(goldens, tmp_path):
    for model, golden in goldens:
        for case in golden["cases"]:
            n_vocab = golden["vocab_size"]
            want = floats(base64.b64decode(case["last_logits_b64"]))
            last = logits(model, case["prompt"], tmp_path / "last", "--last")
            assert len(last) == n_vocab and far(last, want) < 1e-3
            rows = logits(model, case["prompt"], tmp_path / "rows")
            assert len(rows) == n_vocab * len(case["prompt"])
            assert rows[-n_vocab:] == last
            if "top5_ids" in case and len(case["top5_ids"]) == len(case["prompt"]):
                for i, top in enumerate(case["top5_ids"]):
                    row = rows[i * n_vocab:(i + 1) * n_vocab]
                    best = case["top5_logits"][i]
                    assert far([row[t] for t in top], best) < 1e-3 + 1e-5


def test_logits_modes(quant_model, tmp_path):
    ids = list(range(20, 90))
    exact = logits(quant_model, ids, tmp_path / "a")
    assert exact == logits(quant_model, ids, tmp_path / "b", "--exact", "--threads", "1")
    fast = logits(quant_model, ids, tmp_path / "c", "--no-exact")
    assert 0 < far(exact, fast) < 1.0
    logits(quant_model, ids, tmp_path / "d", "--no-exact", "--kv-type", "f32", "--batch-invariant")
    r = sluice("logits", quant_model, "--ids", ",".join(map(str, ids)), "--out", "-", check=0)
    assert floats(r.out) == exact
    # What was there is replaced.
    (tmp_path / "a").write_bytes(b"x" * 10000000)
    assert logits(quant_model, [1], tmp_path / "a", "--last") == \
        logits(quant_model, [1], tmp_path / "e")


def test_logits_long(tiny, tmp_path):
    """More rows than a step takes, and than are held at a time."""
    ids = [(i * 7) % 300 for i in range(1500)]
    rows = logits(tiny, ids, tmp_path / "a")
    assert len(rows) == 1500 * 300
    last = logits(tiny, ids, tmp_path / "b", "--last")
    assert far(rows[-300:], last) == 0
    some = logits(tiny, ids[:700], tmp_path / "c", "--last")
    assert far(rows[699 * 300:700 * 300], some) < 1e-4


def test_logits_any_chunk(quant_model, tmp_path):
    ids = list(range(20, 90))
    for mode in ("--exact", "--no-exact"):
        flags = (mode, "--batch-invariant")
        whole = logits(quant_model, ids, tmp_path / "a", *flags)
        for chunk in ("1", "7", "64"):
            assert logits(quant_model, ids, tmp_path / "b", *flags, "--chunk", chunk) == whole
    misused(sluice("logits", quant_model, "--ids", "1", "--out", "x", "--chunk", "0"), "--chunk")


def test_logits_refuses(quant_model, tmp_path):
    out = tmp_path / "out"
    refused(sluice("logits", quant_model, "--ids", "1,512", "--out", out), "--ids", "512", "511")
    many = ",".join(["1"] * 513)
    refused(sluice("logits", quant_model, "--ids", many, "--out", out), "513", "512")
    assert not out.exists(), "a refused request makes no file"
    refused(sluice("logits", quant_model, "--ids", "1", "--out", tmp_path), tmp_path)
    refused(sluice("logits", quant_model, "--ids", "1", "--out", tmp_path / "no" / "out"), "no/out")
    refused(sluice("logits", quant_model, "--ids", "1", "--out", "/dev/full"), "/dev/full", "No space")


def test_logits_spares_the_model(quant_model, tmp_path):
    model = tmp_path / "model"
    shutil.copy(quant_model, model)
    (tmp_path / "link").symlink_to("model")
    for out in (model, tmp_path / "link", f"{tmp_path}/./model"):
        misused(sluice("logits", model, "--ids", "1", "--out", out), "--out", "same file")
    assert model.read_bytes() == quant_model.read_bytes()


def test_logits_spares_all_parts_of_a_model(quant_model, tmp_path):
    first, second = split_model(quant_model, tmp_path)
    before = second.read_bytes()
    (tmp_path / "link").symlink_to(second.name)
    (tmp_path / "twin").hardlink_to(second)
    for out in (second, tmp_path / "link", tmp_path / "twin"):
        refused(sluice("logits", first, "--ids", "1", "--out", out), "--out", out.name, "model itself")
    assert second.read_bytes() == before
    assert logits(first, [1], tmp_path / "a") == logits(quant_model, [1], tmp_path / "b")


def test_logits_leaves_no_partial_file(quant_model, tmp_path):
    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    out = tmp_path / "out"
    refused(sluice("logits", quant_model, "--ids", ",".join(["1"] * 100), "--out", out,
                   preexec_fn=small_files), out, "too large")
    assert not out.exists()


def bench(model, *flags):
    r = sluice("bench", model, "--json", *flags, check=0)
    assert r.err == ""
    return [json.loads(line) for line in r.out.decode().splitlines()]


def test_bench_form_of_the_issue(tiny):
    cases = bench(tiny, "--prompt", "64", "--gen", "8", "--batch", "1,8,32", "--depth", "0,256",
                  "--threads", "2", "--reps", "2")
    assert [(c["batch"], c["depth"]) for c in cases] == [(b, d) for d in (0, 256) for b in (1, 8, 32)]
    for c in cases:
        assert list(c) == ["batch", "depth", "prompt", "gen", "prompt_tps", "gen_tps"]
        assert c["prompt"] == 64 and c["gen"] == 8
        assert c["prompt_tps"] > 0 and c["gen_tps"] > 0


def test_bench_parts(tiny):
    few = ["--reps", "1", "--batch", "2"]
    assert bench(tiny, "--prompt", "0", "--gen", "4", *few)[0]["prompt_tps"] == 0
    assert bench(tiny, "--prompt", "4", "--gen", "0", *few)[0]["gen_tps"] == 0
    assert bench(tiny, "--prompt", "1", "--gen", "1", "--reps", "1", "--batch", "600")[0]["batch"] == 600
    text = sluice("bench", tiny, "--prompt", "4", "--gen", "2", *few, check=0).out.decode()
    lines = text.splitlines()
    assert len(lines) == 2 and len(lines[0]) == len(lines[1])


def test_bench_calibrate(tiny, tmp_path):
    cache = tmp_path / "a" / "b"
    [o] = bench(tiny, "--calibrate", "--threads", "2", "--packed-cache", cache)
    assert list(o) == ["threads", "rows", "head_s", "logits_s", "decode_s", "prefill_s", "check", "disturbed"]
    assert o["threads"] == 2  # as asked for
    assert [p["rows"] for p in o["rows"]] == [2 ** i for i in range(10)]
    seconds = [p["seconds"] for p in o["rows"]]
    assert seconds == sorted(seconds) and seconds[0] > 0
    assert all(o[name] >= 0 for name in ("head_s", "logits_s", "decode_s", "prefill_s")) and o["check"] > 0
    kept = list(cache.glob("*.calibration"))
    assert len(kept) == (0 if o["disturbed"] else 1)  # by the tests beside this one
    for path in kept:
        assert path.read_text().startswith("sluice calibration 1\nthreads 2\n")
    text = sluice("bench", tiny, "--calibrate", "--packed-cache", "off", check=0).out.decode()
    assert "best number of threads: " in text and len(text.splitlines()) == 16 + ("Other programs" in text)
    assert list(cache.glob("*.calibration")) == kept


def test_calibration_that_cannot_be_kept(tiny, tmp_path):
    (tmp_path / "file").write_text("")
    for _ in range(20):
        r = sluice("bench", tiny, "--calibrate", "--packed-cache", tmp_path / "file")
        if b"are not kept" not in r.out:
            break
    assert b"best number of threads" in r.out  # what was measured is not lost
    if b"are not kept" in r.out:  # other programs disturbed it: nothing is written
        assert r.code == 0 and ".calibration" not in r.err
    else:
        assert r.code == 1
        one_sentence(r.err.splitlines(True)[-1], tmp_path / "file", ".calibration")


def test_a_kept_number_of_threads_is_used(tiny, tmp_path):
    """run takes it, unless it is told how many."""
    sluice("bench", tiny, "--calibrate", "--packed-cache", tmp_path, check=0)
    answers = {sluice("run", tiny, "--ids", "5,6,7", "-n", "20", "-q", "--packed-cache", cache, *flags, check=0).out
               for cache in (tmp_path, "off") for flags in ((), ("--threads", "1"))}
    assert len(answers) == 1


def test_bench_refuses(tiny):
    refused(sluice("bench", tiny, "--depth", "20000"), "--depth", "16384")
    refused(sluice("bench", tiny, "--prompt", "16384", "--gen", "1"), "16385", "16384")
    refused(sluice("bench", tiny, "--kv-memory", "1K"), "--kv-memory")
    refused(sluice("bench", tiny, "--batch", "8", "--kv-memory", "100K"), "--kv-memory")
    refused(sluice("bench", tiny, "--batch", "65536", "--prompt", "16000", "--gen", "1"), "memory")


def test_inspect(tiny, goldens):
    for model in [tiny] + [m for m, _ in goldens]:
        o = json.loads(sluice("inspect", model, "--json", check=0).out)
        assert o["runs"] is True and o["file"] == str(model) and o["eog"]
        assert o["file_bytes"] == os.path.getsize(model)
        assert sum(t["bytes"] for t in o["tensors"]) == o["memory"]["total"]["bytes"]
        text = sluice("inspect", model, check=0).out.decode()
        assert str(model) in text and "Generation ends at" in text and "\nPlan\n" not in text
        plan = sluice("inspect", model, "--plan", check=0).out.decode()
        assert plan.startswith(text[:-1]) and "\nPlan\n" in plan
        with_plan = json.loads(sluice("inspect", model, "--json", "--plan", check=0).out)
        assert with_plan["plan"] and {k: v for k, v in with_plan.items() if k != "plan"} == o


@pytest.mark.skipif(NO_LIMITS, reason="sanitizers need address space")
@pytest.mark.parametrize("limit_mb", [24, 48, 96, 160])
def test_little_memory(smollm2, limit_mb):
    """Address space that does not suffice is a sentence, not a crash."""
    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (limit_mb << 20, limit_mb << 20))
    for args in (["run", smollm2, "-p", "x", "-n", "2"], ["bench", smollm2, "--prompt", "4"]):
        r = sluice(*args, preexec_fn=limit)
        if r.code != 0:
            refused(r)
