"""Guesses from a request's own text: the answer is the same with them, and usage tells of them."""

import json

import pytest

from conftest import Server

PATTERN = [10 + i % 12 for i in range(120)]


def answers(model, flags):
    """Usage and tokens of several requests, alone and as a crowd."""
    found = []
    with Server(model, "--no-calibrate", "--batch-invariant", *flags) as s:
        for temperature, n in (0, 1), (0.3, 1), (0.3, 3):
            body = {"prompt": PATTERN, "max_tokens": 120, "temperature": temperature, "seed": 7, "n": n,
                    "ignore_eos": True, "return_token_ids": True, "logprobs": 2}
            status, _, data = s.request("POST", "/v1/completions", body)
            assert status == 200, data
            found.append(json.loads(data))
        metrics = s.wait_idle()
    return found, metrics


def test_the_same_answers(tiny_model):
    guessed, metrics = answers(tiny_model, ())
    plain, plain_metrics = answers(tiny_model, ("--no-speculate",))
    for ours, theirs in zip(guessed, plain):
        assert ours["choices"] == theirs["choices"]
    assert "completion_tokens_details" not in plain[0]["usage"]
    details = [answer["usage"]["completion_tokens_details"] for answer in guessed]
    assert details[0]["accepted_prediction_tokens"] > 5  # a random model repeats itself now and then
    assert metrics["sluice_accepted_tokens_total"] == sum(d["accepted_prediction_tokens"] for d in details)
    assert metrics["sluice_drafted_tokens_total"] == sum(sum(d.values()) for d in details)
    assert metrics["sluice_steps_total"] < plain_metrics["sluice_steps_total"]
    assert plain_metrics["sluice_drafted_tokens_total"] == 0


@pytest.mark.parametrize("penalty", ["presence_penalty", "frequency_penalty", "repetition_penalty"])
def test_penalties_guess_nothing(tiny_model, penalty):
    with Server(tiny_model, "--no-calibrate") as s:
        body = {"prompt": PATTERN, "max_tokens": 60, "ignore_eos": True, "temperature": 0, penalty: 1.5}
        status, _, data = s.request("POST", "/v1/completions", body)
        assert status == 200, data
        assert "completion_tokens_details" not in json.loads(data)["usage"]


def test_streams_tell_of_guesses(tiny_model):
    with Server(tiny_model, "--no-calibrate") as s:
        stream = s.client().completions.create(
            model=s.json("GET", "/v1/models")[1]["data"][0]["id"], prompt=PATTERN, max_tokens=100, temperature=0,
            stream=True, stream_options={"include_usage": True}, extra_body={"ignore_eos": True})
        usage = [event.usage for event in stream if event.usage is not None]
        assert usage[-1].completion_tokens == 100
        assert usage[-1].completion_tokens_details.accepted_prediction_tokens > 0
