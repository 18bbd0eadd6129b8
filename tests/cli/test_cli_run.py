"""sluice run: what is fed, what comes out, how it ends."""

import json

import pytest

from conftest import misused, refused, run_json, sluice
from gguf_edit import BOOL, STRING, U32, File, Value

TIMINGS = ["load_ms", "prompt_n", "prompt_ms", "gen_n", "gen_ms"]


def check_fields(o):
    assert list(o) == ["prompt_ids", "ids", "text", "finish_reason", "timings"]
    assert list(o["timings"]) == TIMINGS
    assert o["timings"]["prompt_n"] == len(o["prompt_ids"])
    assert o["timings"]["gen_n"] == len(o["ids"])
    assert all(o["timings"][k] >= 0 for k in TIMINGS)


def test_json_fields(tiny):
    o = run_json(tiny, "--ids", "1,2,3", "-n", "8")
    check_fields(o)
    assert o["prompt_ids"] == [1, 2, 3], "--ids adds nothing"
    assert len(o["ids"]) == 8 and o["finish_reason"] == "length"
    assert o == {**run_json(tiny, "--ids=[1, 2, 3]", "-n", "8"), "timings": o["timings"]}


@pytest.mark.parametrize("mode", [["--exact"], ["--exact", "--batch-invariant", "--threads", "1"],
                                  ["--exact", "--kv-type", "f32", "--ctx", "300"]], ids=str)
def test_reference_tokens(goldens, mode):
    """Greedy tokens are the reference's up to the first place where the two best are near."""
    for model, golden in goldens:
        for case in golden["cases"]:
            gaps = case["greedy_gap"]
            n = next((i for i, g in enumerate(gaps) if g < 0.01), len(gaps))
            want = case["greedy"][:n]
            o = run_json(model, "--ids", ",".join(map(str, case["prompt"])), "-n", str(len(want)),
                         "--ignore-eos", *mode)
            check_fields(o)
            assert o["ids"] == want, (model.name, case["id"])


@pytest.mark.parametrize("mode", [[], ["--kv-type", "f32"], ["--kv-type", "f16"],
                                  ["--kv-type", "bf16"], ["--kv-type=int8"], ["--kv-type", "int4"],
                                  ["--batch-invariant"], ["--threads", "1"], ["--pin"],
                                  ["--kv-memory", "1M"], ["--kv-memory", "50%"]], ids=str)
def test_modes(quant_model, mode):
    o = run_json(quant_model, "--ids", "5,6,7", "-n", "20", "--ignore-eos", *mode)
    check_fields(o)
    assert len(o["ids"]) == 20


def test_text_is_that_of_the_ids(tiny):
    o = run_json(tiny, "--raw", "-p", "Hello", "-n", "40")
    plain = sluice("run", tiny, "--raw", "-p", "Hello", "-n", "40", check=0)
    assert plain.out.decode() == o["text"] + "\n"
    assert "tokens/s" in plain.err and plain.err.count("\n") == 1
    back = sluice("detokenize", tiny, "--skip-special", text=json.dumps(o["ids"]), check=0).out
    assert back.decode("utf-8", "replace").rstrip("\ufffd") == o["text"].rstrip("\ufffd")
    quiet = sluice("run", tiny, "--raw", "-p", "Hello", "-n", "40", "-q", check=0)
    assert quiet.out == plain.out and quiet.err == ""
    assert sluice("run", tiny, "--raw", "-p", "Hello", "-n", "2", "--json", check=0).err == ""


def test_raw_prompts(tiny, goldens):
    """--raw: no template, the file's BOS rule, special tokens parsed."""
    def fed(model, text):
        ids = run_json(model, "--raw", "-p", text, "-n", "1")["prompt_ids"]
        want = sluice("tokenize", model, "--add-special", "--parse-special", text=text, check=0)
        assert ids == json.loads(want.out)
        return ids
    assert fed(tiny, "<|im_start|>x<|im_end|>")[::2] == [1, 2]
    n = 0
    for model, golden in goldens:
        for case in golden.get("tokenizer_cases", []):
            if case["text"]:
                assert fed(model, case["text"]) == case["ids_with_special"]
                n += 1
    assert n >= 7


def with_keys(model, path, **keys):
    f = File(model.read_bytes())
    for name, value in keys.items():
        kind = BOOL if isinstance(value, bool) else U32 if isinstance(value, int) else STRING
        f.kv[b"tokenizer." + name.replace("__", ".").encode()] = Value(kind, value)
    path.write_bytes(f.bytes())
    return path


def test_bos_rule_of_the_file(tiny, tmp_path):
    yes = with_keys(tiny, tmp_path / "yes.gguf", ggml__add_bos_token=True)
    no = with_keys(tiny, tmp_path / "no.gguf", ggml__add_bos_token=False)
    for text in ("a", "abc", "\n"):
        plain = run_json(no, "--raw", "-p", text, "-n", "1")["prompt_ids"]
        assert run_json(yes, "--raw", "-p", text, "-n", "1")["prompt_ids"] == [1] + plain
    # Exactly one: the template's own counts.
    assert run_json(yes, "-p", "a", "-n", "1")["prompt_ids"].count(1) == \
        run_json(no, "-p", "a", "-n", "1")["prompt_ids"].count(1)
    # Empty: with a BOS there is something to go on from, without there is nothing.
    assert run_json(yes, "--raw", "-p", "", "-n", "1")["prompt_ids"] == [1]
    refused(sluice("run", no, "--raw", "-p", ""), "no token")


