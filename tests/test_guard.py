from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

import pytest

from serve_app.guard import MAX_HEADER_BYTES, MAX_HEADERS, ROUTES, Guard, Limits, parse_keys
from tests.fakes import JSON, Answer, Client, Recorder

KEY = "sk-test"
KEYS = Limits(key_hashes=frozenset({hashlib.sha256(KEY.encode()).hexdigest(), "0" * 64}))
CHAT = "/v1/chat/completions"


async def ask(
    method: str, path: str, *headers: tuple[bytes, bytes], limits: Limits | None = None, body: bytes = b"{}"
) -> tuple[Answer, Recorder]:
    app = Recorder()
    answer = await Client(Guard(app, limits)).request(method, path, [body], headers)
    return answer, app


@pytest.mark.parametrize(("path", "methods"), ROUTES.items())
async def test_routes_on_the_list_take_their_methods_only(path: str, methods: frozenset[str]) -> None:
    for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "get", "X" * 500):
        answer, app = await ask(method, path, JSON)
        assert (answer.status, len(app.scopes)) == ((200, 1) if method in methods else (405, 0))
        if answer.status == 405:
            assert answer.error["code"] == 405
            assert len(answer.error["message"]) < 200
            assert set(answer.headers["allow"].split(", ")) == methods


PATH_TRICKS = [
    "/",
    "",
    "*",
    "//v1/models",
    "/v1//models",
    "/v1/../v1/models",
    "/v1/./models",
    "/V1/models",
    "/v1/models/",
    "/v1/models;x",
    "/v1/models?x",
    "/v1/models%2f",
    "/v1/models\0",
    "/v1/models/m",
    "http://host/v1/models",
    "/generate/",
    "/health/",
    "/health/../v1/models",
    "/tokenize",
    "/pause",
    "/collective_rpc",
    "/invocations",
    "/v1/load_lora_adapter",
    "/a" * 5000,
    "/\u00e9\U0001f600",
]


@pytest.mark.parametrize("path", PATH_TRICKS, ids=lambda path: ascii(path[:20]))
async def test_any_other_path_is_unknown(path: str) -> None:
    answer, app = await ask("GET", path)
    assert (answer.status, answer.error["type"], app.scopes) == (404, "NotFoundError", [])
    assert len(answer.body) < 800
    answer, app = await ask("GET", path, limits=KEYS)
    assert (answer.status, app.scopes) == (401, [])


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b"")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Bearer ")],
        [(b"authorization", b"Bearer sk-tes")],
        [(b"authorization", b"Bearer sk-test2")],
        [(b"authorization", b"Bearer SK-TEST")],
        [(b"authorization", b"Basic c2stdGVzdA==")],
        [(b"authorization", b"sk-test")],
        [(b"authorization", b"Bearer " + hashlib.sha256(KEY.encode()).hexdigest().encode())],
        [(b"authorization", b"Bearer " + b"0" * 64)],
        [(b"authorization", "Bearer schl\u00fcssel".encode())],
        [(b"authorization", b"Bearer \xff\xfe")],
        [(b"authorization", b"Bearer " + b"x" * 10_000)],
        [(b"host", b"a/?x="), (b"x-api-key", KEY.encode())],
        [(b"host", b"localhost/health"), (b"x-forwarded-prefix", b"/health")],
        [(b"cookie", b"authorization=Bearer sk-test")],
    ],
    ids=lambda headers: str(headers)[:50],
)
@pytest.mark.parametrize("path", ["/generate", CHAT, "/v1/models", "/release", "/metrics", "/docs", "/openapi.json"])
async def test_without_a_key_nothing_is_answered(path: str, headers: list[tuple[bytes, bytes]]) -> None:
    for method in ROUTES[path] | {"PUT"}:
        answer, app = await ask(method, path, JSON, *headers, limits=KEYS)
        assert (answer.status, answer.headers["www-authenticate"], app.scopes) == (401, "Bearer", [])
        assert KEY not in answer.body.decode()


@pytest.mark.parametrize("value", [b"Bearer sk-test", b"bearer sk-test", b"BEARER  sk-test "])
async def test_with_a_key(value: bytes) -> None:
    answer, _ = await ask("POST", "/generate", JSON, (b"Authorization", value), limits=KEYS)
    assert answer.status == 200


async def test_health_needs_no_key() -> None:
    assert (await ask("GET", "/health", limits=KEYS))[0].status == 200


def test_keys_file() -> None:
    digest = "ab" * 32
    assert parse_keys(["# team keys", "", f"alice:{digest}", f"  bob : {digest.upper()}  "]) == {digest}
    assert parse_keys([]) == frozenset()


@pytest.mark.parametrize("line", ["sk-secret", "bob:sk-secret", "bob:" + "a" * 63, "bob:" + "g" * 64, "bob:"])
def test_a_wrong_keys_file_is_refused_without_telling_its_content(line: str) -> None:
    with pytest.raises(ValueError, match="line 2") as caught:
        parse_keys(["# keys", line])
    assert "sk-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("count", "size", "status"),
    [(MAX_HEADERS, 1, 200), (MAX_HEADERS + 1, 1, 431), (1, MAX_HEADER_BYTES - 5, 200), (1, MAX_HEADER_BYTES, 431)],
)
async def test_headers(count: int, size: int, status: int) -> None:
    answer, _ = await ask("GET", "/health", *[(b"x-abc", b"a" * size)] * count)
    assert answer.status == status
    assert (answer.headers.get("connection") == "close") is (status == 431)


