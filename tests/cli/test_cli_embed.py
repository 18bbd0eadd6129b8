"""embed: vectors against the reference, forms of input and output, refusals; and that commands which
need a next token refuse an encoder."""

import base64
import json
import math
import struct

import pytest

import gguf_edit
from conftest import GOLDEN, misused, one_sentence, refused, run_json, sluice

FOLDER = GOLDEN / "arch" / "bert-mean"
BERT = FOLDER / "bert-mean.f32.gguf"
REFERENCE = json.loads((FOLDER / "golden.json").read_text())
N_CTX = 512
TEXTS = ["Hello world", "", " two  words\t", "Ünïcödé 日本語 🙂", "hello world"]


def floats(b64):
    data = base64.b64decode(b64)
    return struct.unpack(f"<{len(data) // 4}f", data)


def far(a, b):
    assert len(a) == len(b)
    return max(abs(x - y) for x, y in zip(a, b))


def embed(model, *flags, **more):
    r = sluice("embed", model, "--json", *flags, check=0, **more)
    assert r.err == "" and r.out.endswith(b"\n")
    return [json.loads(line) for line in r.out.splitlines()]


def embed_one(model, *flags, **more):
    [o] = embed(model, *flags, **more)
    assert list(o) == ["index", "embedding", "prompt_ids", "n_tokens", "pooling", "normalized",
                       "timings"]
    assert o["index"] == 0 and o["n_tokens"] == len(o["prompt_ids"])
    assert list(o["timings"]) == ["load_ms", "embed_ms"]
    assert o["normalized"] == ("--normalize" in flags)
    return o


def ids_flag(ids):
    return ["--ids", ",".join(map(str, ids))]


@pytest.fixture
def edited(tmp_path):
    """Writes a copy of the encoder after `change` was done to it."""
    def edit(change):
        file = gguf_edit.File(BERT.read_bytes())
        change(file)
        path = tmp_path / "edited.gguf"
        path.write_bytes(file.bytes())
        return path
    return edit


def set_pooling(number):
    def change(file):
        if number is None:
            del file.kv[b"bert.pooling_type"]
        else:
            file.kv[b"bert.pooling_type"].value = number
    return change


# --- numbers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", REFERENCE["cases"], ids=lambda c: c["id"])
def test_reference(case):
    ids = ids_flag(case["prompt"])
    plain = embed_one(BERT, *ids)
    assert plain["prompt_ids"] == case["prompt"] and plain["pooling"] == "mean"
    assert far(plain["embedding"], floats(case["pooled_b64"])) < 1e-5
    assert embed_one(BERT, *ids, "--exact", "--threads", "1")["embedding"] == plain["embedding"]
    unit = embed_one(BERT, *ids, "--normalize")["embedding"]
    assert far(unit, floats(case["pooled_l2_b64"])) < 1e-6
    assert abs(math.fsum(x * x for x in unit) - 1) < 1e-6
    fast = embed_one(BERT, *ids, "--no-exact")["embedding"]
    assert 0 < far(fast, plain["embedding"]) < 1e-2


@pytest.mark.parametrize("case", REFERENCE["cases"], ids=lambda c: c["id"])
def test_pooling(case, edited):
    """Asked for by the flag or by the file: the first and the last row of the reference."""
    ids = ids_flag(case["prompt"])
    rows = floats(case["last_hidden_b64"])
    width = len(rows) // len(case["prompt"])
    wanted = {"mean": floats(case["pooled_b64"]), "cls": rows[:width], "last": rows[-width:]}
    for number, name in enumerate(("mean", "cls", "last"), 1):
        asked = embed_one(BERT, *ids, "--pooling", name)
        assert asked["pooling"] == name and far(asked["embedding"], wanted[name]) < 1e-5
        file = edited(set_pooling(number))
        o = embed_one(file, *ids)
        assert o["pooling"] == name and o["embedding"] == asked["embedding"]
        assert json.loads(sluice("inspect", file, "--json", check=0).out)["pooling"] == name


