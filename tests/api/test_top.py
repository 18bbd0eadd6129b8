"""`sluice top`: one reading of a server that works, and what is said of one that does not."""

import http.server
import json
import re
import signal
import subprocess
import threading

import pytest

from conftest import BINARY, WAIT_S, Server


def top(base, *flags):
    return subprocess.run([str(BINARY), "top", "--base", base, *flags], capture_output=True, text=True, timeout=WAIT_S)


def test_what_a_server_does(tiny_model):
    with Server(tiny_model, "--no-calibrate", "--admin", "--parallel", "1") as s:
        url = f"http://127.0.0.1:{s.port}"
        s.json("POST", "/admin/pause")
        waiting = s.post_raw("/v1/completions", {"prompt": "x", "max_tokens": 20, "ignore_eos": True})
        s.wait_for(lambda m: m["sluice_requests_queued"] == 1, "its place in the queue")
        done = top(url, "--once", "--interval", "0.1")
        assert done.returncode == 0 and done.stderr == ""
        assert "\033" not in done.stdout  # no terminal
        assert "PAUSED" in done.stdout and "0 running, 0 on hold, 1 waiting" in done.stdout
        shower = subprocess.Popen([str(BINARY), "top", "--base", url, "--interval", "0.5"], stdout=subprocess.PIPE,
                                  text=True)
        s.json("POST", "/admin/resume")
        while "waiting" not in (line := shower.stdout.readline()):
            assert line
        s.wait_idle()
        for line in shower.stdout:  # at the latest the next reading, after the answer is there
            if line.startswith("requests") and "0 waiting" in line:
                break
        shower.send_signal(signal.SIGINT)
        assert shower.wait(WAIT_S) == 130
        shower.stdout.close()
        waiting.close()
        pages = re.search(r"\[([#=.]*)\] 0 used, \d+ kept", top(url, "--once", "-i", "0.1").stdout)
        assert pages and len(pages.group(1)) == 40


class Other(http.server.BaseHTTPRequestHandler):
    """Not a sluice server."""

    def do_GET(self):
        body = json.dumps({"hello": "world"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.mark.parametrize("base, code, why", [
    ("http://127.0.0.1:1", 1, "connection refused"), ("127.0.0.1:1", 2, "only http://"),
    ("http://127.0.0.1:99999", 2, "an address is")])
def test_bad_addresses(base, code, why):
    done = top(base, "--once")
    assert done.returncode == code and done.stdout == ""
    assert why in done.stderr and done.stderr.count("\n") == (2 if "--help" in done.stderr else 1)


def test_another_server():
    server = http.server.HTTPServer(("127.0.0.1", 0), Other)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    done = top(f"http://127.0.0.1:{server.server_port}", "--once")
    server.shutdown()
    server.server_close()
    assert done.returncode == 1 and "not with the metrics of a sluice server" in done.stderr
