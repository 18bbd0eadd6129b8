"""Bodies that are wrong in one way each: the right class of answer, in OpenAI's form, and the server
works as before."""

import json
import re

import pytest

MESSAGES = [{"role": "user", "content": "x"}]


def chat(**fields):
    return "/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 1, **fields}


def comp(**fields):
    return "/v1/completions", {"prompt": "x", "max_tokens": 1, **fields}


def raw(data, path="/v1/completions"):
    return path, data


def message(**fields):
    return "/v1/chat/completions", {"messages": [fields]}


def nested(n, opening="[", closing="]"):
    return '{"prompt":"x","z":' + opening * n + "1" + closing * n + "}"


CASES = [
    # the body as a whole
    raw(b""), raw(b"{"), raw(b"[]"), raw(b"null"), raw(b"1"), raw(b'"x"'), raw(b"{}"), raw(b"\xff\xfe"),
    raw(b"{}", "/v1/chat/completions"), raw(b'{"prompt":"x"}', "/v1/chat/completions"),
    raw(b'{"messages":[]}', "/v1/chat/completions"), raw(b'{"prompt":"x"'), raw(b'{"prompt":"x"}}'),
    raw(b'{"prompt":"x",}'), raw(b"{'prompt':'x'}"), raw(b'{prompt:"x"}'), raw(b'{"prompt":"\xc3"}'),
    raw(b'{"prompt":"\xc0\xaf"}'), raw(b'{"prompt":"\xed\xa0\x80"}'),
    raw(b'{"prompt":"\xf4\x90\x80\x80"}'), raw(b'{"prompt":"\\ud800"}'), raw(b'{"prompt":"\\udc00\\ud800"}'),
    raw(b'{"prompt":"\\u0000"}'), raw(b'{"prompt":"\x00"}'), raw(b'{"prompt":"a\nb"}'),
    raw(b'{"prompt":"x","prompt":"y"}'), raw(b'{"prompt":"x","seed":NaN}'), raw(b'{"prompt":"x","seed":01}'),
    raw(b'{"prompt":"x","temperature":1e999}'), raw(b'{"prompt":"x","n":99999999999999999999}'),
    raw(b'\xef\xbb\xbf{"prompt":"x"}'), raw(nested(64)), raw(nested(100000)),
    raw('{"prompt":"x","z":' + '{"a":' * 5000 + "1" + "}" * 5000 + "}"), raw(b'{"prompt":"x"} {"prompt":"y"}'),
    raw('{"prompt":"x",' + ",".join(f'"k{i}":1' for i in range(20000)) + "}"),
    raw(b"[" * 100000), raw(b"prompt=x"),
    # prompts
    comp(prompt=None), comp(prompt=5), comp(prompt={}), comp(prompt=True), comp(prompt=[]), comp(prompt=[[]]),
    comp(prompt=[300]), comp(prompt=[-1]), comp(prompt=[1.5]), comp(prompt=[2**31]), comp(prompt=[2**62]),
    comp(prompt=["a", 1]), comp(prompt=[1, "a"]), comp(prompt=[["a"]]), comp(prompt=[None]),
    comp(prompt=["x"] * 129), comp(prompt=[5] * 2048), comp(prompt="x " * 5000), comp(prompt=""),
    # messages
    chat(messages=None), chat(messages="x"), chat(messages={}), chat(messages=[]), chat(messages=["x"]),
    chat(messages=[[]]), chat(messages=[{}]), chat(messages=MESSAGES * 2049), message(role="user"),
    message(role="user", content=None), message(role="user", content=5), message(role="user", content={}),
    message(role="user", content=[5]), message(role="user", content=[{}]),
    message(role="user", content=[{"type": "text"}]), message(role="user", content=[{"type": "text", "text": 1}]),
    message(role="user", content=[{"type": "image_url", "image_url": {"url": "data:,"}}]),
    message(role="user", content=[{"type": "input_audio"}]), message(role="user", content=[{"type": "file"}]),
    message(role="robot", content="x"), message(role=5, content="x"), message(content="x"),
    message(role="assistant", content="x", tool_calls=5), message(role="assistant", tool_calls=[5]),
    message(role="assistant", tool_calls=[{"function": {"name": "f", "arguments": "{"}}]),
    message(role="assistant", tool_calls=[{"function": {"arguments": "{}"}}]),
    # numbers
    comp(temperature=-1), comp(temperature=2.5), comp(temperature="0"), comp(temperature=[1]),
    comp(top_p=-0.1), comp(top_p=1.1), comp(top_p="1"), comp(top_k=-2), comp(top_k=0.5), comp(top_k="x"),
    comp(min_p=-0.1), comp(min_p=1.1), comp(repetition_penalty=0), comp(repetition_penalty=-1),
    comp(presence_penalty=2.1), comp(frequency_penalty=-2.1), comp(frequency_penalty="x"),
    comp(n=0), comp(n=-1), comp(n=17), comp(n=2**40), comp(n="2"), comp(n=1.5),
    comp(max_tokens=0), comp(max_tokens=-1), comp(max_tokens="1"), comp(max_tokens=1.5), comp(max_tokens=[]),
    chat(max_completion_tokens=0), comp(seed="x"), comp(seed=1.5), comp(seed={}),
    comp(logprobs=-1), comp(logprobs=21), comp(logprobs=True), comp(logprobs="5"),
    chat(logprobs=5), chat(top_logprobs=5), chat(logprobs=True, top_logprobs=21),
    chat(logprobs=True, top_logprobs=-1),
    # lists
    comp(stop=5), comp(stop=[5]), comp(stop=""), comp(stop=[""]), comp(stop=["a"] * 17), comp(stop="x" * 1025),
    comp(stop={}), comp(stop_token_ids=5), comp(stop_token_ids=[300]), comp(stop_token_ids=[-1]),
    comp(stop_token_ids=["1"]), comp(stop_token_ids=[5] * 65), comp(logit_bias=[]), comp(logit_bias={"x": 1}),
    comp(logit_bias={"300": 1}), comp(logit_bias={"-1": 1}), comp(logit_bias={"1": 101}),
    comp(logit_bias={"1": None}), comp(logit_bias={str(i): 1 for i in range(2000)}),
    # words
    comp(stream="yes"), comp(stream=1), comp(stream_options={"include_usage": True}),
    comp(stream=True, stream_options=1), comp(stream=True, stream_options={"include_usage": "x"}),
    comp(model=5), comp(model=[]), comp(ignore_eos="x"), comp(return_token_ids=1), comp(echo=True, logprobs=1),
    comp(suffix="x"), comp(best_of=3, stream=True), chat(tools=5), chat(tools=[5]), chat(tools=[{}]),
    chat(tools=[{"type": "function"}]), chat(tools=[{"type": "function", "function": {}}]),
    chat(tools=[{"type": "function", "function": {"name": "f"}}] * 513), chat(tool_choice="required"),
    chat(tool_choice={"type": "function", "function": {"name": "f"}}), chat(tool_choice=5),
    chat(response_format={"type": "json_object"}), chat(response_format={"type": "json_schema"}),
    chat(response_format="x"), chat(functions=[{"name": "f"}]), chat(function_call={"name": "f"}),
    chat(modalities=["audio"]), chat(audio={}), chat(web_search_options={}), chat(chat_template="{{1}}"),
    chat(chat_template_kwargs={"chat_template": "x"}), chat(chat_template_kwargs={"a": {"chat_template": 1}}),
    chat(chat_template_kwargs=5), chat(chat_template_kwargs={"messages": []}),
    chat(chat_template_kwargs={"<|im_start|>": 1}), chat(continue_final_message=True),
    chat(reasoning_effort="extreme"), chat(guided_json={}), chat(structured_outputs={}), comp(min_tokens=2),
    comp(prompt_logprobs=1), comp(include_stop_str_in_output=True), comp(use_beam_search=True),
]


