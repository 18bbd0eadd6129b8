"""Start, overload, stop."""

import concurrent.futures
import json
import pathlib
import re
import signal
import socket
import subprocess
import time

import pytest

from conftest import BINARY, WAIT_S, Server

ENDLESS = {"prompt": "x", "max_tokens": 16000, "temperature": 0, "ignore_eos": True}


def read_stream(s):
    data = b""
    while piece := s.recv(65536):
        data += piece
        if b"data: [DONE]" in data:
            break
    return data


def wait_for_log(s, text):
    deadline = time.monotonic() + WAIT_S
    while text not in s.log_text():
        assert s.process.poll() is None and time.monotonic() < deadline, s.log_text()
        time.sleep(0.02)


def test_steps_are_measured_once_while_idle(tiny_model, tmp_path):
    body = {"prompt": "x", "max_tokens": 300, "ignore_eos": True}
    flags = ("--packed-cache", str(tmp_path))
    with Server(tiny_model, *flags) as s:
        wait_for_log(s, "steps measured with 2 threads")
        disturbed = "it is not kept" in s.log_text()  # by other programs
        assert s.metrics()["sluice_steps_total"] <= 1  # its own test token at most
        assert s.json("POST", "/v1/completions", body)[0] == 200
        assert s.metrics()["sluice_step_cost_ratio"] > 0
        kept = {path: path.read_bytes() for path in tmp_path.glob("*.calibration")}
        assert len(kept) == (0 if disturbed else 1)
        assert s.stop() == 0
    with Server(tiny_model, *flags) as s:
        if disturbed:  # nothing is known
            wait_for_log(s, "steps measured with 2 threads")
        s.wait_idle()
        assert s.json("POST", "/v1/completions", body)[0] == 200
        s.wait_for(lambda m: m["sluice_steps_total"] >= 300, "the answer")
        assert s.stop() == 0
        assert ("steps measured" in s.log_text()) == disturbed
    assert {path: path.read_bytes() for path in kept} == kept
    with Server(tiny_model, *flags, "--no-calibrate") as s:
        assert s.json("POST", "/v1/completions", body)[0] == 200
        assert s.metrics()["sluice_step_cost_ratio"] == 0
        assert s.stop() == 0


def test_requests_go_before_measuring(tiny_model, tmp_path):
    """They come in the middle of it, again and again; it goes on in between, and ends."""
    body = {"prompt": "x", "max_tokens": 5, "temperature": 0}
    with Server(tiny_model, "--packed-cache", str(tmp_path)) as s:
        answers = set()
        while "steps measured" not in s.log_text():
            status, answer = s.json("POST", "/v1/completions", body)
            assert status == 200
            answers.add(answer["choices"][0]["text"])
        assert len(answers) <= 1
        assert s.stop() == 0


@pytest.mark.parametrize("n_tokens", [1500])
def test_sigterm_finishes_what_runs_and_refuses_the_rest(tiny_model, n_tokens):
    with Server(tiny_model, "--ctx", "16384", "--kv-memory", "64M", "--lame-duck", "3") as s:
        body = {**ENDLESS, "max_tokens": n_tokens, "stream": True}
        sockets = [s.post_raw("/v1/completions", body) for _ in range(8)]
        for c in sockets:
            assert c.recv(15) == b"HTTP/1.1 200 OK"
        assert s.request("GET", "/readyz")[0] == 200
        s.terminate()
        while s.request("GET", "/readyz")[0] == 200:
            time.sleep(0.001)
        status, headers, data = s.request("POST", "/v1/completions", {"prompt": "x"})
        assert status == 503 and headers["Retry-After"]
        assert json.loads(data)["error"]["code"] == "shutting_down"
        assert s.request("GET", "/livez")[0] == 200
        assert s.request("GET", "/health")[0] == 200
        for c in sockets:  # none is broken
            assert b"data: [DONE]" in read_stream(c)
            c.close()
        assert s.process.wait(WAIT_S) == 0


def test_drain_timeout_ends_streams_with_an_error(tiny_model):
    with Server(tiny_model, "--ctx", "16384", "--kv-memory", "64M", "--drain-timeout", "0") as s:
        streams = [s.post_raw("/v1/completions", {**ENDLESS, "stream": True}) for _ in range(2)]
        for c in streams:
            assert c.recv(15) == b"HTTP/1.1 200 OK"
        whole = s.post_raw("/v1/completions", ENDLESS)
        s.wait_for(lambda m: m["sluice_requests_running"] == 3, "three requests")
        assert s.stop() == 0
        for c in streams:
            data = b""
            while piece := c.recv(65536):
                data += piece
            assert b'data: {"error":' in data and b"[DONE]" not in data
        assert whole.recv(12) == b"HTTP/1.1 503"


