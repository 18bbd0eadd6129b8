"""Writes tests/fuzz/corpus/template: the snippets of tests/golden/template, a few to a file, with their variables.

usage: python3 tests/fuzz/make_template_corpus.py
"""
import json
import pathlib

HERE = pathlib.Path(__file__).parent
cases = json.loads((HERE / "../golden/template/cases.json").read_text(encoding="utf-8"))
out = HERE / "corpus/template"
out.mkdir(parents=True, exist_ok=True)
variables = json.dumps({k: cases["vars"][k] for k in ("n", "f", "no", "s", "u", "list", "d", "people", "messages")},
                       ensure_ascii=False)
good = [c["template"] for c in cases["cases"] if "error" not in c]
bad = [c["template"] for c in cases["cases"] if "error" in c]
for i in range(24):
    text = "\n".join(good[i::24]) + "\0" + variables
    (out / ("good_%02d" % i)).write_bytes(text.encode())
for i, template in enumerate(bad[::6]):
    (out / ("bad_%02d" % i)).write_bytes((template + "\0" + '{"s": "x", "list": [1]}').encode())
