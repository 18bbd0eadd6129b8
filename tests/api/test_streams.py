"""Many at once, and clients that leave."""

import concurrent.futures
import json
import socket
import struct

import pytest

from conftest import BINARY, Server


def stream_text(server, prompt, n, extra=None):
    """Text of a streamed completion; asserts that the stream is whole."""
    s = server.post_raw("/v1/completions", {
        "prompt": prompt, "max_tokens": n, "temperature": 0, "ignore_eos": True, "stream": True,
        **(extra or {})})
    data = b""
    while b"data: [DONE]\n\n" not in data:
        piece = s.recv(65536)
        assert piece, f"stream ended early: {data[-300:]!r}"
        data += piece
    s.close()
    text = ""
    for line in data.decode().splitlines():
        if line.startswith("data: {"):
            event = json.loads(line[6:])
            text += event["choices"][0]["text"]
    return text


def many_equal_alone(server, n_streams, n_tokens):
    prompts = [f"Stream number {i}: " + "x" * (i * 7 % 50) for i in range(n_streams)]
    alone = [stream_text(server, p, n_tokens) for p in prompts]
    with concurrent.futures.ThreadPoolExecutor(n_streams) as pool:
        together = list(pool.map(lambda p: stream_text(server, p, n_tokens), prompts))
    assert together == alone
    server.wait_idle()


def test_32_streams_equal_each_alone(server):
    many_equal_alone(server, 32, 64)


def test_32_streams_of_a_real_model(real_model):
    with Server(real_model, "--batch-invariant", "--ctx", "512", "--kv-memory", "256M") as s:
        many_equal_alone(s, 32, 6)
        assert s.stop() == 0


LONG = {"prompt": "x", "max_tokens": 16000, "temperature": 0, "ignore_eos": True, "stream": True}


@pytest.fixture(scope="module")
def long_server(tiny_model):
    """A context in which a request lasts until its client leaves."""
    with Server(tiny_model, "--ctx", "16384", "--kv-memory", "64M", "--parallel", "16") as s:
        yield s
        s.wait_idle()
        assert s.stop() == 0


def leave(s, how):
    if how == "reset":
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif how == "half":
        s.shutdown(socket.SHUT_WR)
        return
    s.close()


@pytest.mark.parametrize("how", ["close", "reset", "half"])
@pytest.mark.parametrize("stream", [True, False])
def test_client_leaves(long_server, how, stream):
    before = long_server.metrics()
    s = long_server.post_raw("/v1/completions", {**LONG, "stream": stream})
    if stream:
        assert s.recv(100).startswith(b"HTTP/1.1 200 OK")
    else:
        long_server.wait_for(lambda m: m["sluice_requests_running"] == 1, "a running request")
    leave(s, how)
    long_server.wait_idle()  # which the engine says, before the server has counted the end
    name = 'sluice_requests_finished_total{reason="cancelled"}'
    status = 'sluice_http_requests_total{path="/v1/completions",status="499"}'
    after = long_server.wait_for(
        lambda m: m[name] > before[name] and m.get(status, 0) > before.get(status, 0), "a counted end")
    assert after[name] == before[name] + 1
    assert after[status] == before.get(status, 0) + 1
    s.close()


def test_client_leaves_during_prefill_and_queue(long_server):
    """Prompts that fill the pool: some are computed, the rest waits; all leave at once."""
    sockets = [long_server.post_raw("/v1/completions", {
        **LONG, "prompt": [5 + i] * 15000, "max_tokens": 1000}) for i in range(24)]
    long_server.wait_for(lambda m: m["sluice_requests_running"] > 0, "a running request")
    for i, s in enumerate(sockets):
        leave(s, ["close", "reset"][i % 2])
    long_server.wait_idle()


def test_crowd_that_leaves_at_random_moments(long_server):
    for round_number in range(4):
        sockets = [long_server.post_raw("/v1/completions", {**LONG, "n": 1 + i % 3}) for i in range(12)]
        for i, s in enumerate(sockets):
            if (i + round_number) % 3 == 0:
                s.recv(1 + i * 100)
            leave(s, ["close", "reset", "half"][(i + round_number) % 3])
            if i % 2:
                s.close()
        long_server.wait_idle()
        for s in sockets:
            s.close()


