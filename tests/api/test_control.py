"""Requests that are cancelled by id, kept waiting, bound to a time."""

import json
import threading

import pytest

from conftest import WAIT_S, Server

PROMPT = list(range(10, 74))
LONG = {"prompt": PROMPT, "max_tokens": 100000, "ignore_eos": True, "temperature": 0}


@pytest.fixture(scope="module")
def server(tiny_model):
    with Server(tiny_model, "--no-calibrate", "--admin", "--ctx", "2048") as s:
        yield s


class Asked(threading.Thread):
    """A request in a thread of its own."""

    def __init__(self, server, **body):
        super().__init__(daemon=True)
        self.server, self.body, self.status, self.answer = server, body, None, None
        self.start()

    def run(self):
        self.status, self.headers, data = self.server.request("POST", "/v1/completions", self.body)
        self.answer = json.loads(data)

    def end(self):
        self.join(WAIT_S)
        assert not self.is_alive()
        return self.status, self.answer


def pause(server, paused):
    status, answer = server.json("POST", "/admin/pause" if paused else "/admin/resume")
    assert (status, answer) == (200, {"paused": paused})


def test_paused_requests_wait(server):
    pause(server, True)
    asked = Asked(server, prompt=PROMPT, max_tokens=3)
    server.wait_for(lambda m: m["sluice_requests_queued"] == 1, "its place in the queue")
    metrics = server.metrics()
    assert metrics["sluice_admission_paused"] == 1 and metrics["sluice_requests_running"] == 0
    pause(server, False)
    status, answer = asked.end()
    assert status == 200 and answer["usage"]["completion_tokens"] == 3
    assert server.metrics()["sluice_admission_paused"] == 0


def test_deadline_passes_in_the_queue(server):
    computed = server.metrics()["sluice_prompt_tokens_total"]
    pause(server, True)
    status, answer = Asked(server, prompt=PROMPT, max_tokens=3, deadline_ms=50).end()
    assert status == 504
    assert answer["error"]["code"] == "deadline_exceeded" and "50 ms" in answer["error"]["message"]
    pause(server, False)
    metrics = server.wait_idle()
    assert metrics["sluice_requests_queued"] == 0
    assert metrics["sluice_prompt_tokens_total"] == computed  # dropped before it cost anything


@pytest.mark.parametrize("value", [0, -1, 1.5, "1", 86400001])
def test_wrong_deadlines(server, value):
    status, answer = server.json("POST", "/v1/completions", {"prompt": PROMPT, "deadline_ms": value})
    assert status == 400 and answer["error"]["param"] == "deadline_ms"


def test_a_far_deadline_changes_nothing(server):
    for deadline in {}, {"deadline_ms": 86400000}:
        status, answer = server.json("POST", "/v1/completions", {"prompt": PROMPT, "max_tokens": 5, **deadline})
        assert status == 200 and answer["usage"]["completion_tokens"] == 5


def test_a_stream_is_cancelled_by_id(server):
    with server.client().completions.create(
            model=server.json("GET", "/v1/models")[1]["data"][0]["id"], stream=True, prompt=PROMPT,
            max_tokens=1900, extra_body={"ignore_eos": True}) as stream:
        first = next(iter(stream))
        status, answer = server.json("POST", f"/v1/requests/{first.id}/cancel")
        if status == 200:  # else it was faster
            assert answer == {"id": first.id, "object": "request", "status": "cancelled"}
            with pytest.raises(Exception, match="cancelled"):
                list(stream)
    server.wait_idle()
    status, answer = server.json("POST", f"/v1/requests/{first.id}/cancel")
    assert status == 404 and answer["error"]["code"] == "request_not_found"


def explain(server, answer):
    status, told = server.json("GET", f"/v1/requests/{answer['id']}/explain")
    assert status == 200 and told["id"] == answer["id"]
    return told


def test_an_ended_request_is_explained(server):
    body = {"prompt": list(range(100, 240)) * 4, "max_tokens": 30, "ignore_eos": True, "n": 2, "temperature": 1}
    answers = [server.json("POST", "/v1/completions", body)[1] for _ in range(2)]
    for answer, cached in zip(answers, (False, True)):
        told = explain(server, answer)
        assert told["status"] == "finished" and len(told["choices"]) == 2
        for choice in told["choices"]:
            events = [one["event"] for one in choice["timeline"]]
            assert events[:2] == ["submitted", "began"] and events[-1] == "ended" and "first_token" in events
            times = [one["at_ms"] for one in choice["timeline"]]
            assert times == sorted(times) and times[0] == 0
            computed = sum(one["tokens"] for one in choice["timeline"] if one["event"] == "prompt")
            assert computed + choice["cached_tokens"] == choice["prompt_tokens"] == 560
            assert choice["completion_tokens"] == 30 and choice["token_ms"]["mean"] > 0
        first = told["choices"][0]
        assert (first["cached_tokens"] > 0) == cached
        assert ("no more can be" in first["why_not_more_cached"]) == cached
        assert ("in common" in first["advice"]) == (not cached)


