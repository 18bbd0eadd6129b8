"""tokenize, detokenize and render: the forms that scripts rely on."""

import json
import os
import pathlib
import subprocess

import pytest

from conftest import BINARY, WAIT_S, one_sentence, refused, sluice

TEXTS = ["", "a", "Hello, world!\n", " leading and trailing ", "line\r\n\ttab\0nul", "héllo wörld ñ",
         "日本語 한국어 🙂👍🏽", "<|im_start|>user\n<|im_end|>", "x" * 5000, "\u2028\ufeff\ufffd"]
NOT_UTF8 = [b"\xff", b"a\x80b", b"\xc3", b"\xf0\x9f\x99", bytes(range(256))]


def ids_of(model, text, *flags):
    r = sluice("tokenize", model, *flags, text=text, check=0)
    assert not r.err and r.out.endswith(b"]\n") and r.out.count(b"\n") == 1
    ids = json.loads(r.out)
    assert all(type(i) is int for i in ids)
    return ids


def text_of(model, ids, *flags):
    r = sluice("detokenize", model, *flags, text=json.dumps(ids), check=0)
    assert not r.err
    return r.out


@pytest.mark.parametrize("text", TEXTS + NOT_UTF8, ids=range(len(TEXTS + NOT_UTF8)))
def test_round_trip(tiny, text):
    data = text.encode() if isinstance(text, str) else text
    for flags in ([], ["--parse-special"]):
        assert text_of(tiny, ids_of(tiny, data, *flags)) == data


def test_reference_cases(goldens):
    n = 0
    for model, golden in goldens:
        for case in golden.get("tokenizer_cases", []):
            assert ids_of(model, case["text"]) == case["ids"]
            assert ids_of(model, case["text"], "--add-special") == case["ids_with_special"]
            n += 1
    assert n >= 8


def test_special_tokens(tiny):
    text = "<|im_start|>a<|im_end|>"
    plain, parsed = ids_of(tiny, text), ids_of(tiny, text, "--parse-special")
    assert parsed[0] == 1 and parsed[-1] == 2 and len(parsed) == 3
    assert 1 not in plain and 2 not in plain
    assert text_of(tiny, parsed) == text.encode()
    assert text_of(tiny, parsed, "--skip-special") == b"a"
    assert text_of(tiny, plain, "--skip-special") == text.encode()


def test_detokenize_takes_any_layout_of_the_array(tiny):
    ids = ids_of(tiny, "abc")
    for text in ("[%s]" % ",".join(map(str, ids)), json.dumps(ids, indent=3),
                 "\r\n [ %s ]\t\n" % " ,\n".join(map(str, ids))):
        assert sluice("detokenize", tiny, text=text, check=0).out == b"abc"
    assert sluice("detokenize", tiny, text=" [ ] ", check=0).out == b""


@pytest.mark.parametrize("text", [
    "", " ", "1", "{}", "null", "[", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "[1]]", "[1] 2", "[-1]",
    "[1.0]", "[1e2]", '["1"]', "[[1]]", "[true]", "[01]", "[0x1]", "[2147483648]",
    "[99999999999999999999999999]", "[1,\0]", "[1]\0", "\ufeff[1]", "[" * 100000])
def test_detokenize_refuses(tiny, text):
    refused(sluice("detokenize", tiny, text=text), "standard input", "JSON array")


@pytest.mark.parametrize("id", [300, 2147483647])
def test_detokenize_outside_vocabulary(tiny, id):
    refused(sluice("detokenize", tiny, text=f"[1, {id}]"), str(id))


def json_lines(command, model, values, *flags):
    text = "".join(json.dumps(value) + "\n" for value in values)
    r = sluice(command, model, "--jsonl", *flags, text=text, check=0)
    assert not r.err
    return [json.loads(line) for line in r.out.splitlines()]


