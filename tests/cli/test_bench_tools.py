"""bench/: random models that the program runs, and what compare.py makes of its measurements."""

import hashlib
import json
import sys

import pytest

from conftest import ROOT, run_json, sluice

sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "tools" / "show.d")]

import compare     # noqa: E402
import make_model  # noqa: E402

TINY = [name for name in make_model.NAMES if name.startswith("tiny")]


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("random")
    return {name: make_model.model(name, folder) for name in TINY}


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
    types = {"Q4_K", "Q6_K", "F32"} if form == "int8" else {"Q8_0"}
    assert {rate["type"] for rate in rates} == types
    assert {rate["rows"] for rate in rates} == {3}
    for rate in rates:
        assert rate["as"] == ("f32" if rate["type"] == "F32" else form)
        assert rate["gbps"] > 0 and rate["gops"] > 0 and rate["limit"] in ("memory", rate["as"])
    # Two layers, 8 experts of three matrices each, and Q and attention's output of the same shape.
    if form == "int8":
        assert max(rate["matrices"] for rate in rates) == 2 * (8 * 3 + 2)


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
        shape, kind = name.rsplit("-", 1)
        for tensor in make_model.tensors_of(make_model.SHAPES[shape], kind, 4096):
            assert tensor.dims[0] % make_model.TYPES[tensor.type].elems == 0, (name, tensor)


def test_median():
    assert compare.median([3, 1, 2]) == 2
    assert compare.median([4, 1, 2, 3]) == 2.5


@pytest.mark.parametrize("n, k", [(4, None), (5, 1), (7, 1), (8, 2), (11, 3), (15, 4), (25, 8)])
def test_lower_bound(n, k):
    """The ranks of the one-sided sign test at 95 %, from its tables."""
    values = [1 + 0.01 * ((7 * i) % n) for i in range(n)] if n % 7 else \
        [1 + 0.01 * ((5 * i) % n) for i in range(n)]
    assert compare.lower_bound(values) == (None if k is None else sorted(values)[k - 1])


def pair(ours, theirs, discarded=None, others=0.0):
    return {"ours": ours, "theirs": theirs, "discarded": discarded, "others": others}


def test_summary_pairs_before_it_takes_medians():
    # The machine halves its speed twice; each ratio stays.
    got = compare.summary([pair(200, 100), pair(100, 50), pair(50, 25), pair(210, 100),
                           pair(190, 100), pair(999, 1, "noise")])
    assert got == {"pairs": 5, "discarded": 1, "ratio": 2.0, "lower_bound": 1.9, "ours": 190,
                   "theirs": 100, "busy": False}
    assert compare.summary([pair(1, 1, others=0.5)])["busy"]
    nothing = compare.summary([pair(1, 1, "noise")])
    assert nothing["ratio"] is None and nothing["pairs"] == 0 and nothing["busy"]


def test_discarding_looks_at_the_machine_alone():
    assert compare.why_discarded(1.0, 1.19, 0.0) is None
    assert "calibration" in compare.why_discarded(1.0, 1.21, 0.0)
    assert "calibration" in compare.why_discarded(1.21, 1.0, 0.0)
    assert "stolen" in compare.why_discarded(1.0, 1.0, 0.06)


def test_cpu_times():
    text = "cpu  100 1 20 500 30 4 5 40 7 0\ncpu0 1 2 3\n"
    times = compare.cpu_times(text)
    tick = compare.os.sysconf("SC_CLK_TCK")
    assert times.busy * tick == pytest.approx(130) and times.steal * tick == pytest.approx(40)
    assert times.total * tick == pytest.approx(700)
    before, after = compare.CpuTimes(10, 1, 20, 5), compare.CpuTimes(18, 2, 30, 11)
    assert compare.shares(before, after) == pytest.approx((0.1, 0.2))


