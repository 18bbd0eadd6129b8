"""`best_of` and `echo`: which answers are returned, and what comes before them."""

import statistics

import pytest

from conftest import Server

PROMPT = list(range(10, 40))


@pytest.fixture(scope="module")
def server(tiny_model):
    with Server(tiny_model, "--no-calibrate", "--batch-invariant") as s:
        yield s


def ask(server, **body):
    status, answer = server.json("POST", "/v1/completions", {"max_tokens": 8, "seed": 3, "ignore_eos": True,
                                                             "return_token_ids": True, **body})
    assert status == 200, answer
    return answer


def test_the_likeliest_are_returned(server):
    prompts = [PROMPT, PROMPT[::-1]]
    every = ask(server, prompt=prompts, n=8, logprobs=0)
    best = ask(server, prompt=prompts, n=3, best_of=8)
    assert [c["index"] for c in best["choices"]] == list(range(6))
    assert best["usage"]["completion_tokens"] == every["usage"]["completion_tokens"] == 128  # all were computed
    assert all(c["logprobs"] is None for c in best["choices"])
    for i in range(2):
        ranked = sorted(every["choices"][8 * i:8 * i + 8],
                        key=lambda c: -statistics.fmean(c["logprobs"]["token_logprobs"]))
        assert [c["token_ids"] for c in best["choices"][3 * i:3 * i + 3]] == [c["token_ids"] for c in ranked[:3]]


def test_best_of_n_keeps_the_order(server):
    assert [c["token_ids"] for c in ask(server, prompt=PROMPT, n=4, best_of=4)["choices"]] == [
        c["token_ids"] for c in ask(server, prompt=PROMPT, n=4)["choices"]]


@pytest.mark.parametrize("stream", [False, True])
def test_echo(server, stream):
    model = server.json("GET", "/v1/models")[1]["data"][0]["id"]

    def text(prompt, **more):
        answer = server.client().completions.create(model=model, prompt=prompt, max_tokens=6, temperature=0, stream=stream,
                                                    extra_body={"ignore_eos": True}, **more)
        return "".join(e.choices[0].text for e in answer) if stream else answer.choices[0].text
    plain = text("a b c")
    assert text("a b c", echo=True) == "a b c" + plain
    ids = ask(server, prompt="a b c")["prompt_token_ids"]
    assert text(ids, echo=True).endswith(text(ids)) and len(text(ids, echo=True)) > len(text(ids))