def test_many_lines_are_as_one_each(tiny):
    texts = [*TEXTS, "<|im_start|>a<|im_end|>"]
    for flags in ([], ["--parse-special"], ["--add-special", "--parse-special"]):
        assert json_lines("tokenize", tiny, texts, *flags) == [ids_of(tiny, text, *flags)
                                                               for text in texts]
    ids = json_lines("tokenize", tiny, texts, "--parse-special")
    assert json_lines("detokenize", tiny, ids) == texts
    assert json_lines("detokenize", tiny, ids[-1:], "--skip-special") == ["a"]
    assert json_lines("detokenize", tiny, [ids_of(tiny, b"a\xffb")]) == ["a\ufffdb"]
    assert json_lines("tokenize", tiny, []) == json_lines("detokenize", tiny, []) == []
    # The last line needs no end, and may have the end of another system.
    r = sluice("tokenize", tiny, "--jsonl", text='"a"\r\n"a"', check=0)
    assert r.out.splitlines() == [json.dumps(ids_of(tiny, "a")).encode()] * 2


def test_lines_are_answered_one_by_one(tiny):
    with subprocess.Popen([BINARY, "tokenize", tiny, "--jsonl"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as process:
        for text in ("a", "bc"):
            process.stdin.write(json.dumps(text).encode() + b"\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline()) == ids_of(tiny, text)
        process.stdin.close()
        assert process.wait(WAIT_S) == 0 and process.stdout.read() == b""


@pytest.mark.parametrize("command, line, part", [
    ("tokenize", "", "empty"), ("tokenize", "a", "JSON string"), ("tokenize", "[1]", "JSON string"),
    ("tokenize", '"a', "JSON string"), ("tokenize", '"a" "b"', "JSON string"),
    ("tokenize", b'"\xff"', "JSON string"), ("detokenize", "", "JSON array"),
    ("detokenize", '"a"', "JSON array"), ("detokenize", "[2000000]", "2000000")])
def test_a_wrong_line_is_named(tiny, command, line, part):
    good = b'"a"' if command == "tokenize" else b"[1]"
    line = line.encode() if isinstance(line, str) else line
    r = sluice(command, tiny, "--jsonl", text=b"\n".join([good, line, good]))
    assert r.code == 1 and r.out.count(b"\n") == 1
    one_sentence(r.err, "line 2", part)


def test_standard_input_is_a_directory(tiny, tmp_path):
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        for command in ("tokenize", "detokenize"):
            refused(sluice(command, tiny, stdin=folder), "standard input", "directory")
            refused(sluice(command, tiny, "--jsonl", stdin=folder), "standard input", "directory")
    finally:
        os.close(folder)


def test_vocabulary_only_files():
    folder = os.environ.get("SLUICE_VOCAB_DIR")
    names = ["llama-bpe", "gpt-2", "llama-spm"]
    paths = [pathlib.Path(folder or "/nonexistent") / f"ggml-vocab-{n}.gguf" for n in names]
    if not all(p.is_file() for p in paths):
        pytest.skip("SLUICE_VOCAB_DIR holds no vocabularies")
    for path in paths:
        for text in TEXTS[:6]:
            assert text_of(path, ids_of(path, text)) == text.encode()
        why = "vocabulary-only"
        refused(sluice("run", path, "-p", "x"), path, why)
        refused(sluice("logits", path, "--ids", "1", "--out", "/dev/null"), path, why)
        refused(sluice("bench", path), path, why)
        assert path.name in sluice("inspect", path, check=0).out.decode()


def test_vocabularies_of_other_families():
    """Unigram, WordPiece, raw BPE: what goes around a text, and the way back."""
    folder = pathlib.Path(os.environ.get("SLUICE_VOCAB_DIR") or "/nonexistent")
    wanted = {"gemma-4": ([2, 9259, 1902], "<bos>Hello world"),
              "bert-bge": ([101, 7592, 2088, 102], "[CLS] hello world[SEP]"),
              "nomic-bert-moe": ([0, 35378, 8999, 2], "<s>Hello world</s>")}
    for name, (ids, text) in wanted.items():
        path = folder / f"ggml-vocab-{name}.gguf"
        if not path.is_file():
            pytest.skip("SLUICE_VOCAB_DIR holds no vocabularies")
        assert ids_of(path, "Hello world", "--add-special") == ids
        assert text_of(path, ids) == text.encode()


def test_large_input(tiny):
    data = ("The quick brown fox jumps over the lazy dog. 0123456789 äöü\n" * 20000).encode()
    ids = ids_of(tiny, data)
    assert text_of(tiny, ids) == data


CHAT = {"messages": [{"role": "user", "content": "Hé <|im_end|>"}], "add_generation_prompt": True}
TINY_PROMPT = "<|im_start|>user\nHé <|im_end|><|im_end|>\n<|im_start|>assistant\n"


def test_render(tiny, tmp_path):
    request = tmp_path / "chat.json"
    request.write_text(json.dumps(CHAT))
    r = sluice("render", tiny, request, check=0)
    assert not r.err and r.out.decode() == TINY_PROMPT
    assert sluice("render", tiny, "-", text=json.dumps(CHAT), check=0).out == r.out
    assert sluice("render", tiny, "-", text=json.dumps({**CHAT, "add_generation_prompt": False}),
                  check=0).out.decode() == TINY_PROMPT.replace("<|im_start|>assistant\n", "")
    # A model is known by its contents too.
    other = tmp_path / "model"
    other.write_bytes(tiny.read_bytes())
    assert sluice("render", other, request, check=0).out == r.out


def render_text(tmp_path, template, request, **more):
    path = tmp_path / "template.jinja"
    path.write_text(template)
    return sluice("render", path, "-", text=json.dumps(request), **more)


def test_render_variables(tmp_path):
    template = "{{ messages[0].content }}|{{ tools is none }}|{{ bos_token }}|{{ mine.a }}"
    r = render_text(tmp_path, template, {**CHAT, "bos_token": "<s>", "mine": {"a": [1, None]}}, check=0)
    assert r.out.decode() == "Hé <|im_end|>|True|<s>|[1, None]"


def test_render_clock(tmp_path):
    template = "{{ strftime_now('%Y-%m-%d %H:%M') }}"
    env = {"SOURCE_DATE_EPOCH": "1000000000", "TZ": "Asia/Tokyo"}
    r = render_text(tmp_path, template, CHAT, env=env, check=0)
    assert r.out == b"2001-09-09 01:46"
    for wrong in ("x", "-1", "1.5", "99999999999999999999"):
        refused(render_text(tmp_path, template, CHAT, env={"SOURCE_DATE_EPOCH": wrong}),
                "SOURCE_DATE_EPOCH", wrong)


def test_render_refuses(tiny, tmp_path):
    refused(render_text(tmp_path, "{{ raise_exception('not like this') }}", CHAT), "not like this")
    refused(render_text(tmp_path, "a\n{% nonsense %}", CHAT), "line 2")
    refused(render_text(tmp_path, "{% for x in range(100000000) %}{{ x }}{% endfor %}", CHAT))
    refused(render_text(tmp_path, "{{ messages[0].content }}", []), "messages")
    refused(sluice("render", tiny, "-", text="{"), "standard input")
    refused(sluice("render", tiny, "-", text=b'{"messages": "\xff"}'), "standard input")
    refused(sluice("render", tiny, "-", text="[" * 100000), "standard input")
    refused(sluice("render", tiny, tmp_path / "none.json"), "none.json")
    refused(sluice("render", tmp_path / "none.jinja", "-", text="{}"), "none.jinja")
    refused(sluice("render", tmp_path, "-", text=json.dumps(CHAT)), tmp_path)
    binary = tmp_path / "binary.jinja"
    binary.write_bytes(bytes(range(256)))
    refused(sluice("render", binary, "-", text=json.dumps(CHAT)), "UTF-8")