def test_drain_is_not_held_up_by_uploads_and_slow_readers(tiny_model):
    with Server(tiny_model, "--ctx", "16384", "--kv-memory", "64M", "--drain-timeout", "1") as s:
        # Some 7 MB, of which the sockets hold a part: the answer is complete, but cannot leave.
        slow = s.post_raw("/v1/completions", {**ENDLESS, "max_tokens": 3000, "n": 4, "logprobs": 20},
                          receive_buffer=4096)
        s.wait_for(lambda m: m['sluice_requests_finished_total{reason="length"}'] >= 4, "the answer")
        stream = s.post_raw("/v1/completions", {**ENDLESS, "stream": True}, receive_buffer=4096)
        assert stream.recv(15) == b"HTTP/1.1 200 OK"
        half = s.socket()
        half.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
        s.wait_for(lambda m: m["sluice_http_connections"] >= 4, "the upload")
        s.terminate()
        data = b""
        while piece := half.recv(65536):
            data += piece
        assert data.startswith(b"HTTP/1.1 503") and b'"code":"shutting_down"' in data
        assert s.process.wait(WAIT_S) == 0, s.log_text()
        for c in (slow, stream, half):
            c.close()


def test_idle_time_is_no_stall(tiny_model):
    with Server(tiny_model, "--stall-timeout", "1") as s:
        for _ in range(2):
            status, _, _ = s.request("POST", "/v1/completions", {"prompt": "x", "max_tokens": 2})
            assert status == 200
            time.sleep(2.5)


def read_to_end(stream):
    """A chunked answer to its last chunk."""
    data = b""
    while not data.endswith(b"\r\n0\r\n\r\n"):
        piece = stream.recv(65536)
        assert piece, f"the answer ended early: {data[-300:]!r}"
        data += piece
    return data


def test_request_timeout_ends_whole_answers_streams_and_what_waits(tiny_model):
    endless = {**ENDLESS, "n": 16}  # more than any machine does in 3 s; a token, every machine does
    with Server(tiny_model, "--ctx", "16384", "--kv-memory", "64M", "--parallel", "4",
                "--request-timeout", "3") as s:
        stream = s.post_raw("/v1/completions", {**endless, "stream": True})
        assert stream.recv(15) == b"HTTP/1.1 200 OK"
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            streamed = pool.submit(read_to_end, stream)  # unread, it would be cut at 1 MB
            waits = s.post_raw("/v1/completions", endless)
            status, _, data = s.request("POST", "/v1/completions", endless)
            error = json.loads(data)["error"]
            assert status == 504 and error["code"] == "request_timeout" and "3 s" in error["message"]
            data = streamed.result()
        assert b'"code":"request_timeout"' in data and b"[DONE]" not in data
        assert waits.recv(12) == b"HTTP/1.1 504"
        s.wait_for(lambda m: m["sluice_kv_pages_used"] == 0, "free pages")
        status, answer = s.json("POST", "/v1/completions", {"prompt": "x", "max_tokens": 2})
        assert status == 200 and answer["choices"][0]["finish_reason"]
        assert "ERROR" not in s.log_text()
        kinds = {k for k in s.metrics() if k.startswith("sluice_memory_bytes")}
        assert len(kinds) == 4
        for c in (stream, waits):
            c.close()


def test_second_signal_ends_at_once(tiny_model):
    for first, second in ((signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM)):
        with Server(tiny_model, "--ctx", "16384", "--kv-memory", "64M") as s:
            c = s.post_raw("/v1/completions", {**ENDLESS, "stream": True, "logprobs": 20}, 4096)
            assert c.recv(15) == b"HTTP/1.1 200 OK"
            s.process.send_signal(first)
            time.sleep(0.2)
            begin = time.monotonic()
            s.process.send_signal(second)
            assert s.process.wait(WAIT_S) in (0, 130)  # 0: it had just finished
            assert time.monotonic() - begin < 5
            c.close()


def test_idle_server_stops_at_once_and_closes_idle_connections(tiny_model):
    with Server(tiny_model) as s:
        idle = [s.socket() for _ in range(3)]
        s.metrics()
        begin = time.monotonic()
        assert s.stop() == 0
        assert time.monotonic() - begin < 5
        for c in idle:
            assert c.recv(100) == b""