def test_a_waiting_request_is_explained(server):
    pause(server, True)
    stream = server.post_raw("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]})
    server.wait_for(lambda m: m["sluice_requests_queued"] == 1, "its place in the queue")
    assert server.json("GET", "/v1/requests/chatcmpl-0/explain")[0] == 404
    assert server.json("GET", "/v1/requests/" + "x" * 4000 + "/explain")[0] == 404
    pause(server, False)
    server.wait_idle()
    stream.close()


def test_only_the_last_ones_are_kept(tiny_model):
    with Server(tiny_model, "--no-calibrate") as s:
        first = s.json("POST", "/v1/completions", {"prompt": PROMPT, "max_tokens": 1})[1]
        explain(s, first)
        for _ in range(256):
            last = s.json("POST", "/v1/completions", {"prompt": PROMPT, "max_tokens": 1})[1]
        assert s.json("GET", f"/v1/requests/{first['id']}/explain")[0] == 404
        assert explain(s, last)["choices"][0]["cached_tokens"] == 32


def test_control_paths(server, tiny_model):
    assert server.json("GET", "/v1/requests/x/cancel")[0] == 405
    assert server.json("GET", "/admin/pause")[0] == 405
    for path in "/v1/requests//cancel", "/v1/requests/cancel", "/v1/requests/", "/v1/requests/x", "/admin/", "/admin":
        assert server.json("POST", path)[0] == 404
    with Server(tiny_model, "--no-calibrate") as s:
        assert s.json("POST", "/admin/pause")[0] == 404


def test_what_would_wait_too_long_is_refused(tiny_model):
    """One place; what waits for it takes long by what the requests before it took. While nothing runs the
    forecast stays as it is."""
    with Server(tiny_model, "--no-calibrate", "--admin", "--parallel", "1", "--ctx", "2048", "--max-wait",
                "86400000") as s:
        for _ in range(20):
            assert s.json("POST", "/v1/completions", {**LONG, "max_tokens": 500})[0] == 200
        assert s.wait_idle()["sluice_predicted_wait_seconds"] == 0
        pause(s, True)
        crowd = [s.post_raw("/v1/completions", {**LONG, "max_tokens": 500}) for _ in range(20)]
        s.wait_for(lambda m: m["sluice_requests_queued"] == 20, "their places in the queue")
        wait_s = s.metrics()["sluice_predicted_wait_seconds"]
        assert wait_s > 0
        body = {"prompt": PROMPT, "max_tokens": 1}
        status, headers, data = s.request("POST", "/v1/completions", {**body, "deadline_ms": int(wait_s * 500) + 1})
        assert status == 429 and json.loads(data)["error"]["code"] == "deadline_out_of_reach"
        assert 1 <= int(headers["Retry-After"]) <= wait_s + 1
        asked = Asked(s, **body, deadline_ms=int(wait_s * 1000) + 600000)
        s.wait_for(lambda m: m["sluice_requests_queued"] == 21, "its place in the queue")
        pause(s, False)
        assert asked.end()[0] == 200
        for one in crowd:
            one.close()


def test_nobody_waits_longer_than_allowed(tiny_model):
    with Server(tiny_model, "--no-calibrate", "--admin", "--parallel", "1", "--max-wait", "1") as s:
        for _ in range(20):
            assert s.json("POST", "/v1/completions", {**LONG, "max_tokens": 500})[0] == 200
        pause(s, True)
        crowd, status = [], None
        while status != 429 and len(crowd) < 200:
            before = s.metrics()["sluice_requests_queued"]
            crowd.append(s.post_raw("/v1/completions", {**LONG, "max_tokens": 500}))
            s.wait_for(lambda m: m["sluice_requests_queued"] > before or m["sluice_requests_refused_total"] > 0,
                       "its place, or its refusal")
            if s.metrics()["sluice_requests_queued"] == before:
                status, headers, data = s.request("POST", "/v1/completions", {"prompt": PROMPT})
                assert status == 429 and "would wait" in json.loads(data)["error"]["message"]
                assert int(headers["Retry-After"]) >= 1
        assert status == 429 and len(crowd) >= 2
        for one in crowd:
            one.close()
        pause(s, False)
        assert s.wait_idle()["sluice_kv_pages_used"] == 0
