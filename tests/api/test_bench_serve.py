"""`sluice bench serve`: what it counts against a real server, and what it says of bad ones."""

import http.server
import json
import os
import signal
import subprocess
import threading
import time
import xml.dom.minidom

import pytest

from conftest import BINARY, WAIT_S, Server


def load(base, *flags, code=0):
    done = subprocess.run([str(BINARY), "bench", "serve", "--base", base, *map(str, flags)],
                          capture_output=True, text=True, timeout=WAIT_S)
    assert done.returncode == code, (done.returncode, done.stderr)
    if code == 0:
        assert done.stderr == ""
    return done


def figures(base, *flags, code=0):
    return json.loads(load(base, "--json", *flags, code=code).stdout)


def one_line(text, *parts):
    assert text.startswith("sluice bench serve: ") and text.count("\n") == 1, text
    for part in parts:
        assert part in text, text


def test_closed_loop_counts_what_the_server_did(tiny_model):
    with Server(tiny_model) as s:
        before = s.metrics()
        f = figures(s.url(), "--users", 4, "--requests", 10, "--prompt", "20,40", "--gen", "5,9",
                    "--pid", s.process.pid)
        metrics = s.wait_idle()
        assert (f["answered"], f["failed"], f["stopped"]) == (10, 0, False)
        assert f["output_tokens"] == 5 * (5 + 9)
        for name, metric in (("prompt_tokens", "prompt_tokens"), ("output_tokens", "generated_tokens")):
            metric = f"sluice_{metric}_total"
            assert f[name] == metrics[metric] - before[metric]
        assert f["server_cpu_s"] > 0 and f["own_cpu_s"] >= 0
        for name in ("ttft_ms", "e2e_ms"):
            spread = f[name]
            assert 0 < spread["p50"] <= spread["p90"] <= spread["p95"] <= spread["p99"] <= spread["max"]
        assert f["e2e_ms"]["max"] <= f["seconds"] * 1000 + 1


def test_open_arrivals_and_traces(tiny_model, tmp_path):
    trace = tmp_path / "trace.jsonl"
    trace.write_text("".join(json.dumps({"at": i / 100, "prompt": 10, "gen": 1 + i}) + "\n"
                             for i in range(6)))
    with Server(tiny_model) as s:
        f = figures(s.url(), "--trace", trace)
        assert (f["answered"], f["output_tokens"]) == (6, sum(range(1, 7)))
        assert f["seconds"] >= 0.05
        f = figures(s.url("/v1/"), "--rate", 200, "--burst", 5, "--requests", 15, "--gen", 3)
        assert (f["answered"], f["output_tokens"]) == (15, 45)


def test_beginnings_and_turns_meet_the_cache(tiny_model):
    with Server(tiny_model, "--no-calibrate") as s:
        f = figures(s.url(), "--users", 1, "--requests", 3, "--shared", 100, "--prompt", 120, "--gen", 2)
        assert f["cached_tokens"] > 0 and f["later_ttft_ms"]["max"] == 0
        f = figures(s.url(), "--users", 2, "--requests", 2, "--turns", 3, "--prompt", 20, "--gen", 8,
                    "--seed", 7)
        assert (f["answered"], f["output_tokens"]) == (6, 48)
        assert f["cached_tokens"] > 0 and f["later_ttft_ms"]["p50"] > 0


def test_page_and_text(tiny_model, tmp_path):
    page = tmp_path / "load.html"
    with Server(tiny_model) as s:
        text = load(s.url(), "--requests", 6, "--gen", 4, "--html", page, "--ttft-limit", 1e8,
                    "--itl-limit", 1e8).stdout
    assert "requests  6 answered, 0 failed" in text and "good      6 of 6" in text
    html = page.read_text()
    assert html.count("<svg") == html.count("</svg>") >= 3 and text.splitlines()[0] in html
    for part in html.split("<svg")[1:]:
        xml.dom.minidom.parseString("<svg" + part.split("</svg>")[0] + "</svg>")