async def test_headers_that_give_power_are_dropped() -> None:
    kept = [(b"user-agent", b"x"), (b"x-request-id", b"abc-1.2_3"), (b"host", b"h")]
    dropped = [
        (b"x-request-timeout-seconds", b"-1"),
        (b"X-Request-Disconnect-Disabled", b"1"),
        (b"x-session-id", b"1"),
        (b"X-Serve-Router-Anything", b"1"),
        (b"x-vllm-priority", b"1"),
        (b"x-data-parallel-rank", b"1"),
        (b"x-request-id", b"a\r\nb: c"),
        (b"x-request-id", b"a" * 65),
        (b"x-request-id", b""),
        (b"X-Request-ID", b"tcp://10.0.0.1:5"),
        (b"x-request-id", "\u00e9".encode()),
    ]
    _, app = await ask("GET", "/health", *kept, *dropped)
    assert app.scopes[0]["headers"] == kept


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([JSON], 200),
        ([(b"Content-Type", b"Application/JSON; charset=utf-8")], 200),
        ([JSON, (b"content-encoding", b"identity")], 200),
        ([], 415),
        ([(b"content-type", b"")], 415),
        ([(b"content-type", b"text/plain")], 415),
        ([(b"content-type", b"application/jsonx")], 415),
        ([(b"content-type", b"multipart/form-data; boundary=x")], 415),
        ([JSON, (b"content-encoding", b"gzip")], 415),
        ([JSON, (b"Content-Encoding", b"br")], 415),
        ([JSON, (b"content-encoding", b"identity, gzip")], 415),
    ],
)
@pytest.mark.parametrize("path", ["/generate", CHAT])
async def test_media_type(path: str, headers: list[tuple[bytes, bytes]], status: int) -> None:
    assert (await ask("POST", path, *headers))[0].status == status


@pytest.mark.parametrize("declared", [b"1025", b"9" * 18, b"9" * 5000])
async def test_a_body_declared_too_large_is_not_read(declared: bytes) -> None:
    client = Client(Guard(Recorder(), Limits(max_body_bytes=1024)))
    answer = await client.request("POST", "/generate", [b"{}"], [JSON, (b"Content-Length", declared)])
    assert (answer.status, answer.headers["connection"], client.received) == (413, "close", 0)
    assert "1024 bytes" in answer.error["message"]


@pytest.mark.parametrize("declared", [[], [(b"content-length", b"5")], [(b"content-length", b"x")]])
async def test_reading_stops_where_a_body_becomes_too_large(declared: list[tuple[bytes, bytes]]) -> None:
    client = Client(Guard(Recorder(), Limits(max_body_bytes=1024)))
    answer = await client.request("POST", "/generate", [b" " * 500] * 100, [JSON, *declared])
    assert (answer.status, client.received) == (413, 3)


async def test_a_body_in_pieces_arrives_whole() -> None:
    app = Recorder()
    await Client(Guard(app, Limits(max_body_bytes=1024))).request("POST", "/generate", [b"{", b'"a"', b"", b":1}"])
    assert app.bodies == [b'{"a":1}']


async def test_a_refused_body_does_not_reach_the_app() -> None:
    for body in (b"", b'{"chat_template": "x"}', b"[" * 1000):
        answer, app = await ask("POST", CHAT, JSON, body=body)
        assert (answer.status, answer.error["type"], app.scopes) == (400, "BadRequestError", [])
        assert answer.headers["content-length"] == str(len(answer.body))


async def test_a_websocket_is_closed() -> None:
    app, sent = Recorder(), list[Any]()

    async def send(message: Any) -> None:
        sent.append(message)

    await Guard(app)({"type": "websocket", "path": "/generate", "headers": []}, lambda: asyncio.sleep(0, {}), send)
    assert (app.scopes, [message["type"] for message in sent]) == ([], ["websocket.close"])


async def test_lifespan_reaches_the_app() -> None:
    app = Recorder({"type": "lifespan.startup.complete"})
    await Guard(app)({"type": "lifespan"}, lambda: asyncio.sleep(0, {}), lambda _: asyncio.sleep(0))
    assert app.scopes == [{"type": "lifespan"}]


async def test_refusals_are_json_envelopes() -> None:
    for answer, _ in [await ask("GET", "/x"), await ask("PUT", "/health"), await ask("POST", "/generate")]:
        assert answer.headers["content-type"] == "application/json"
        assert json.loads(answer.body)["error"].keys() == {"message", "type", "param", "code"}
        assert answer.complete


async def test_a_route_that_the_model_has_no_use_for_is_not_there() -> None:
    app = Recorder()
    guard = Guard(app, absent=frozenset({"/v1/embeddings"}))
    answer = await Client(guard).post("/v1/embeddings", {"input": "x"})
    assert (answer.status, app.scopes) == (404, [])
    assert "cannot do /v1/embeddings" in answer.error["message"]
    answer = await Client(guard).post("/v1/nothing", {})
    assert "/v1/completions" in answer.error["message"]
    assert "/v1/embeddings" not in answer.error["message"]
