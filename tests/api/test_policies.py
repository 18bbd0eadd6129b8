"""Who comes first: priorities, tenants, batches; and what is refused of them."""

import concurrent.futures
import select

import pytest

from conftest import WAIT_S, Server

ONE = ("--parallel", "1", "--no-calibrate")  # one request at a time, so that order shows


LONG = {"prompt": "x", "max_tokens": 16000, "ignore_eos": True}
SMALL = {"prompt": "x", "max_tokens": 2}


def wait_for_queue(s, n):
    s.wait_for(lambda m: m["sluice_requests_queued"] >= n, "its place in the queue")


def passes(s, long, small, tenants=("", "")):
    """Behind a long request wait another one, and a small one that came last. Whether the small one is
    answered first."""
    first = s.post_raw("/v1/completions", LONG, tenant=tenants[0])
    s.wait_for(lambda m: m["sluice_requests_running"] == 1, "the first one")
    second = s.post_raw("/v1/completions", {**LONG, **long}, tenant=tenants[0])
    wait_for_queue(s, 1)
    third = s.post_raw("/v1/completions", {**SMALL, **small}, tenant=tenants[1])
    wait_for_queue(s, 2)
    first.close()
    s.wait_for(lambda m: m["sluice_requests_queued"] < 2, "the next one")
    # The long answer takes 16,000 steps; behind it the small one comes with it.
    answered, _, _ = select.select([second, third], [], [], WAIT_S)
    assert answered
    second.close()
    third.close()
    s.wait_idle()
    return answered == [third]


def test_as_they_came(tiny_model):
    with Server(tiny_model, *ONE) as s:
        assert not passes(s, {"priority": 5}, {"priority": -5})


def test_priorities(tiny_model):
    with Server(tiny_model, *ONE, "--policy", "priority", "--age", "3600") as s:
        assert passes(s, {"priority": 5}, {})
        assert not passes(s, {}, {"priority": 5})
        assert not passes(s, {}, {})


def test_urgent_takes_the_place_of_another(tiny_model):
    with Server(tiny_model, *ONE, "--policy", "priority", "--age", "3600") as s:
        body = {"prompt": "x", "max_tokens": 300, "ignore_eos": True, "temperature": 0}
        alone = s.json("POST", "/v1/completions", body)[1]["choices"][0]["text"]
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            slow = pool.submit(s.json, "POST", "/v1/completions", {**body, "max_tokens": 12000})
            s.wait_for(lambda m: m["sluice_requests_running"] == 1, "the slow one")
            assert s.json("POST", "/v1/completions", {**body, "priority": -1})[0] == 200
            assert slow.result(WAIT_S)[1]["choices"][0]["text"].startswith(alone)
        assert s.wait_idle()["sluice_requests_held_total"] == 1


def test_shortest(tiny_model):
    with Server(tiny_model, *ONE, "--policy", "shortest") as s:
        assert passes(s, {}, {})


def test_tenants_take_turns(tiny_model):
    with Server(tiny_model, *ONE, "--policy", "fair", "--trust-tenant-header") as s:
        assert passes(s, {}, {}, ("a", "b"))
        assert not passes(s, {}, {}, ("c", "c"))


def first_answers(s, n, tenants):
    """Behind a long request waits one of each of these tenants: whose are the first n answered."""
    first = s.post_raw("/v1/completions", LONG, tenant="other")
    s.wait_for(lambda m: m["sluice_requests_running"] == 1, "the first one")
    waiting = {}
    for i, tenant in enumerate(tenants):
        waiting[s.post_raw("/v1/completions", {**LONG, "max_tokens": 1000}, tenant=tenant)] = tenant
        wait_for_queue(s, i + 1)
    first.close()
    answered = []
    while len(answered) < n:
        ready, _, _ = select.select(list(waiting), [], [], WAIT_S)
        assert ready
        answered += [waiting.pop(one) for one in ready]
    for one in waiting:
        one.close()
    s.wait_idle()
    return sorted(answered)


def test_tenants_of_weight(tiny_model):
    tenants = ["a", "b"] * 4
    fair = (*ONE, "--policy", "fair", "--trust-tenant-header")
    with Server(tiny_model, *fair, "--tenant-weight", "a=3", "--tenant-weight", "x=y=2") as s:
        assert first_answers(s, 4, tenants) == ["a", "a", "a", "b"]
    with Server(tiny_model, *fair) as s:
        assert first_answers(s, 4, tenants) == ["a", "a", "b", "b"]


@pytest.mark.parametrize("priority", [1001, -1001, 0.5, "high"])
def test_bad_priorities(tiny_model, priority):
    with Server(tiny_model, *ONE) as s:
        status, body = s.json("POST", "/v1/completions", {"prompt": "x", "priority": priority})
        assert status == 400 and body["error"]["param"] == "priority"


@pytest.mark.parametrize("batching", ["static", "window"])
def test_batches(tiny_model, batching):
    with Server(tiny_model, "--no-calibrate", "--batching", batching, "--batch", "2", "--batch-window", "1") as s:
        with concurrent.futures.ThreadPoolExecutor(5) as pool:
            answers = list(pool.map(lambda i: s.json("POST", "/v1/completions", {
                "prompt": "x" * (i + 1), "max_tokens": 5}), range(5)))
        assert [status for status, _ in answers] == [200] * 5
        assert all(answer["usage"]["completion_tokens"] <= 5 for _, answer in answers)