def test_pooling_that_the_file_does_not_say(edited):
    for number in (0, None):
        file = edited(set_pooling(number))
        refused(sluice("embed", file, "--ids", "1"), file, "bert.pooling_type", "--pooling")
        assert embed_one(file, "--ids", "1", "--pooling", "cls")["pooling"] == "cls"
        assert json.loads(sluice("inspect", file, "--json", check=0).out)["pooling"] == "none"
    refused(sluice("embed", edited(set_pooling(9)), "--ids", "1"), "bert.pooling_type")


def test_zero_and_infinite_vectors(edited):
    def fill(number):
        def change(file):
            data = bytearray(file.payload)
            for name, x in ((b"blk.1.layer_output_norm.weight", 0.0),
                            (b"blk.1.layer_output_norm.bias", number)):
                t = file.tensor(name)
                struct.pack_into(f"<{t.dims[0]}f", data, t.offset, *[x] * t.dims[0])
            file.payload = bytes(data)
        return change
    for flags in ([], ["--normalize"]):
        assert embed_one(edited(fill(0.0)), "--ids", "2,3", *flags)["embedding"] == [0.0] * 64
        for number in (math.inf, -math.inf, math.nan):
            refused(sluice("embed", edited(fill(number)), "--ids", "2,3", *flags), "not finite")


def test_length():
    ids = [i * 7 % 512 for i in range(N_CTX)]
    assert len(embed_one(BERT, *ids_flag(ids))["embedding"]) == 64
    assert embed_one(BERT, "--ids", "0")["n_tokens"] == 1
    refused(sluice("embed", BERT, *ids_flag(ids + [1])), "513", "512")
    refused(sluice("embed", BERT, "-p", "a " * 511), "-p", "513", "512")
    assert embed_one(BERT, "-p", "a " * 510)["n_tokens"] == N_CTX
    refused(sluice("embed", BERT, "--ids", "1,512"), "--ids", "512", "511")


# --- texts ----------------------------------------------------------------------------------------


def test_tokens_of_texts():
    for case in REFERENCE["tokenizer_cases"]:
        by_flag = embed_one(BERT, "-p", case["text"])
        assert by_flag["prompt_ids"] == case["ids_with_special"]
        by_input = embed_one(BERT, text=case["text"])
        by_ids = embed_one(BERT, *ids_flag(case["ids_with_special"]))
        assert by_flag["embedding"] == by_input["embedding"] == by_ids["embedding"]


def test_special_tokens_in_a_text_are_text():
    o = embed_one(BERT, "-p", "[CLS] [SEP] [MASK]")
    assert len(o["prompt_ids"]) > 5
    assert [o["prompt_ids"].count(i) for i in (2, 3, 4)] == [1, 1, 0]


def test_many_texts(tmp_path):
    alone = [embed_one(BERT, "-p", text)["embedding"] for text in TEXTS]
    flags = [x for text in TEXTS for x in ("-p", text)]
    together = embed(BERT, *flags)
    assert [o["index"] for o in together] == list(range(len(TEXTS)))
    assert [o["embedding"] for o in together] == alone
    path = tmp_path / "texts"
    for end, last in (("\n", "\n"), ("\r\n", "\r\n"), ("\n", "")):
        path.write_bytes((end.join(TEXTS) + last).encode())
        assert [o["embedding"] for o in embed(BERT, "--lines", "-f", path)] == alone
    assert [o["embedding"] for o in embed(BERT, "--lines", text=path.read_bytes())] == alone
    assert [o["embedding"] for o in embed(BERT, "--lines", "-f", "-", text="\n".join(TEXTS))] == alone
    assert [o["embedding"] for o in embed(BERT, "--lines", text="\n")] == [alone[1]]
    # As one text, the whole file.
    assert embed_one(BERT, "-f", path)["n_tokens"] > max(len(o["prompt_ids"]) for o in together)
    # More than one step takes, of very different lengths.
    words = [" ".join(["hello"] * (i * 37 % 120)) for i in range(300)]
    many = embed(BERT, "--lines", "--normalize", text="".join(w + "\n" for w in words))
    assert len(many) == 300
    for i in (0, 1, 150, 299):
        one = embed_one(BERT, "--normalize", "-p", words[i])
        assert one["embedding"] == many[i]["embedding"] and many[i]["index"] == i