def test_chat_prompt_is_what_render_says(tiny):
    for system in (None, "Be brief."):
        messages = [{"role": "system", "content": system}] if system else []
        messages.append({"role": "user", "content": "What is <|im_end|>?"})
        o = run_json(tiny, "-p", "What is <|im_end|>?", "-n", "1", *(["-s", system] if system else []))
        text = sluice("render", tiny, "-", text=json.dumps(
            {"messages": messages, "add_generation_prompt": True}), check=0).out
        fed = sluice("detokenize", tiny, text=json.dumps(o["prompt_ids"]), check=0).out
        assert fed == text
        assert o["prompt_ids"].count(2) == len(messages), "what users write is no special token"


def test_prompt_from_a_file(tiny, tmp_path):
    path = tmp_path / "prompt.txt"
    path.write_bytes("Grüße\0 und\n".encode())
    a = run_json(tiny, "--raw", "-f", path, "-n", "4")
    b = run_json(tiny, "--raw", "-f", "-", "-n", "4", text=path.read_bytes())
    assert a["prompt_ids"] == b["prompt_ids"] and a["ids"] == b["ids"]
    back = sluice("detokenize", tiny, text=json.dumps(a["prompt_ids"]), check=0).out
    assert back == path.read_bytes()
    assert run_json(tiny, "-f", path, "-n", "1")["prompt_ids"][0] == 1
    refused(sluice("run", tiny, "-f", tmp_path / "none"), "none")
    refused(sluice("run", tiny, "-f", tmp_path), tmp_path)
    big = tmp_path / "big.txt"
    big.write_bytes(b"abc " * 100000)
    refused(sluice("run", tiny, "-f", big), "context")


def test_prompt_that_is_not_utf8(tiny):
    refused(sluice("run", tiny, "-p", b"ab\xffcd"), "-p", "byte 2", "--raw")
    o = run_json(tiny, "--raw", "-p", b"ab\xffcd", "-n", "2")
    back = sluice("detokenize", tiny, text=json.dumps(o["prompt_ids"]), check=0).out
    assert back == b"ab\xffcd"
    misused(sluice("run", tiny, "-p", "a", "--system", b"\xff"), "--system")


def test_empty_prompt_with_template(tiny):
    check_fields(run_json(tiny, "-p", "", "-n", "2"))


def test_without_template(tiny, tmp_path):
    f = File(tiny.read_bytes())
    del f.kv[b"tokenizer.chat_template"]
    path = tmp_path / "plain.gguf"
    path.write_bytes(f.bytes())
    refused(sluice("run", path, "-p", "a"), path, "--raw")
    run_json(path, "--raw", "-p", "a", "-n", "1")


@pytest.mark.parametrize("template", [b"{% if", b"{{ x.y.z }}", b"{{ raise_exception('no') }}",
                                      b"{% for i in range(100000000) %}{% endfor %}", b"\xff"], ids=repr)
def test_template_that_fails(tiny, tmp_path, template):
    path = with_keys(tiny, tmp_path / "m.gguf", chat_template=template)
    refused(sluice("run", path, "-p", "a"), "template")


def test_ids_outside_the_vocabulary(tiny):
    for id in (300, 2147483647):
        refused(sluice("run", tiny, "--ids", f"1,{id},2"), "--ids", "number 2", id, "299")


def test_context(tiny):
    ten = "1,2,3,4,5,6,7,8,9,10"
    o = run_json(tiny, "--ids", ten, "--ctx", "16", "--ignore-eos")
    assert len(o["ids"]) == 6 and o["finish_reason"] == "length"
    assert len(run_json(tiny, "--ids", ten, "--ctx", "16", "-n", "99", "--ignore-eos")["ids"]) == 6
    assert len(run_json(tiny, "--ids", ten, "--ctx", "11")["ids"]) == 1
    for ctx in ("10", "9", "2"):
        refused(sluice("run", tiny, "--ids", ten, "--ctx", ctx), "10 tokens", "--ctx")
    refused(sluice("run", tiny, "--ids", ten, "--ctx", "16385"), "16385", "16384")
    refused(sluice("run", tiny, "-f", "-", "--ctx", "64", text="many words " * 100), "--ctx")
    o = run_json(tiny, "--ids", "1", "-n", "200000000", "--ctx", "40", "--ignore-eos")
    assert len(o["ids"]) == 39