class Scripted(http.server.BaseHTTPRequestHandler):
    """A server that waits before each token, or misbehaves."""
    protocol_version = "HTTP/1.1"
    mode = "good"

    def log_message(self, *_):
        pass

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.mode == "refuses":
            body = b'{"error": {"message": "no such model <here>"}}'
            self.send_response(404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for i in range(4):
            time.sleep(0.06 if i == 0 else 0.03)
            event = b'data: {"choices": [{"text": " x"}], "usage": null}\r\n\r\n'
            self.chunk(event[:20])  # events come in any pieces
            self.chunk(event[20:])
            if self.mode == "leaves" and i == 2:
                self.close_connection = True
                return
        self.chunk(b'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}\n\n')
        self.chunk(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")
        self.close_connection = self.mode == "hangs up"  # without having said so


@pytest.fixture
def scripted():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    Scripted.mode = "good"


def test_times_are_those_of_the_tokens(scripted):
    f = figures(scripted, "--users", 2, "--requests", 4, "--ttft-limit", 59, "--gen", 4)
    assert (f["answered"], f["output_tokens"], f["prompt_tokens"]) == (4, 16, 12)
    assert f["ttft_ms"]["p50"] >= 60 and f["itl_ms"]["p50"] >= 30 and f["e2e_ms"]["p50"] >= 150
    assert f["good"] == 0  # each first token took longer than the limit
    assert figures(scripted, "--requests", 2, "--users", 1, "--itl-limit", 29)["good"] == 0


def test_bad_servers(scripted):
    Scripted.mode = "refuses"
    done = load(scripted, "--requests", 3, "--users", 1, code=1)
    assert "failed    3 with status 404: no such model <here>" in done.stdout
    one_line(done.stderr, "3 of 3 requests failed")
    Scripted.mode = "leaves"
    done = load(scripted, "--requests", 2, "--users", 2, code=1)
    assert "failed    2 with status 200: the server closed the connection" in done.stdout


def test_a_connection_that_ended_meanwhile_is_no_failure(scripted):
    Scripted.mode = "hangs up"
    assert figures(scripted, "--requests", 12, "--users", 3)["answered"] == 12


def test_nobody_there():
    done = load("http://127.0.0.1:9", "--requests", 2, code=1)
    assert "failed    2 with status 0: connection refused" in done.stdout
    one_line(load("http://no.such.host.invalid", code=1).stderr, "no.such.host.invalid", "not found")


@pytest.mark.parametrize("base", ["https://127.0.0.1", "127.0.0.1:80", "http://", "http://x:0/",
                                  "http://x:99999", "http://[::1", "http://x:y"])
def test_bad_addresses(base):
    one_line(load(base, code=1).stderr, "--base " + base)


def test_bad_traces(tmp_path):
    trace = tmp_path / "trace.jsonl"
    good = '{"at": 1, "prompt": 5, "gen": 5}\n'
    for text, parts in ((good + "{}\n", ("line 2", "SECONDS")), (good + good.replace("1", "0.5"), ("line 2",)),
                        ("", ("no requests",)), (good + '{"at": 1, "prompt": 0, "gen": 5}', ("line 2",)),
                        ("\x00\xff", ("line 1",))):
        trace.write_text(text, encoding="latin-1")
        one_line(load("http://127.0.0.1:9", "--trace", trace, code=1).stderr, *parts)
    one_line(load("http://127.0.0.1:9", "--trace", tmp_path / "none", code=1).stderr, "none")
    assert "--rate and --trace" in load("http://127.0.0.1:9", "--trace", trace, "--rate", 1, code=2).stderr


def test_interrupt_shows_what_there_is(tiny_model):
    with Server(tiny_model) as s:
        process = subprocess.Popen([str(BINARY), "bench", "serve", "--base", s.url(), "--requests", "100000",
                                    "--gen", "3", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        s.wait_for(lambda m: m["sluice_generated_tokens_total"] > 100, "some answers")
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=WAIT_S)
        assert process.returncode == 130 and err == "", (process.returncode, err)
        f = json.loads(out)
        assert f["stopped"] and f["answered"] > 0
        s.wait_idle()