def test_queue_is_bounded(tiny_model):
    """Answers that are sent whole at their end: nothing of them can be cut before."""
    with Server(tiny_model, "--parallel", "1", "--queue", "4") as s:
        body = ENDLESS
        sockets = []
        while s.metrics()["sluice_requests_queued"] < 4:
            assert len(sockets) < 50
            sockets.append(s.post_raw("/v1/completions", body))
            # Until it is started or counted, the next one could be refused for it.
            s.wait_for(lambda m: m["sluice_requests_running"] + m["sluice_requests_queued"] ==
                       len(sockets), "the request")
        status, headers, data = s.request("POST", "/v1/completions", body)
        assert status == 429 and int(headers["Retry-After"]) >= 1
        error = json.loads(data)["error"]
        assert error["type"] == "rate_limit_error" and error["code"] == "rate_limit_exceeded"
        assert s.request("GET", "/readyz")[0] == 200
        for c in sockets:
            c.close()
        s.wait_idle()
        assert s.json("POST", "/v1/completions", {"prompt": "x", "max_tokens": 1})[0] == 200
        assert s.stop() == 0


def test_many_choices_are_taken_whole_or_not_at_all(tiny_model):
    """Prompts times n: what is refused takes no place from others and is not counted; what is legal
    is never refused by an idle server."""
    counted = "sluice_request_prompt_tokens_count"
    with Server(tiny_model, "--ctx", "2048", "--kv-memory", "64M", "--queue", "8", "--parallel", "4",
                "--queue-tokens", "100") as s:
        before = s.metrics()
        for prompts, n in ((["x"] * 128, 16), ("x", 9), (["x", "y", "z"], 3)):
            status, answer = s.json("POST", "/v1/completions", {"prompt": prompts, "n": n})
            assert status == 400 and answer["error"]["param"] == "n"
            assert "at most 8" in answer["error"]["message"]
        assert s.metrics()[counted] == before[counted]
        for prompts, n in (("x", 8), (["x", "y"] * 4, 1), (["x", "y"], 4)):
            s.wait_idle()
            status, answer = s.json("POST", "/v1/completions",
                                    {"prompt": prompts, "n": n, "max_tokens": 30})
            assert status == 200 and len(answer["choices"]) == 8
        assert s.metrics()[counted] == before[counted] + 24
    with Server(tiny_model, "--ctx", "16384", "--kv-memory", "64M", "--queue", "8", "--parallel",
                "4") as s:
        running = s.post_raw("/v1/completions", {**ENDLESS, "n": 4})
        s.wait_for(lambda m: m["sluice_requests_running"] == 4, "four that run")
        waiting = s.post_raw("/v1/completions", {**ENDLESS, "n": 5})
        s.wait_for(lambda m: m["sluice_requests_queued"] == 5, "five that wait")
        before = s.metrics()
        assert s.request("POST", "/v1/completions", {**ENDLESS, "n": 4})[0] == 429
        after = s.metrics()
        assert after["sluice_requests_queued"] == 5
        assert after[counted] == before[counted] and \
            after["sluice_requests_total"] == before["sluice_requests_total"]
        more = s.post_raw("/v1/completions", {**ENDLESS, "n": 3})  # its three places are there
        s.wait_for(lambda m: m["sluice_requests_queued"] == 8, "eight that wait")
        for c in (running, waiting, more):
            c.close()
        s.wait_idle()
        assert s.stop() == 0


def test_any_name_is_a_valid_label(tiny_model):
    name = 'a "quoted\\ name\nof \u4f60 two lines'
    with Server(tiny_model, "--alias", name) as s:
        _, _, data = s.request("GET", "/metrics")
        info = [line for line in data.decode().split("\n") if line.startswith("sluice_info")]
        assert len(info) == 1 and info[0].endswith('} 1')
        label = info[0].split('model="')[1][:-len('"} 1')]
        assert label == name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        assert s.json("GET", "/v1/models")[1]["data"][0]["id"] == name
        assert s.json("POST", "/v1/completions",
                      {"model": name, "prompt": "x", "max_tokens": 1})[0] == 200


def test_context_that_the_pages_cannot_hold(tiny_model):
    """Asked for: refused at the start, with both numbers. The default: as long as the pages allow."""
    result = run(tiny_model, "--port", "0", "--ctx", "16384", "--kv-memory", "1M")
    assert result.returncode == 1 and result.stdout == "" and len(result.stderr.splitlines()) == 1
    for text in ("--ctx asks for 16384", "1024 KB", "--kv-memory"):
        assert text in result.stderr
    enough, longest = re.search(r"--kv-memory (\d+)K or more, or a --ctx of at most (\d+)",
                                result.stderr).groups()
    for flags in (("--ctx", longest, "--kv-memory", "1M"),
                  ("--ctx", "16384", "--kv-memory", enough + "K"), ("--kv-memory", "1M")):
        with Server(tiny_model, *flags) as s:
            expected = min(8192, int(longest)) if "--ctx" not in flags else int(flags[1])
            assert s.json("GET", "/v1/models")[1]["data"][0]["max_model_len"] == expected
            status, answer = s.json("POST", "/v1/completions", {**ENDLESS, "max_tokens": 2})
            assert status == 200, answer


