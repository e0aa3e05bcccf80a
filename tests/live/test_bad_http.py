"""Bad HTTP against a real service: cases 6 to 15, 42 to 44, 46 and 47, as in test_bad_input.py.

What HAProxy refuses itself has no envelope, but is a 4xx with the connection closed. The 401 of 12 and 14 needs a
service with keys and is in test_guard.py: here there are none, and those inputs open nothing.
"""

from __future__ import annotations

import gzip
import json
import re
import socket
from collections.abc import Iterator

import httpx2
import pytest

from .conftest import LONG, Service, wait_until
from .test_bad_input import ALL, GOOD, JSON, LEAKS, C, G, assert_alive, assert_told

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def client(tiny: Service) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=tiny.url, timeout=60) as shared:
        yield shared


def ours(name: str, path: str, headers: dict[str, str], body: bytes, expected: int, *, method: str = "POST"):
    """A request that our code refuses."""
    return pytest.param((method, path, headers, body), expected, id=name)


HEADERS = [
    *(ours(f"6-{kind}", G, {"content-type": kind}, b"{}", 415) for kind in ("text/plain", "application/jsonx", "")),
    ours("6-form", G, {"content-type": "application/x-www-form-urlencoded"}, b"a=b", 415),
    ours("6-missing", C, {}, b"{}", 415),
    ours("7-large", G, JSON, b" " * 1_100_000, 413),
    ours("7-large-v1", C, JSON, b" " * 1_100_000, 413),
    ours("9-gzip", C, {**JSON, "content-encoding": "gzip"}, gzip.compress(b" " * 10_000_000), 415),
    ours("9-br", G, {**JSON, "content-encoding": "br"}, b"x", 415),
    *(ours(f"15-get-{path}", path, {}, b"", 405, method="GET") for path in ALL),
    *(ours(f"15-delete-{path}", path, {}, b"", 405, method="DELETE") for path in (G, "/health", "/v1/models")),
]


@pytest.mark.parametrize(("request_", "expected"), HEADERS)
def test_refused(client: httpx2.Client, request_: tuple[str, str, dict[str, str], bytes], expected: int):
    method, path, headers, body = request_
    assert_told(client.request(method, path, headers=headers, content=body), expected, path)
    assert_alive(client)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("authorization", "Basic dXNlcjpwYXNz", id="14-basic"),
        pytest.param("authorization", "Bearer " + "k" * 4000, id="14-long"),
        pytest.param("x-request-id", "a" * 10_000, id="42-long"),
        pytest.param("x-request-id", "10.0.0.1:9000", id="42-address"),
        pytest.param("x-request-id", "___prefill_addr_1.2.3.4:1___decode_addr_1.2.3.4:1_", id="42-peer"),
        pytest.param("x-request-timeout-seconds", "-1", id="43-negative"),
        pytest.param("x-request-timeout-seconds", "1e9", id="43-huge"),
        pytest.param("x-request-timeout-seconds", "abc", id="43-no-number"),
        pytest.param("x-request-timeout-seconds", "0.0001", id="43-short"),
        pytest.param("x-serve-router-target", "nobody", id="44-router"),
        pytest.param("x-session-id", "another", id="44-session"),
    ],
)
def test_headers_without_power(client: httpx2.Client, name: str, value: str):
    answer = client.post(G, json=GOOD[G], headers={name: value})
    assert_told(answer, 200, name)
    assert re.fullmatch(r"gen-[0-9a-f-]{32,36}", answer.json()["id"])
    assert_alive(client)


def test_43_a_client_cannot_keep_the_engine_busy_after_it_left(tiny: Service, client: httpx2.Client):
    before = tiny.metric("vllm:generation_tokens_total")
    body = {"prompt": "count", "max_tokens": LONG, "stream": True}
    with client.stream("POST", G, json=body, headers={"x-request-disconnect-disabled": "?1"}) as answer:
        next(answer.iter_lines())
    wait_until(lambda: tiny.in_flight() == 0, 60, "the engine to be free")
    assert tiny.metric("vllm:generation_tokens_total") - before < LONG, "it went on to the end"


BODY = b'{"prompt":"x","max_tokens":1}'
POST = b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
SIZED = b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(BODY) + BODY + b"\r\n0\r\n\r\n"
SECOND = b"GET /release HTTP/1.1\r\nHost: x\r\n\r\n"
WEBSOCKET = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + b"A" * 22


def get(path: bytes, host: bytes = b"x", version: bytes = b" HTTP/1.1") -> bytes:
    return b"GET " + path + version + b"\r\nHost: " + host + b"\r\n\r\n"