def test_plain_output():
    r = sluice("embed", BERT, "-p", TEXTS[0], "-p", TEXTS[1], check=0)
    want = [o["embedding"] for o in embed(BERT, "-p", TEXTS[0], "-p", TEXTS[1])]
    assert [[float(x) for x in line.split(b" ")] for line in r.out.splitlines()] == want
    assert r.err.startswith("[2 texts, ") and r.err.count("\n") == 1
    r = sluice("embed", BERT, "-p", TEXTS[0], "--quiet", check=0)
    assert r.err == "" and r.out.count(b"\n") == 1
    # Every number reads back as the float32 that it was.
    for x in r.out.split():
        assert b"%.9g" % struct.unpack("<f", struct.pack("<f", float(x))) == x


def test_output_that_cannot_be_written():
    lines = "hello\n" * 200
    for flags in ([], ["--json"]):
        with open("/dev/full", "wb") as full:
            r = sluice("embed", BERT, "--lines", *flags, text=lines, stdout=full)
        assert r.code == 1
        one_sentence(r.err, "sluice embed", "standard output", "No space")


def test_refused_texts(tmp_path):
    path = tmp_path / "texts"
    path.write_bytes(b"good\nb\xffd\n")
    refused(sluice("embed", BERT, "--lines", "-f", path), f"{path}, line 2", "byte 1", "UTF-8")
    refused(sluice("embed", BERT, "-p", "a", "-p", b"\xc3"), "-p number 2", "UTF-8")
    refused(sluice("embed", BERT, text=b"a\x80"), "standard input", "byte 1")
    refused(sluice("embed", BERT, "--lines", text=""), "--lines")
    refused(sluice("embed", BERT, "--lines", text="a\n" + "a " * 600), "standard input, line 2", "602")
    refused(sluice("embed", BERT, "-f", tmp_path / "none"), "none")


def test_misused():
    misused(sluice("embed", BERT, "-p", "a", "--ids", "1"), "only one")
    misused(sluice("embed", BERT, "-p", "a", "-f", "x"), "only one")
    misused(sluice("embed", BERT, "-p", "a", "--lines"), "--lines", "-p")
    misused(sluice("embed", BERT, "--ids", "1", "--lines"), "--lines", "--ids")
    misused(sluice("embed", BERT, "--ids", "1", "--pooling", "max"), "mean|cls|last")
    misused(sluice("embed", BERT, *["-p", "a"] * 17), "16")


# --- the other kind of model ----------------------------------------------------------------------


def test_decoders_are_refused(tiny, quant_model):
    for model in (tiny, quant_model):
        refused(sluice("embed", model, "-p", "a"), model, "decoder", "encoders")
        assert json.loads(sluice("inspect", model, "--json", check=0).out)["pooling"] is None
    assert run_json(tiny, "--raw", "-p", "a", "-n", "1")["ids"]


@pytest.mark.parametrize("args", [["run", "-p", "a"], ["run", "--ids", "1"], ["serve", "--port", "0"],
                                  ["logits", "--ids", "1", "--out", "out"], ["bench"]],
                         ids=lambda a: " ".join(a))
def test_encoders_are_refused(args, tmp_path):
    refused(sluice(args[0], BERT, *args[1:], cwd=tmp_path), BERT, "bert", "encoder", "sluice embed")
    assert not list(tmp_path.iterdir())


def test_inspect_of_an_encoder():
    text = sluice("inspect", BERT, "--plan", check=0).out.decode()
    assert "an encoder (pooling: mean)" in text and "Generation ends" not in text
    assert "blk.1.layer_output_norm.weight" in text.split("\nPlan\n")[1]
    o = json.loads(sluice("inspect", BERT, "--json", "--plan", check=0).out)
    assert o["runs"] is True and o["pooling"] == "mean" and o["plan"]
