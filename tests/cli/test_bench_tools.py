"""bench/: random models that the program runs, and what is made of measurements."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree

import pytest

from conftest import ROOT, run_json, sluice

sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "tools" / "show.d")]

import accuracy      # noqa: E402
import compare       # noqa: E402
import kernel_table  # noqa: E402
import limits        # noqa: E402
import make_model    # noqa: E402
import pairs         # noqa: E402
import plot          # noqa: E402
import records       # noqa: E402
import rivals        # noqa: E402
import rows          # noqa: E402

TINY = [name for name in make_model.NAMES if name.startswith("tiny")]


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("random")
    return {name: make_model.model(name, folder) for name in TINY}


@pytest.fixture
def desk(tmp_path, monkeypatch):
    (tmp_path / "results").mkdir()
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "performance.md").write_text("# Speed\n\nText.\n")
    monkeypatch.setattr(records, "BENCH", tmp_path)
    monkeypatch.setattr(records, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", TINY)
def test_model_runs(models, name, tmp_path):
    answer = run_json(models[name], "--ids", "1,2,3,4", "-n", "4", "--ignore-eos")
    assert len(answer["ids"]) == 4
    # Weights of variance 1 / inputs give logits of the size of a normed row, in every mode.
    rows = []
    for mode in ([], ["--exact"]):
        out = tmp_path / "rows"
        sluice("logits", models[name], "--ids", "1,2,3,4", "--last", *mode, "--out", out, check=0)
        rows.append(compare.showlib.floats(out.read_bytes()))
        deviation = (sum(x * x for x in rows[-1]) / len(rows[-1])) ** 0.5
        assert 0.3 < deviation < 3
    assert compare.showlib.max_difference(*rows) < 0.5
    assert len(set(rows[1])) == len(rows[1]), "two rows of the output matrix are equal"


@pytest.mark.parametrize("name, more, form", [("tiny-moe-q4_k", [], "int8"),
                                              ("tiny-q8_0", ["--exact"], "f32")])
def test_roofline(models, name, more, form):
    text = sluice("bench", models[name], "--roofline", "--batch", "3", "--threads", "2", "--json",
                  *more, check=0).out.decode()
    limits, *rates = map(json.loads, text.splitlines())
    assert limits["threads"] == 2 and limits["read_gbps"] > 0
    attention = [rate for rate in rates if "attend" in rate]
    rates = [rate for rate in rates if "attend" not in rate]
    assert [(one["sequences"], one["rows"], one["context"]) for one in attention] == [(3, 1, 512), (1, 3, 512)]
    for one in attention:
        assert one["attend"] == ("f32" if more else "f16") and one["layers"] == 2
        assert one["gbps"] > 0 and one["gops"] > 0 and one["limit"] in ("memory", "f32")
    types = {"Q4_K", "Q6_K", "F32"} if form == "int8" else {"Q8_0"}
    assert {rate["type"] for rate in rates} == types
    assert {rate["rows"] for rate in rates} == {3}
    for rate in rates:
        assert rate["as"] == ("f32" if rate["type"] == "F32" else form)
        assert rate["gbps"] > 0 and rate["gops"] > 0 and rate["limit"] in ("memory", rate["as"])
    # Two layers, 8 experts of three matrices each, and Q and attention's output of the same shape.
    if form == "int8":
        assert max(rate["matrices"] for rate in rates) == 2 * (8 * 3 + 2)


def test_roofline_plot(models, tmp_path):
    out = tmp_path / "a" / "roof.svg"
    subprocess.run([ROOT / "bench" / "roofline.py", models["tiny-moe-q4_k"], "--out", out, "--batch", "1,2",
                    "--depth", "64"], check=True, stdout=subprocess.DEVNULL)
    svg = xml.etree.ElementTree.parse(out).getroot()
    shapes = [part.get("class") for part in svg if part.tag.endswith("circle")]
    # The legend, and every figure: some shapes of products in int8 and float32 twice, attention three times.
    assert shapes.count("bad") == 1 + 3 and shapes.count("good") >= 1 + 2 * 2 and shapes.count("none") >= 1 + 2
    box = [float(x) for x in svg.get("viewBox").split()]
    for part in svg:
        if part.tag.endswith("circle"):
            assert 0 < float(part.get("cx")) < box[2] and 0 < float(part.get("cy")) < box[3]


def test_model_is_made_once(models, tmp_path):
    name, path = next(iter(models.items()))
    before = path.stat().st_mtime_ns
    assert make_model.model(name, path.parent) == path and path.stat().st_mtime_ns == before
    again = make_model.model(name, tmp_path)
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(path.read_bytes()).digest()
    assert [p.name for p in tmp_path.iterdir()] == [again.name]


def test_copied_vocabulary(models):
    entries, n_tokens = make_model.copied_vocabulary(models[TINY[0]])
    assert (entries, n_tokens) == make_model.byte_vocabulary()


def test_shapes_fit_their_blocks():
    for name in make_model.NAMES:
        kind = name.rsplit("-", 1)[1]
        for tensor in make_model.tensors_of(make_model.shape_of(name), kind, 4096):
            assert tensor.dims[0] % make_model.TYPES[tensor.type].elems == 0, (name, tensor)


@pytest.fixture
def formats(tmp_path, monkeypatch):
    """Makes a small formats-all of these types, which is then the model of that name."""
    def make(types):
        shape = make_model.FORMATS._replace(n_embd=256, n_head=4, n_kv_head=4, n_ff=256,
                                            n_layer=len(types))
        monkeypatch.setattr(make_model, "FORMATS", shape)
        monkeypatch.setattr(make_model, "TYPES", types)
        path = make_model.model(make_model.ALL_TYPES, tmp_path)
        monkeypatch.setattr(make_model, "model", lambda name: path)
        return path
    return make


def test_every_format_is_in_it(formats):
    path = formats(make_model.TYPES)
    found = json.loads(sluice("inspect", path, "--json", check=0).out)
    assert found["runs"] and {name.lower() for name in found["formats"]} == set(make_model.TYPES)


def test_kernel_table(formats, monkeypatch):
    monkeypatch.setattr(kernel_table, "ROWS", (1, 3))
    names = ["f32", "bf16", "q4_k", "iq3_s"]
    formats({name: make_model.TYPES[name] for name in names})
    table = kernel_table.measure("avx2" if "avx2" in compare.showlib.isa_levels() else "ref")
    rates = kernel_table.formats(table)
    assert list(rates) == ["F32", "Q4_K", "IQ3_S", "BF16"]  # as files number them
    assert sum(line.startswith("| ") for line in kernel_table.lines(table)) == 2 + len(names)
    for by_rows in rates.values():
        assert set(by_rows) == {1, 3}


def test_kernel_tables_are_kept(desk, monkeypatch):
    monkeypatch.setattr(kernel_table, "BENCH", desk)
    monkeypatch.setattr(kernel_table, "ROOT", desk)
    rate = {"type": "Q4_K", "rows": 1, "share": 0.9, "limit": "memory", "gbps": 1, "as": "int8"}
    table = {"level": "avx2", "limits": {"read_gbps": 1, "int8_gops": 1, "scaled_gops": 1, "f32_gops": 1}, "cpus": 2,
             "commit": "abc", "cpu": "A CPU", "date": "2026-01-02T00:00:00", "rates": [rate]}
    kernel_table.keep([table])
    kernel_table.keep([{**table, "level": "avx512"}, {**table, "commit": "def"}])
    kernel_table.keep([{**table, "commit": "123", "date": "2026-01-03T00:00:00"}])
    page = (desk / "docs" / "performance.md").read_text()
    assert [table["commit"] for table in kernel_table.newest()["A CPU"]] == ["abc", "123"]
    assert page.count("### Kernels") == 1 and page.count("| Q4_K | int8 | 1.0 GB/s, 90% |") == 2
    assert sorted(path.name for path in (desk / "results").iterdir()) == [
        "kernels-2026-01-02-a-cpu.json", "kernels-2026-01-03-a-cpu.json"]
    assert (desk / "docs" / "plots" / "kernels-a-cpu.svg").is_file()


def test_slow_ones_are_named():
    def rate(name, n, share):
        return {"type": name, "rows": n, "share": share, "limit": "memory", "gbps": 1, "as": "int8"}
    table = {"rates": [rate("Q4_K", 1, 0.9), rate("Q4_K", 4, 0.2), rate("F16", 1, 0.5)]}
    assert kernel_table.slow_ones(table) == ["Q4_K at 4 (20%)"]
    assert list(kernel_table.formats(table)) == ["F16", "Q4_K"]


def test_median():
    assert pairs.median([3, 1, 2]) == 2
    assert pairs.median([4, 1, 2, 3]) == 2.5


@pytest.mark.parametrize("n, k", [(4, None), (5, 1), (7, 1), (8, 2), (11, 3), (15, 4), (25, 8)])
def test_lower_bound(n, k):
    """The ranks of the one-sided sign test at 95 %, from its tables."""
    values = [1 + 0.01 * ((7 * i) % n) for i in range(n)] if n % 7 else \
        [1 + 0.01 * ((5 * i) % n) for i in range(n)]
    assert pairs.lower_bound(values) == (None if k is None else sorted(values)[k - 1])


def pair(ours, theirs, discarded=None, others=0.0):
    return {"ours": ours, "theirs": theirs, "discarded": discarded, "others": others}


def test_summary_pairs_before_it_takes_medians():
    # The machine halves its speed twice; each ratio stays.
    got = pairs.summary([pair(200, 100), pair(100, 50), pair(50, 25), pair(210, 100),
                         pair(190, 100), pair(999, 1, "noise")])
    assert got == {"pairs": 5, "discarded": 1, "ratio": 2.0, "lower_bound": 1.9, "ours": 190,
                   "theirs": 100, "busy": False}
    assert pairs.summary([pair(1, 1, others=0.5)])["busy"]
    nothing = pairs.summary([pair(1, 1, "noise")])
    assert nothing["ratio"] is None and nothing["pairs"] == 0 and nothing["busy"]


def test_discarding_looks_at_the_machine_alone():
    assert pairs.why_discarded(1.0, 1.19, 0.0) is None
    assert "calibration" in pairs.why_discarded(1.0, 1.21, 0.0)
    assert "calibration" in pairs.why_discarded(1.21, 1.0, 0.0)
    assert "stolen" in pairs.why_discarded(1.0, 1.0, 0.06)


def test_cpu_times():
    text = "cpu  100 1 20 500 30 4 5 40 7 0\ncpu0 1 2 3\n"
    times = pairs.cpu_times(text)
    tick = os.sysconf("SC_CLK_TCK")
    assert times.busy * tick == pytest.approx(130) and times.steal * tick == pytest.approx(40)
    assert times.total * tick == pytest.approx(700)
    assert pairs.cpu_times(text, 5.0).ours >= times.ours + 5.0
    before, after = pairs.CpuTimes(10, 1, 20, 5), pairs.CpuTimes(18, 2, 30, 11)
    assert pairs.shares(before, after) == pytest.approx((0.1, 0.2))


def test_pairs_change_sides_and_are_made_up_for(monkeypatch):
    calls, calibrations = [], iter([1, 1, 1, 2, 1, 1, 1, 1])
    monkeypatch.setattr(pairs, "calibrate", lambda: next(calibrations))
    monkeypatch.setattr(pairs, "shares", lambda before, after: (0.0, 0.0))
    sides = {side: (lambda side=side: calls.append(side) or 1.0) for side in "AB"}
    measured = pairs.measure_pairs("a", sides, 3)
    assert "".join(calls) == "ABBAABBA"
    assert [p["discarded"] is None for p in measured] == [True, False, True, True]
    monkeypatch.setattr(pairs, "calibrate", iter([1, 2] * 100).__next__)
    assert len(pairs.measure_pairs("a", sides, 3)) == 6  # and no more


# --- rivals ----------------------------------------------------------------------------------

def rival(work, settings):
    """llama.cpp without looking for its best settings."""
    one = rivals.LlamaCpp.__new__(rivals.LlamaCpp)
    one.work, one.model, one.threads, one.folder = work, "m.gguf", 2, rivals.pathlib.Path("bin")
    one.settings, one.command = settings, one.command_of(work, settings)
    return one


def test_rival_output_is_read(monkeypatch):
    text = json.dumps([{"samples_ts": [3.0, 1.0, 2.0]}])
    monkeypatch.setattr(rivals, "run", lambda command: text)
    one = rows.row("a", "a", "", "prompt", prompt=512)
    assert rival(one, {"flash": True, "repack": False}).tps() == 2.0
    results = [{"speed_pp": 5.0, "speed_tg": n, "speed": 1.0} for n in (7.0, 9.0, 8.0)]
    monkeypatch.setattr(compare.showlib, "batched_bench", lambda command, n: results[:n])
    many = rows.row("a", "a", "", "gen", batch=8, depth=128, gen=64, reps=3)
    assert rival(many, {"flash": True, "repack": False}).tps() == 8.0
    assert rival(many._replace(timed="total", reps=1), {"flash": True, "repack": True}).tps() == 1.0


def test_rival_is_asked_for_the_same_work():
    def words(work, **settings):
        command = rival(work, {"flash": False, "repack": True, **settings}).command
        return " ".join(map(str, command))
    one = words(rows.row("a", "a", "", "gen", depth=512, gen=64, reps=3))
    assert one.startswith("bin/llama-bench") and "-p 0 -n 64 -d 512" in one and "-r 3" in one
    assert "-fa off --repack 1" in one and "--no-warmup" not in one
    assert "--no-warmup" in words(rows.row("a", "a", "", "prompt", prompt=8000))
    assert "-ub 256" in words(rows.row("a", "a", "", "prompt", prompt=512), ubatch=256)
    many = words(rows.row("a", "a", "", "gen", batch=8, depth=128, gen=64, reps=2))
    assert "-npp 128 -ntg 64 -npl 8,8" in many and many.endswith("-pps") and "--repack" in many
    assert not words(rows.row("a", "a", "", "total", batch=8, prompt=128, gen=64)).endswith("-pps")


def test_rival_that_shows_nothing_runs_again(monkeypatch):
    texts = iter([b"", b"load\n", b'{"speed": 1}\n{"speed": 2}\n'])
    monkeypatch.setattr(compare.showlib, "check", lambda command, timeout: next(texts))
    assert [one["speed"] for one in compare.showlib.batched_bench([], 2)] == [1, 2]
    assert next(texts, None) is None
    monkeypatch.setattr(compare.showlib, "check", lambda command, timeout: b"")
    with pytest.raises(RuntimeError, match="0 results in place of 2"):
        compare.showlib.batched_bench([], 2)


def test_settings_are_tried_one_after_the_other():
    speeds, asked = {("a", 1): 1.0, ("b", 1): 3.0, ("b", 2): 2.0, ("b", 3): 5.0}, []

    def speed(settings):
        asked.append(tuple(settings.values()))
        if asked[-1] not in speeds:
            raise RuntimeError("no such y")
        return speeds[asked[-1]]
    best, tried = rivals.best_settings({"x": ("a", "b"), "y": (1, 2, 3, 4)}, speed, lambda text: None)
    assert best == {"x": "b", "y": 3}
    assert asked == [("a", 1), ("b", 1), ("b", 2), ("b", 3), ("b", 4)]
    assert [one.get("tps") for one in tried] == [1.0, 3.0, 2.0, 5.0, None]
    assert tried[-1]["error"] == "no such y"
    with pytest.raises(RuntimeError):
        rivals.best_settings({"x": ("c",)}, speed, lambda text: None)


WORKER = """
import sys
import time
sys.path.insert(0, {folder!r})
import rival_worker
while time.process_time() < 0.05:  # some ticks of the clock that processor time is counted in
    pass