RAW = {
    # HAProxy goes by the chunks and closes, as RFC 9112 (6.1) allows; what follows is not taken for a request.
    "10-length-and-chunks": (POST + b"Content-Length: 4\r\n" + CHUNKED + SECOND, {200, 400}),
    "10-chunks-and-length": (POST + b"Transfer-Encoding: chunked\r\n" + SIZED + SECOND, {400}),
    "10-two-lengths": (POST + b"Content-Length: 5\r\n" + SIZED, {400}),
    "10-odd-encoding": (POST + b"Transfer-Encoding: xchunked\r\n" + SIZED, {400}),
    "10-space-before-colon": (POST + b"Transfer-Encoding : chunked\r\n" + SIZED, {400}),
    "10-negative-length": (POST + b"Content-Length: -5\r\n\r\n" + BODY, {400}),
    "10-plus-length": (POST + b"Content-Length: +29\r\n\r\n" + BODY, {400}),
    "10-bad-chunk": (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + BODY, {400}),
    "7-length-alone": (POST + b"Content-Length: 99999999999\r\n\r\n", {413}),
    "8-chunks": (POST + b"Transfer-Encoding: chunked\r\n\r\n" + (b"100000\r\n" + b" " * 2**20 + b"\r\n") * 64, {413}),
    "11-101-headers": (POST + b"".join(b"X-%d: y\r\n" % i for i in range(101)) + SIZED, {400, 431}),
    "11-33-kib": (POST + b"X-A: " + b"a" * 33 * 1024 + b"\r\n" + SIZED, {400, 431}),
    "11-1-mib": (POST + b"X-A: " + b"a" * 2**20 + b"\r\n" + SIZED, {400, 431}),
    "12-host-with-path": (get(b"/tokenize", host=b"a/health?x="), {400, 404}),
    "12-absolute-target": (get(b"http://a/health?x=", host=b"b/metrics"), {400, 404}),
    "12-two-hosts": (b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", {400}),
    **{
        f"13-{path.decode()}": (get(path), {404})
        for path in (
            b"//v1/models", b"/v1/../tokenize", b"/health/../metrics", b"/%2e%2e/metrics", b"/v1/models/",
            b"/V1/MODELS", b"/Generate", b"/health%00", b"/health%2f", b"/%ff", b"/tokenize?path=/health",
        )
    },
    "14-64-kib": (POST + b"Authorization: Bearer " + b"k" * 65536 + b"\r\n" + SIZED, {400, 431}),
    "42-carriage-return": (POST + b"X-Request-Id: a\rb\r\n" + SIZED, {400}),
    "42-nul": (POST + b"X-Request-Id: a\0b\r\n" + SIZED, {400}),
    "46-http-0.9": (b"GET /health\r\n\r\n", {400}),
    "46-connect": (b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n", {400, 404, 405}),
    "46-trace": (b"TRACE /generate HTTP/1.1\r\nHost: x\r\n\r\n", {405}),
    "46-websocket": (b"GET /generate HTTP/1.1\r\nHost: x\r\n" + WEBSOCKET + b"==\r\n\r\n", {403}),
    "46-websocket-realtime": (b"GET /v1/realtime HTTP/1.1\r\nHost: x\r\n" + WEBSOCKET + b"==\r\n\r\n", {403}),
    "46-tls": (bytes.fromhex("160301006c0100006803") + b"\0" * 100, {400}),
    "46-garbage": (b"\xff\xfe\xfd\r\n\r\n", {400}),
    "46-long-target": (get(b"/" + b"a" * 20_000), {400, 414}),
}  # fmt: skip
NOT_OURS = {"46-connect", "46-websocket", "46-websocket-realtime"}
"""Answered by Serve around our code, without envelope and with the connection left open, but not upgraded."""


def exchange(url: str, data: bytes, *, answers: int = 1, quiet_s: float = 0.2) -> tuple[bytes, bool]:
    """Send bytes, read that many answers, and on until nothing more comes: what came, and whether it was closed."""
    out = b""
    with socket.create_connection((httpx2.URL(url).host, httpx2.URL(url).port), timeout=15) as connection:
        try:
            connection.sendall(data)
        except OSError:  # it stopped reading
            return connection.recv(65536), True
        try:
            while piece := connection.recv(65536):
                out += piece
                if whole_answers(out) >= answers and b"<html>" not in out:
                    connection.settimeout(quiet_s)
        except TimeoutError:
            return out, False
        except ConnectionResetError:
            pass
    return out, True


def whole_answers(data: bytes) -> int:
    """How many answers of known length are in ``data`` to their last byte."""
    count = 0
    while (end := data.find(b"\r\n\r\n")) >= 0:
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", data[:end])
        data = data[end + 4 + (int(length[1]) if length else 0) :]
        count += 1
    return count


@pytest.mark.parametrize("name", RAW)
def test_raw(tiny: Service, client: httpx2.Client, name: str):
    data, expected = RAW[name]
    out, closed = exchange(tiny.url, data, quiet_s=1 if SECOND in data else 0.2)
    head, _, body = out.partition(b"\r\n\r\n")
    assert out.count(b"HTTP/1.") == 1, out
    assert int(head.split()[1]) in expected, out
    assert not [leak for leak in LEAKS if leak.encode() in out]
    if b"<html>" in body:  # HAProxy's own
        assert closed
    elif int(head.split()[1]) >= 400 and name not in NOT_OURS:
        error = json.loads(body)["error"]
        assert (set(error), error["code"]) == ({"message", "type", "param", "code"}, int(head.split()[1]))
    assert_alive(client)


@pytest.mark.parametrize("request_", [get(b"/health"), get(b"/nothing"), POST + SIZED], ids=["get", "404", "post"])
def test_47_pipelined(tiny: Service, client: httpx2.Client, request_: bytes):
    out, _ = exchange(tiny.url, request_ * 100, answers=100)
    assert 0 < out.count(b"HTTP/1.1 ") <= 100
    assert b"HTTP/1.1 5" not in out
    assert_alive(client)