@pytest.mark.parametrize("index", range(len(CASES)))
def test_bad_body(server, index):
    path, body = CASES[index]
    status, headers, data = server.request("POST", path, body)
    assert status == 400, data
    error = json.loads(data)["error"]
    assert headers["Content-Type"] == "application/json"
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error" and len(error["message"]) > 10
    # Nothing of the inside: no source files, no paths.
    assert not re.search(r"\w\.[ch]\b|(^|[\s\"'])/\w+/\w+", error["message"]), error["message"]


def test_there_are_enough_cases():
    assert len(CASES) >= 100


def test_not_400(server):
    cases = [
        ("POST", "/v1/completions", {"prompt": "x", "model": "other"}, 404),
        ("GET", "/v1/completions", None, 405),
        ("DELETE", "/v1/chat/completions", None, 405),
        ("POST", "/v1/models", {}, 405),
        ("PUT", "/health", {}, 405),
        ("GET", "/", None, 404),
        ("GET", "/v1/nothing", None, 404),
        ("POST", "/v1/completions/", {"prompt": "x"}, 404),
        ("GET", "/v1/models/other", None, 404),
        ("GET", "/v1/models/a%20b%0a%1b%5b2J", None, 404),
    ]
    for method, path, body, expected in cases:
        status, headers, data = server.request(method, path, body)
        assert status == expected, (path, data)
        error = json.loads(data)["error"]
        assert error["message"] and "\x1b" not in error["message"]
        if status == 405:
            assert headers["Allow"] in ("POST", "GET, HEAD")
    status, _, _ = server.request("POST", "/v1/completions", b"x", {"Content-Encoding": "gzip"})
    assert status == 415


def test_unknown_fields_are_ignored_and_logged(server):
    status, _ = server.json("POST", "/v1/completions", {"prompt": "x", "max_tokens": 1, "frobnicate": 1})
    assert status == 200
    assert "frobnicate" in server.log_text()


def test_fields_without_effect(server):
    body = {"messages": MESSAGES, "max_tokens": 3, "temperature": 0}
    _, plain = server.json("POST", "/v1/chat/completions", body)
    status, answer = server.json("POST", "/v1/chat/completions", {
        **body, "user": "u", "store": False, "metadata": {"a": "b"}, "service_tier": "auto",
        "parallel_tool_calls": True, "safety_identifier": "s", "prompt_cache_key": "k",
        "response_format": {"type": "text"}, "modalities": ["text"], "tool_choice": "auto",
        "logit_bias": None, "stop": None, "stream_options": None, "verbosity": "medium"})
    assert status == 200
    assert answer["choices"] == plain["choices"]


def test_huge_numbers_cost_nothing(server):
    status, answer = server.json("POST", "/v1/completions", {
        "prompt": "x", "max_tokens": 2**62, "ignore_eos": True, "logprobs": 20, "n": 2})
    assert status == 200
    assert answer["usage"]["total_tokens"] <= 2 * 2048


def test_large_text_is_refused_quickly(server):
    status, answer = server.json("POST", "/v1/completions", {"prompt": "a" * ((8 << 20) - 100)})
    assert status == 400 and answer["error"]["code"] == "context_length_exceeded"
    status, _, data = server.request("POST", "/v1/completions", b"x" * ((8 << 20) + 1))
    assert status == 413
