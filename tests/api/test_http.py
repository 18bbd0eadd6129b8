"""HTTP on the wire: framing attacks, limits, slow and strange clients."""

import json
import re
import socket
import time

import pytest

from conftest import Server

GOOD = b'{"prompt":"x","max_tokens":1}'
HEAD = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n"


def talk(server, *pieces):
    """Sends the pieces and returns all that comes until the server closes."""
    s = server.socket()
    try:
        for piece in pieces:
            s.sendall(piece)
        data = b""
        while True:
            piece = s.recv(65536)
            if not piece:
                return data
            data += piece
    except ConnectionError:
        return data
    finally:
        s.close()


def statuses(data):
    return [int(m) for m in re.findall(rb"(?:^|\n|\})HTTP/1\.1 (\d+) ", data)]


CLOSE = b"Connection: close\r\n"
SMUGGLED = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"

REFUSED = [
    (400, HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED),
    (400, HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + SMUGGLED),
    (400, HEAD + b"Content-Length: 29\r\nContent-Length: 29\r\n\r\n" + GOOD + SMUGGLED),
    (400, HEAD + b"Content-Length: 29\r\nContent-Length: 30\r\n\r\n" + GOOD + SMUGGLED),
    (400, HEAD + b"Content-Length: 29, 29\r\n\r\n" + GOOD),
    (400, HEAD + b"Content-Length: +29\r\n\r\n" + GOOD),
    (400, HEAD + b"Content-Length: -1\r\n\r\n" + SMUGGLED),
    (400, HEAD + b"Content-Length: 1e1\r\n\r\n" + SMUGGLED),
    (400, HEAD + b"Content-Length : 29\r\n\r\n" + GOOD),
    (400, HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + SMUGGLED),
    (400, HEAD + b"Transfer-Encoding: identity\r\n\r\n" + SMUGGLED),
    (400, HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n" + SMUGGLED),
    (400, HEAD + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n" + SMUGGLED),
    (400, HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n" + SMUGGLED),
    (400, HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n" + SMUGGLED),
    (400, b"POST /v1/completions HTTP/1.1\nHost: x\nContent-Length: 29\n\n" + GOOD),
    (400, b"POST /v1/completions HTTP/1.1\r\nContent-Length: 29\r\n\r\n" + GOOD),
    (400, HEAD + b"Host: y\r\n\r\n"),
    (400, HEAD + b"X: a\r\n folded\r\n\r\n"),
    (400, HEAD + b"No colon\r\n\r\n"),
    (400, HEAD + b"X: \x00\r\n\r\n"),
    (400, HEAD + b"Bad name: x\r\n\r\n"),
    (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300)),
    (400, b"NONSENSE\r\n\r\n"),
    (400, b"FOO /health HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, b"GET health HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, b"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n"),
    (505, b"GET /health HTTP/2.0\r\nHost: x\r\n\r\n"),
    (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    (413, HEAD + b"Content-Length: 1099511627776\r\n\r\n"),
    (413, HEAD + b"Content-Length: 8388609\r\nExpect: 100-continue\r\n\r\n"),
    (414, b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"),
    (431, HEAD + b"X: " + b"a" * 40000 + b"\r\n\r\n"),
    (431, HEAD + b"X: " + b" " * 40000 + b"\r\n\r\n"),
    (431, HEAD + b"".join(b"X-%d: y\r\n" % i for i in range(120)) + b"\r\n"),
    (417, HEAD + b"Expect: something\r\nContent-Length: 29\r\n\r\n" + GOOD),
    (404, b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"),
    (405, b"PUT /v1/models HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"),
]


@pytest.mark.parametrize("index", range(len(REFUSED)))
def test_refused_and_closed(server, index):
    expected, data = REFUSED[index]
    answer = talk(server, data)
    assert statuses(answer) == [expected], answer  # one answer, whatever was smuggled behind it
    assert b"Connection: close\r\n" in answer
    if expected != 505:
        head, body = answer.split(b"\r\n\r\n", 1)
        assert json.loads(body)["error"]["message"]


def test_chunked_body_and_pipelining_in_order(server):
    chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    for byte in GOOD:
        chunked += b"1\r\n%c\r\n" % byte
    chunked += b"0\r\n\r\n"
    answer = talk(server, chunked + b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n" +
                  HEAD + b"Content-Length: 29\r\n\r\n" + GOOD +
                  b"GET /readyz HTTP/1.1\r\nHost: x\r\n" + CLOSE + b"\r\n")
    assert statuses(answer) == [200] * 4
    order = [answer.find(b'"text_completion"'), answer.find(b'"object":"list"'),
             answer.rfind(b'"text_completion"'), answer.find(b'"status":"ok"')]
    assert order == sorted(order) and order[0] >= 0


def test_byte_by_byte(server):
    data = HEAD + b"Content-Length: 29\r\n" + CLOSE + b"\r\n" + GOOD
    assert statuses(talk(server, *[data[i:i + 1] for i in range(len(data))])) == [200]


def test_continue(server):
    s = server.socket()
    s.sendall(HEAD + b"Content-Length: 29\r\nExpect: 100-continue\r\n" + CLOSE + b"\r\n")
    assert s.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
    s.sendall(GOOD)
    data = b""
    while piece := s.recv(1000):
        data += piece
    assert statuses(data) == [200]
    s.close()


def test_head_http10_and_absolute_form(server):
    answer = talk(server, b"HEAD /v1/models HTTP/1.1\r\nHost: x\r\n" + CLOSE + b"\r\n")
    assert statuses(answer) == [200] and answer.endswith(b"\r\n\r\n") and b"Content-Length: " in answer
    answer = talk(server, b"GET /health HTTP/1.0\r\n\r\n")
    assert statuses(answer) == [200]
    answer = talk(server, b"GET http://x/health?verbose=1 HTTP/1.1\r\nHost: x\r\n" + CLOSE + b"\r\n")
    assert statuses(answer) == [200]
    answer = talk(server, b"POST /v1/completions HTTP/1.0\r\nContent-Length: 45\r\n\r\n"
                  b'{"prompt":"x","max_tokens":2,"stream":true  }')
    assert b"chunked" not in answer and answer.endswith(b"data: [DONE]\n\n")


def test_keep_alive(server):
    s = server.socket()
    for _ in range(5):
        s.sendall(HEAD + b"Content-Length: 29\r\n\r\n" + GOOD)
        data = s.recv(65536)
        assert statuses(data) == [200] and b"Connection: close" not in data
    s.close()


@pytest.fixture
def hasty_server(tiny_model):
    """Of its own: in the tests of all others a busy machine may need longer to send a request."""
    with Server(tiny_model, "--header-timeout", "2", "--body-timeout", "2") as s:
        yield s
        assert s.stop() == 0


def test_slow_senders_are_cut(hasty_server):
    """2 s in all, however many bytes trickle in."""
    server = hasty_server
    for start in (b"", HEAD, HEAD + b"Content-Length: 1000\r\n\r\n"):
        s = server.socket()
        s.sendall(start)
        begin = time.monotonic()
        data = b""
        s.settimeout(0.1)
        while time.monotonic() - begin < 30:
            try:
                if start:
                    s.sendall(b"a")
                piece = s.recv(1000)
                if not piece:
                    break
                data += piece
            except TimeoutError:
                continue
            except ConnectionError:
                break
        assert time.monotonic() - begin < 20
        assert data == b"" if not start else statuses(data) == [408]
        s.close()


def test_many_idle_connections(server):
    sockets = [server.socket() for _ in range(500)]
    status, answer = server.json("POST", "/v1/completions", {"prompt": "x", "max_tokens": 1})
    assert status == 200
    for s in sockets:
        s.close()
    server.wait_for(lambda m: m["sluice_http_connections"] < 10, "their end")


def test_silence_after_a_request_is_not_an_end(server):
    """A client that only waits keeps its answer, whatever the time-outs for sending."""
    s = server.post_raw("/v1/completions", {"prompt": "x", "max_tokens": 2000, "ignore_eos": True})
    data = b""
    while b'"usage"' not in data:
        piece = s.recv(65536)
        assert piece
        data += piece
    assert statuses(data) == [200]
    s.close()


def test_log_is_one_line_each(tiny_model):
    with Server(tiny_model, "--log-json") as s:
        s.request("GET", "/a%0ab%1b%5b31mred%22")
        assert s.stop() == 0
        for line in s.log_text().splitlines():
            record = json.loads(line)
            assert set(record) == {"time", "level", "module", "message"}
            assert "\x1b" not in record["message"]