def test_pages_that_are_too_few(tiny):
    refused(sluice("run", tiny, "--ids", "1", "--kv-memory", "1K"), "--kv-memory")
    page = sluice("inspect", tiny, "--json", check=0)
    page_bytes = json.loads(page.out)["kv_bytes_per_token"] * 32
    refused(sluice("run", tiny, "--ids", "1", "-n", "100", "--kv-memory", str(page_bytes)), "4 KV pages")
    # A share that comes to no byte is not the default.
    refused(sluice("run", tiny, "--ids", "1", "-n", "1", "--kv-memory", "0.0000000001%"), "holds no sequence")
    o = run_json(tiny, "--ids", "1", "--kv-memory", str(page_bytes), "--ignore-eos")
    assert len(o["ids"]) == 31 and o["finish_reason"] == "length"
    # Memory for one page of each type holds one page of it, and one byte less holds none.
    for kv_type, token_bytes in json.loads(page.out)["kv_bytes_per_token_by_type"].items():
        flags = ["--ids", "1", "--ignore-eos", "--kv-type", kv_type, "--kv-memory"]
        assert len(run_json(tiny, *flags, str(token_bytes * 32))["ids"]) == 31
        refused(sluice("run", tiny, *flags, str(token_bytes * 32 - 1)), "holds no sequence")


def test_sampling_is_a_function_of_the_seed(tiny):
    def ids(*flags):
        r = sluice("run", tiny, "--raw", "-p", "Hello", "-n", "30", "--ignore-eos", "--json", *flags,
                   check=0)
        return json.loads(r.out)["ids"]
    greedy = ids()
    assert greedy == ids("--temp", "0", "--seed", "9") == ids("--temp", "5", "--top-k", "1")
    assert greedy == ids("--temp", "1", "--top-p", "0") == ids("--temp", "1", "--min-p", "1")
    a = ids("--temp", "1", "--seed", "1")
    assert a == ids("--temp", "1", "--seed", "1", "--threads", "1") != greedy
    assert a != ids("--temp", "1", "--seed", "2")
    assert ids("--temp", "1", "--seed", "18446744073709551615") != a


def test_end_tokens(tiny):
    """Ends with an end token: in ids, not in the text. Ignored ones are ordinary tokens."""
    for seed in range(200):
        flags = ["--raw", "-p", "Hi", "-n", "3000", "--seed", str(seed), "--json"]
        o = json.loads(sluice("run", tiny, *flags, "--temp", "2", check=0).out)
        if o["finish_reason"] == "stop":
            break
    assert o["finish_reason"] == "stop" and o["ids"][-1] in (0, 2)
    assert not any(i in (0, 2) for i in o["ids"][:-1])
    assert "<|im_end|>" not in o["text"] and "<|endoftext|>" not in o["text"]
    check_fields(o)
    on = json.loads(sluice("run", tiny, *flags, "--temp", "2", "--ignore-eos", check=0).out)
    assert on["finish_reason"] == "length" and len(on["ids"]) == 3000
    assert on["ids"][:len(o["ids"])] == o["ids"]


def test_stop_strings(tiny):
    o = run_json(tiny, "--raw", "-p", "Hello", "-n", "60", "--ignore-eos")
    text = o["text"]
    clean = [i for i in range(4, len(text) - 3) if "\ufffd" not in text[i:i + 3]]
    assert clean, "the tiny model writes at least three characters in a row"
    stop = text[clean[0]:clean[0] + 3]
    cut = run_json(tiny, "--raw", "-p", "Hello", "-n", "60", "--ignore-eos", "--stop", "never there",
                   "--stop", stop)
    check_fields(cut)
    assert cut["finish_reason"] == "stop"
    assert cut["text"] == text[:text.index(stop)]
    assert cut["ids"] == o["ids"][:len(cut["ids"])] and len(cut["ids"]) < 60
    plain = sluice("run", tiny, "--raw", "-p", "Hello", "-n", "60", "--ignore-eos", "--stop", stop,
                   "-q", check=0)
    assert plain.out.decode() == cut["text"] + "\n"
    same = run_json(tiny, "--raw", "-p", "Hello", "-n", "60", "--ignore-eos", "--stop", "never there")
    assert same["text"] == text and same["finish_reason"] == "length"


def test_smollm2(smollm2):
    o = run_json(smollm2, "-p", "What is the capital of France?", "-n", "64", "--exact")
    check_fields(o)
    assert "Paris" in o["text"] and o["finish_reason"] == "stop"
    assert o["prompt_ids"][0] == 1 and o["ids"][-1] == 2
    assert o["text"].isprintable()
    again = run_json(smollm2, "-p", "What is the capital of France?", "-n", "64", "--batch-invariant",
                     "--threads", "1")
    assert again["ids"] == run_json(smollm2, "-p", "What is the capital of France?", "-n", "64",
                                    "--batch-invariant", "--threads", "2")["ids"]


def test_poisoned_weights(tiny, tmp_path):
    """Logits that are no numbers are an error, never a token."""
    f = File(tiny.read_bytes())
    t = f.tensor(b"blk.0.attn_norm.weight")
    f.payload = f.payload[:t.offset] + b"\xff\xff\xff\x7f" * 4 + f.payload[t.offset + 16:]
    path = tmp_path / "nan.gguf"
    path.write_bytes(f.bytes())
    refused(sluice("run", path, "--ids", "1,2", "-n", "2"))
    refused(sluice("bench", path, "--prompt", "4", "--gen", "2"))