def test_strict_api(tiny_model):
    with Server(tiny_model, "--strict-api") as s:
        status, answer = s.json("POST", "/v1/completions", {"prompt": "x", "frobnicate": 1})
        assert status == 400 and answer["error"]["param"] == "frobnicate"
        assert s.json("POST", "/v1/completions", {"prompt": "x", "user": "u", "max_tokens": 1})[0] == 200
        assert s.stop() == 0


def test_prompts_are_not_logged_unless_asked(tiny_model):
    secret = "a very private sentence"
    for flags, expected in (([], False), (["--log-prompts"], True)):
        with Server(tiny_model, *flags) as s:
            s.json("POST", "/v1/completions", {"prompt": secret, "max_tokens": 1})
            s.json("POST", "/v1/chat/completions", {
                "messages": [{"role": "user", "content": secret}], "max_tokens": 1})
            s.json("POST", "/v1/completions", {"prompt": secret, "temperature": secret})
            assert s.stop() == 0
            assert (secret in s.log_text()) == expected


def run(*args):
    return subprocess.run([str(BINARY), "serve", *map(str, args)], capture_output=True, text=True,
                          timeout=WAIT_S)


def test_port_in_use(tiny_model):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run(tiny_model, "--port", port)
        assert result.returncode == 1 and result.stdout == ""
        assert f"port {port}" in result.stderr and "already in use" in result.stderr
        assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("flags,name", [
    (["--port", "70000"], "--port"), (["--port", "x"], "--port"), (["--queue", "0"], "--queue"),
    (["--kv-memory", "much"], "--kv-memory"), (["--kv-type", "f8"], "--kv-type"),
    (["--frobnicate"], "--frobnicate"), (["--ctx"], "--ctx"), (["--threads", "0"], "--threads"),
])
def test_wrong_flags(tiny_model, flags, name):
    result = run(tiny_model, *flags)
    assert result.returncode == 2 and name in result.stderr


def test_wrong_model(tmp_path):
    (tmp_path / "empty.gguf").write_bytes(b"")
    for path in (tmp_path / "absent.gguf", tmp_path / "empty.gguf"):
        result = run(path, "--port", "0")
        assert result.returncode == 1 and str(path) in result.stderr
    result = run()
    assert result.returncode == 2


def test_help():
    result = run("--help")
    assert result.returncode == 0 and "--drain-timeout" in result.stdout and "curl" in result.stdout


def test_idle_server_uses_no_processor(server):
    wait_for_log(server, "steps measured")  # as a server does once
    server.wait_idle()
    path = pathlib.Path(f"/proc/{server.process.pid}/stat")

    def ticks():
        fields = path.read_text().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    before = ticks()
    time.sleep(1)
    assert ticks() - before <= 5  # of 100 a second


def test_descriptors_do_not_leak(server):
    folder = pathlib.Path(f"/proc/{server.process.pid}/fd")
    server.metrics()
    before = len(list(folder.iterdir()))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: server.json("POST", "/v1/completions", {"prompt": "x", "max_tokens": 1}),
                      range(100)))
    deadline = time.monotonic() + WAIT_S
    while len(list(folder.iterdir())) > before + 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(list(folder.iterdir())) <= before + 1


def test_metrics_are_well_formed(server):
    # Long enough for its tokens to come at more than one moment.
    server.json("POST", "/v1/completions", {"prompt": "x", "max_tokens": 400, "ignore_eos": True})
    _, _, data = server.request("GET", "/metrics")
    types, helps = {}, set()
    for line in data.decode().splitlines():
        words = line.split(" ", 3)
        if line.startswith("# HELP "):
            assert words[2] not in helps and words[2].startswith("sluice_")
            helps.add(words[2])
        elif line.startswith("# TYPE "):
            assert words[2] in helps
            types[words[2]] = words[3]
        else:
            name = line.split("{")[0].split(" ")[0]
            base = name
            for ending in ("_bucket", "_sum", "_count"):
                if name.endswith(ending) and name[:-len(ending)] in types:
                    base = name[:-len(ending)]
            assert base in types, line
            float(line.rsplit(" ", 1)[1])
    assert set(types.values()) == {"counter", "gauge", "histogram"}
    m = server.metrics()
    for name in ("time_to_first_token", "inter_token_latency", "request_duration", "request_queue"):
        buckets = [v for k, v in m.items() if k.startswith(f"sluice_{name}_seconds_bucket")]
        assert buckets == sorted(buckets) and buckets[-1] == m[f"sluice_{name}_seconds_count"] > 0