print("what a library prints")
if rival_worker.arguments()[4] == {{"x": "bad"}}:
    sys.exit("no such x")
rival_worker.serve("1.2", lambda prompts, n: sum(len(ids) == 5 for ids in prompts) * n)
"""


def test_worker(tmp_path, monkeypatch):
    (tmp_path / "rival_test.py").write_text(WORKER.format(folder=str(ROOT / "bench")))
    monkeypatch.setattr(rivals, "BENCH", tmp_path)
    monkeypatch.setattr(rivals.showlib, "check", lambda *a, **k: sys.executable.encode())
    monkeypatch.setitem(rivals.Worker.CHOICES, "test", {"x": ("good", "other")})
    monkeypatch.setitem(rivals.Worker.PLACES, "test", "tests")
    work = rows.row("a", "a", "", "total", batch=3, prompt=5, gen=2)
    one = rivals.Worker("test", work, "m.gguf", 1)
    assert one.tps() > 0 and one.version() == "1.2" and one.cpu_seconds() > 0
    pid = one.process.pid
    state = rivals.pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    assert state in "TS"  # stopped, or about to be
    one.close()
    assert not rivals.pathlib.Path(f"/proc/{pid}").exists()
    monkeypatch.setitem(rivals.Worker.CHOICES, "test", {"x": ("bad",)})
    with pytest.raises(RuntimeError, match="no such x"):
        rivals.Worker("test", work, "m.gguf", 1)


def test_ours_is_measured(models):
    for work in (rows.row("a", "a", "", "prompt", prompt=8),
                 rows.row("b", "b", "", "gen", batch=3, depth=16, gen=4, reps=2),
                 rows.row("c", "c", "", "total", batch=3, prompt=16, gen=4)):
        assert rivals.Sluice(work, models[TINY[0]], 1, work.options).tps() > 0
    total = rivals.Sluice(rows.row("c", "c", "", "total", batch=2, prompt=30, gen=10), "m", 1)
    assert total.read(json.dumps({"prompt_tps": 30.0, "gen_tps": 5.0})) == pytest.approx(40 / 3)


# --- limits and accuracy ---------------------------------------------------------------------

def test_limit_of_a_row(models):
    """The two layers of the tiny model by hand."""
    name, work = "tiny-bf16", rows.row("a", "a", "", "gen", depth=16, gen=4)
    limit = limits.of(work, models[name], 1)
    matrices = 2 * (2 * 256 * 256 + 2 * 256 * 128 + 3 * 256 * 512) + 256 * 258
    facts = limits.model_facts(models[name])
    assert facts == {"kv_bytes_per_token": 2 * 2 * 2 * 64 * 2, "n_layer": 2, "n_head": 4, "d_head": 64}
    assert limit["mbytes_per_step"] == round((2 * matrices + 18 * 1024) / 1e6, 1)
    assert limit["tps"] > 0
    machine = {"read_gbps": 1.0, "scaled_gops": 2.0, "f32_gops": 4.0, "weight_bytes": 1e9, "weights": 1e9}
    flat = {"kv_bytes_per_token": 0, "n_layer": 0, "n_head": 1, "d_head": 1}
    assert limits.step(work, flat, machine)["tps"] == pytest.approx(1.0)
    many = limits.step(work._replace(batch=10), flat, machine)
    assert many["bound"] == "arithmetic" and many["tps"] == pytest.approx(1.0)


def test_divergence_is_read():
    text = "\n====== Perplexity statistics ======\nMean PPL(Q)                   :  11.5 ±   0.3\n" \
        "Mean PPL(base)                :  11.4 ±   0.3\n\nMean    KLD:   0.004321 ±   0.0001\n" \
        "Maximum KLD:   9.000000\n"
    assert accuracy.read_theirs(text) == (0.004321, 11.5, 11.4)


# --- rows and records ------------------------------------------------------------------------

LEVELS = ["ref", "avx2", "avx512", "avx512vnni", "avx512bf16"]


def test_rows():
    every = rows.rows(LEVELS)
    names = [work.name for work in every]
    assert len(set(names)) == len(names)
    assert {work.mask for work in every} == {None, "avx2", "avx512"}
    for work in every:
        if work.mask:
            assert work.pairs == 3 and work.target is None and work.name.endswith(f"@{work.mask}")
    first = every[0]
    assert [rows.target_of(first, level) for level in ("amx", "avx512bf16", "avx2")] == [5.0, 4.0, None]
    assert rows.goal(first, "avx2") == "no target" and rows.goal(first, "amx") == "at least 5 x"


def test_verdict():
    result = {"target": 2.0, "lower_bound": 1.9, "share_target": None, "share": None}
    assert compare.verdict(result) is False
    assert compare.verdict({**result, "lower_bound": 2.0}) is True
    assert compare.verdict({**result, "share_target": 0.85, "share": 0.84}) is False
    assert compare.verdict({**result, "share_target": 0.85, "share": 0.85}) is True
    assert compare.verdict({**result, "target": None}) is None
    assert compare.verdict({**result, "lower_bound": None}) is False


RESULT = {"row": "prefill-512", "title": "prefill", "model": "m.gguf", "ratio": 2.0, "lower_bound": 1.5,
          "ours": 1234.5, "theirs": 600.0, "pairs": 7, "pairs_wanted": 7, "discarded": 0, "busy": False,
          "threads": 2, "level": "avx2", "commit": "abc", "cpu": "A (R) CPU", "cpus": 2, "target": 1.8,
          "share": None, "share_target": None, "goal": "at least 1.8 x", "rival": "llama.cpp 1",
          "date": "2026-01-02T03:04:05+00:00", "rival_settings": {"flash": True, "ubatch": 512}}


def test_what_is_not_recorded(desk):
    for wrong in ({"busy": True}, {"pairs": 6}, {"commit": None}):
        assert not records.keep({**RESULT, **wrong})
    assert not list((desk / "results").iterdir())
    assert (desk / "docs" / "performance.md").read_text() == "# Speed\n\nText.\n"


def test_record(desk):
    page = desk / "docs" / "performance.md"
    assert records.keep({**RESULT, "row": "decode-1-stream", "title": "decode", "share": 0.9})
    assert records.keep(RESULT) and records.keep({**RESULT, "ratio": 3.0})
    path = desk / "results" / "2026-01-02-a-r-cpu.json"
    assert [r["row"] for r in json.loads(path.read_text())] == ["prefill-512", "decode-1-stream"]
    shown = [text for text in page.read_text().splitlines() if text.startswith("| ")][2:]
    assert shown[0] == ("| prefill | m | llama.cpp | 3.00 | 1.50 | at least 1.8 x | 1,234 | 600 "
                        "| flash on, ubatch 512 | 7 | avx2 | abc, 2026-01-02 |")
    assert len(shown) == 2 and shown[1].startswith("| decode |") and "(90% of the limit)" in shown[1]
    # A newer record of a row takes the place of the old one in the table; its file stays.
    assert records.keep({**RESULT, "date": "2026-01-03T03:04:05+00:00", "commit": "def"})
    assert page.read_text().count("### 2 x A (R) CPU") == 1 and "| abc, " in page.read_text()
    assert [one["commit"] for one in records.latest("A (R) CPU")] == ["def", "abc"]
    image = desk / "docs" / "plots" / "ratios-a-r-cpu.svg"
    assert image.is_file() and f"(plots/{image.name})" in page.read_text()
    xml.etree.ElementTree.parse(image)


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_a_record_stands_until_the_code_changes(desk, monkeypatch):
    def git(*words):
        subprocess.run(["git", "-C", desk, "-c", "user.name=a", "-c", "user.email=a@b", *words],
                       check=True, capture_output=True)
    monkeypatch.setattr(compare.showlib, "cpu_model", lambda: RESULT["cpu"])
    (desk / "src" / "kernels").mkdir(parents=True)
    code = desk / "src" / "kernels" / "a.c"
    code.write_text("1")
    git("init")
    git("add", "src")
    git("commit", "-m", "one")
    commit = records.measured_commit()
    assert commit and records.keep({**RESULT, "commit": commit})
    work = compare.all_rows()[0]
    assert records.standing(work, "m.gguf", 2)["changed"] == "no"
    assert records.standing(work, "other.gguf", 2) is None
    assert records.standing(work, "m.gguf", 4) is None
    code.write_text("2")
    assert records.measured_commit() is None
    assert records.standing(work, "m.gguf", 2)["changed"] == "yes"
    assert records.changed_since("0123456789ab") == "unknown"


def test_plots(tmp_path):
    many = [RESULT, {**RESULT, "row": "prefill-512@avx2", "lower_bound": None, "target": None},
            {**RESULT, "ratio": 14.0, "rival": "openvino 2", "title": "a < b & c"}]
    text = plot.write_ratios(many, tmp_path / "a.svg").read_text()
    xml.etree.ElementTree.fromstring(text)
    assert text.count('class="bound"') == 2 and "a &lt; b &amp; c, openvino" in text
    assert "prefers-color-scheme: dark" in text
    rate = {"share": 0.4, "limit": "memory"}
    text = plot.write_kernels({"level": "avx2"}, {"Q4_K": {1: rate, 4: {**rate, "share": 1.2}}},
                              tmp_path / "b.svg").read_text()
    xml.etree.ElementTree.fromstring(text)
    assert "40% m" in text and "120% m" in text and text.count('class="bad"') == 1
