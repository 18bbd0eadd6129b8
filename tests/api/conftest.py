"""Servers for the API tests: the real program, on a free port, with the tests' tiny random model.

SLUICE_BINARY names the program (default: build/sluice); make_tiny_model is looked for beside it.
SLUICE_MODEL_DIR, where it holds a SmolLM2 GGUF file, adds the tests that want a real model."""

import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import time

import openai
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("SLUICE_BINARY", ROOT / "build" / "sluice"))
os.environ.setdefault("SLUICE_PACKED_CACHE", "off")  # nothing is written into the user's cache
WAIT_S = 60  # for events that must come; nothing here depends on how fast they do


def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.timeout(100))


class Server:
    """A running `sluice serve`. Use as a context manager."""

    def __init__(self, model, *flags, wait=True):
        self.log = tempfile.NamedTemporaryFile("w+", suffix=".log")
        self.process = subprocess.Popen(
            [str(BINARY), "serve", str(model), "--port", "0", "--threads", "2", *flags],
            stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.port = None
        if wait:
            line = self.process.stdout.readline()
            match = re.fullmatch(r"listening on http://([\d.]+):(\d+)\n", line)
            assert match, f"unexpected first line {line!r}: {self.log_text()}"
            self.port = int(match.group(2))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()

    def log_text(self):
        return pathlib.Path(self.log.name).read_text()

    def url(self, path=""):
        return f"http://127.0.0.1:{self.port}{path}"

    def client(self, **more):
        return openai.OpenAI(base_url=self.url("/v1"), api_key="none", max_retries=0, timeout=WAIT_S,
                             **more)

    def request(self, method, path, body=None, headers=None):
        """(status, headers, bytes) of one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        connection.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, answer.headers, data

    def json(self, method, path, body=None):
        status, _, data = self.request(method, path, body)
        return status, json.loads(data)

    def socket(self, receive_buffer=None):
        s = socket.socket()
        if receive_buffer:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        s.settimeout(WAIT_S)
        s.connect(("127.0.0.1", self.port))
        return s

    def post_raw(self, path, body, receive_buffer=None, tenant=""):
        """Sends a request and returns the socket, the answer unread."""
        data = json.dumps(body).encode()
        s = self.socket(receive_buffer)
        s.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-Sluice-Tenant: %s\r\n"
                  b"Content-Length: %d\r\n\r\n%s" % (path.encode(), tenant.encode(), len(data), data))
        return s

    def metrics(self):
        """Name (with labels) -> value."""
        status, headers, data = self.request("GET", "/metrics")
        assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
        values = {}
        for line in data.decode().splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                values[name] = float(value)
        return values

    def wait_for(self, condition, what):
        """Waits until condition(metrics) is true."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            values = self.metrics()
            if condition(values):
                return values
            time.sleep(0.01)
        pytest.fail(f"never came: {what}; {values}; {self.log_text()}")

    def wait_idle(self):
        return self.wait_for(lambda m: m["sluice_kv_pages_used"] == 0 and
                             m["sluice_requests_running"] == 0 and
                             m["sluice_requests_queued"] == 0, "idle, with no page used")

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def stop(self):
        """SIGTERM; returns the exit code."""
        self.terminate()
        return self.process.wait(WAIT_S)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.gguf"
    maker = BINARY.parent / "tests" / "make_tiny_model"
    subprocess.run([str(maker), str(path), "1", "16384"], check=True)
    return path


@pytest.fixture(scope="session")
def server(tiny_model):
    """One server for all tests that leave it as it was."""
    with Server(tiny_model, "--ctx", "2048", "--kv-memory", "64M", "--alias", "tiny",
                "--batch-invariant", "--no-access-log") as s:
        yield s
        assert s.process.poll() is None, s.log_text()
        s.wait_idle()
        assert s.stop() == 0


@pytest.fixture(scope="session")
def client(server):
    return server.client()


@pytest.fixture(scope="session")
def real_model():
    folder = os.environ.get("SLUICE_MODEL_DIR")
    files = sorted(pathlib.Path(folder).rglob("*.gguf")) if folder else []
    if not files:
        pytest.skip("no real model (SLUICE_MODEL_DIR)")
    return files[0]
