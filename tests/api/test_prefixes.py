"""Prompts that begin alike: computed once, told as cached_tokens, shared with nobody else."""

import concurrent.futures
import json

import pytest

from conftest import Server

FLAGS = ("--no-calibrate",)  # which would forget the prefixes while the server is idle
PROMPT = list(range(10, 210))  # 200 ids: six whole pages, and 8 tokens
WHOLE = 192


def ask(s, prompt=None, headers=None, **more):
    body = {"prompt": PROMPT if prompt is None else prompt, "max_tokens": 4, "temperature": 0, **more}
    status, _, data = s.request("POST", "/v1/completions", body, headers)
    assert status == 200, data
    return json.loads(data)


def cached(answer):
    return answer["usage"]["prompt_tokens_details"]["cached_tokens"]


def text(answer):
    return answer["choices"][0]["text"]


def test_second_prompt_finds_the_first(tiny_model):
    with Server(tiny_model, *FLAGS) as s:
        first, second = ask(s), ask(s)
        assert (cached(first), cached(second)) == (0, WHOLE)
        assert text(first) == text(second)
        assert first["usage"]["prompt_tokens"] == second["usage"]["prompt_tokens"] == 200
        assert cached(ask(s, PROMPT[:100] + [5] + PROMPT[101:])) == 96  # up to where they part
        assert cached(ask(s, [5] + PROMPT)) == 0
        metrics = s.wait_idle()
        assert metrics["sluice_prompt_tokens_cached_total"] == WHOLE + 96
        assert metrics["sluice_kv_pages_cached"] >= 6


def test_answers_are_found_like_prompts(tiny_model):
    with Server(tiny_model, *FLAGS) as s:
        answer = ask(s, max_tokens=100, ignore_eos=True, return_token_ids=True)
        turn = PROMPT + answer["choices"][0]["token_ids"] + [7] * 50
        assert cached(ask(s, turn)) == (200 + 99) // 32 * 32  # the last one was never computed


def test_salts_and_tenants_do_not_share(tiny_model):
    with Server(tiny_model, *FLAGS) as s:
        ask(s)
        assert cached(ask(s, cache_salt="a")) == 0
        assert cached(ask(s, cache_salt="a")) == WHOLE
        assert cached(ask(s, cache_salt="b")) == 0
        assert cached(ask(s, headers={"X-Sluice-Tenant": "x"})) == WHOLE  # not trusted: not looked at
    with Server(tiny_model, *FLAGS, "--trust-tenant-header") as s:
        ask(s)
        x, y = {"X-Sluice-Tenant": "x"}, {"X-Sluice-Tenant": "y"}
        assert cached(ask(s, headers=x)) == 0
        before = s.metrics()["sluice_prompt_tokens_total"]
        assert cached(ask(s, headers=y)) == 0
        assert s.metrics()["sluice_prompt_tokens_total"] == before + 200  # every token is computed
        assert cached(ask(s, headers=x)) == WHOLE
        assert cached(ask(s, headers=x, cache_salt="y")) == 0
        assert cached(ask(s, headers={"X-Sluice-Tenant": "xy"})) == 0  # nor what only joins to the same
        status, _, data = s.request("POST", "/v1/completions", {"prompt": "x"},
                                    {"X-Sluice-Tenant": "x" * 129})
        assert status == 400 and b"X-Sluice-Tenant" in data


@pytest.mark.parametrize("salt", ["", "x" * 257, 7, ["a"]])
def test_bad_salts(tiny_model, salt):
    with Server(tiny_model, *FLAGS) as s:
        status, body = s.json("POST", "/v1/completions", {"prompt": "x", "cache_salt": salt})
        assert status == 400 and body["error"]["param"] == "cache_salt"


def test_switched_off(tiny_model):
    with Server(tiny_model, *FLAGS, "--no-prefix-cache") as s:
        assert [cached(ask(s)) for _ in range(2)] == [0, 0]
        assert s.wait_idle()["sluice_kv_pages_cached"] == 0


def test_usage_of_streams_and_chats(tiny_model):
    with Server(tiny_model, *FLAGS) as s:
        client = s.client()
        message = [{"role": "user", "content": "the same words " * 30}]
        for expected in (False, True):
            stream = client.chat.completions.create(model="tiny", messages=message, max_tokens=3, stream=True,
                                                    stream_options={"include_usage": True})
            usage = [chunk.usage for chunk in stream if chunk.usage][-1]
            assert (usage.prompt_tokens_details.cached_tokens > 0) == expected
        answer = client.completions.create(model="tiny", prompt=[PROMPT, PROMPT], max_tokens=2, n=2)
        assert answer.usage.prompt_tokens == 400
        assert answer.usage.prompt_tokens_details.cached_tokens == WHOLE  # the second prompt has the first's


def test_crowd_with_one_beginning(tiny_model):
    """Each but the first finds it, though they come together; all answers are those of a lone one."""
    with Server(tiny_model, *FLAGS, "--batch-invariant", "--kv-memory", "8M") as s:
        prompts = [PROMPT * 5 + [20 + i] * 20 for i in range(16)]
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            together = list(pool.map(lambda p: ask(s, p, max_tokens=40, ignore_eos=True), prompts))
        assert sorted(map(cached, together)) == [0] + [992] * 15
        s.wait_idle()
    with Server(tiny_model, *FLAGS, "--batch-invariant", "--no-prefix-cache") as s:
        for prompt, answer in zip(prompts, together):
            assert text(ask(s, prompt, max_tokens=40, ignore_eos=True)) == text(answer)