def test_pairs_change_sides_and_are_made_up_for(monkeypatch):
    calls, calibrations = [], iter([1, 1, 1, 2, 1, 1, 1, 1])
    monkeypatch.setattr(compare, "calibrate", lambda: next(calibrations))
    monkeypatch.setattr(compare, "shares", lambda before, after: (0.0, 0.0))
    sides = {side: (lambda side=side: calls.append(side) or 1.0) for side in "AB"}
    pairs = compare.measure_pairs(compare.ROWS[0], sides, 3)
    assert "".join(calls) == "ABBAABBA"
    assert [p["discarded"] is None for p in pairs] == [True, False, True, True]
    monkeypatch.setattr(compare, "calibrate", iter([1, 2] * 100).__next__)
    assert len(compare.measure_pairs(compare.ROWS[0], sides, 3)) == 6  # and no more


def test_rival_output_is_read():
    one, many = (next(r for r in compare.ROWS if r.batch == n) for n in (1, 8))
    assert compare.theirs_tps(one, json.dumps([{"samples_ts": [3.0, 1.0, 2.0]}])) == 2.0
    text = "load\n" + json.dumps({"speed_pp": 5.0, "speed_tg": 7.0}) + "\n"
    assert compare.theirs_tps(many, text) == 7.0
    with pytest.raises(compare.NoResult):
        compare.theirs_tps(many, "load\n")


def test_rival_that_shows_nothing_runs_again(monkeypatch):
    many = next(row for row in compare.ROWS if row.batch == 8)
    texts = iter(["", "", json.dumps({"speed_tg": 7.0})])
    monkeypatch.setattr(compare, "run", lambda command: next(texts))
    assert compare.run_theirs(many, []) == 7.0 and next(texts, None) is None
    monkeypatch.setattr(compare, "run", lambda command: "")
    with pytest.raises(compare.NoResult):
        compare.run_theirs(many, [])


def test_ours_is_measured(models):
    for work in (compare.row("a", "a", "", "prompt", prompt=8),
                 compare.row("b", "b", "", "gen", batch=3, depth=16, gen=4, reps=2)):
        text = compare.run(compare.ours_command(work, models[TINY[0]], 1))
        assert compare.ours_tps(work, text) > 0


def test_names_of_rows_select_one_each():
    names = [row.name for row in compare.ROWS]
    assert len(set(names)) == len(names)
    assert not [(a, b) for a in names for b in names if a != b and a in b]


RESULT = {"row": "prefill-512", "title": "prefill", "model": "m.gguf", "ratio": 2.0, "lower_bound": 1.5,
          "ours": 1234.5, "theirs": 600.0, "pairs": 7, "discarded": 0, "busy": False, "threads": 2,
          "level": "avx2", "commit": "abc", "cpu": "A (R) CPU", "cpus": 2,
          "date": "2026-01-02T03:04:05+00:00",
          "rival_settings": {"flash": True, "repack": False}}


def test_record(tmp_path, monkeypatch):
    (tmp_path / "results").mkdir()
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs" / "performance.md"
    page.write_text("# Speed\n\nText.\n")
    monkeypatch.setattr(compare, "BENCH", tmp_path)
    monkeypatch.setattr(compare, "ROOT", tmp_path)
    compare.record({**RESULT, "busy": True})
    assert page.read_text() == "# Speed\n\nText.\n" and not list((tmp_path / "results").iterdir())
    compare.record({**RESULT, "row": "decode-1-stream", "title": "decode"})
    compare.record(RESULT)
    compare.record({**RESULT, "ratio": 3.0})
    path = tmp_path / "results" / "2026-01-02-a-r-cpu.json"
    assert [r["row"] for r in json.loads(path.read_text())] == ["prefill-512", "decode-1-stream"]
    shown = [text for text in page.read_text().splitlines() if text.startswith("| ")][2:]
    assert shown[0] == ("| prefill | m.gguf | 3.00 | 1.50 | 1,234 | 600 | -fa on, repack off | 7 | 2 "
                        "| avx2 | abc |")
    assert len(shown) == 2 and shown[1].startswith("| decode |")
    compare.record({**RESULT, "date": "2026-01-03T03:04:05+00:00"})
    assert page.read_text().count("### 2026-01-0") == 2