def test_who_waits_can_leave_and_takes_nothing_along(long_server):
    """Cancelled in the queue: its places are free before anything else ends."""
    runs = long_server.post_raw("/v1/completions", {**LONG, "n": 16})
    assert runs.recv(15) == b"HTTP/1.1 200 OK"
    long_server.wait_for(lambda m: m["sluice_requests_running"] == 16, "sixteen that run")
    for round_number in range(3):
        waits = long_server.post_raw("/v1/completions", {**LONG, "n": 16})
        long_server.wait_for(lambda m: m["sluice_requests_queued"] == 16, "sixteen that wait")
        leave(waits, ["close", "reset", "half"][round_number])
        m = long_server.wait_for(lambda m: m["sluice_requests_queued"] == 0, "an empty queue")
        assert m["sluice_requests_running"] == 16 and m["sluice_queued_tokens"] == 0
        waits.close()
    leave(runs, "reset")
    long_server.wait_idle()


def test_one_stop_string_ends_each_choice_for_itself(server):
    body = {"prompt": "x", "n": 8, "max_tokens": 60, "temperature": 1.5, "seed": 3, "ignore_eos": True}
    choices = server.json("POST", "/v1/completions", body)[1]["choices"]
    texts = [c["text"] for c in choices]
    # A piece of the first text that is not in all of them: some stop, some go on.
    stop = next(texts[0][i:i + k] for k in (1, 2, 3) for i in range(len(texts[0]) - k)
                if "\ufffd" not in texts[0][i:i + k] and
                0 < sum(texts[0][i:i + k] in t for t in texts) < 8)
    for stream in (False, True):
        if stream:
            got, reasons = [""] * 8, [None] * 8
            with server.client() as client:
                for event in client.completions.create(
                        model="tiny", stream=True, stop=stop, extra_body={"ignore_eos": True},
                        **{k: v for k, v in body.items() if k != "ignore_eos"}):
                    for c in event.choices:
                        got[c.index] += c.text
                        reasons[c.index] = c.finish_reason or reasons[c.index]
        else:
            answer = server.json("POST", "/v1/completions", {**body, "stop": stop})[1]["choices"]
            got, reasons = [c["text"] for c in answer], [c["finish_reason"] for c in answer]
        assert got == [t.split(stop)[0] for t in texts]
        assert reasons == ["stop" if stop in t else "length" for t in texts]
    server.wait_idle()


def test_slow_reader_is_given_up_and_harms_nobody(tiny_model):
    with Server(tiny_model, "--ctx", "16384", "--kv-memory", "64M", "--max-output", "64K") as s:
        slow = s.post_raw("/v1/completions", {**LONG, "logprobs": 20}, receive_buffer=4096)
        other = stream_text(s, "y", 64)
        assert len(other) > 0
        s.wait_for(lambda m: m.get(
            'sluice_http_requests_total{path="/v1/completions",status="499"}') == 1, "the cut")
        slow.close()
        s.wait_idle()
        assert s.stop() == 0


keeps_memory = pytest.mark.skipif(
    b"__asan_init" in BINARY.read_bytes() or b"__tsan_init" in BINARY.read_bytes(),
    reason="a sanitizer keeps freed memory")


@keeps_memory
def test_large_body_leaves_no_memory_behind(server):
    before = server.wait_idle()["sluice_resident_memory_bytes"]
    for prompt in ("x", 5):  # served, and refused after it was parsed
        body = json.dumps({"max_tokens": 1, "z": [[]] * 1000000, "prompt": prompt})
        assert server.request("POST", "/v1/completions", body)[0] == (200 if prompt == "x" else 400)
        server.wait_for(lambda m: m["sluice_resident_memory_bytes"] <= before + (16 << 20), "its end")


@keeps_memory
def test_memory_does_not_grow(server):
    def burst(n):
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda i: stream_text(server, f"p{i}", 4), range(n)))
        return server.wait_idle()["sluice_resident_memory_bytes"]

    first = burst(150)
    assert burst(450) <= first + (2 << 20)
