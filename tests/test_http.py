from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from serve_app.config import ServiceConfig
from serve_app.engine import Health
from serve_app.errors import BadRequest, EngineUnavailable, GenerationFailed, StartError
from serve_app.guard import Guard, Limits
from serve_app.http import add_routes, limits_of
from serve_app.schema import Delta
from tests.fakes import JSON, Client, FakeEngine, finished

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
END = {"text": "", "finish_reason": "stop", "usage": USAGE, "model": "fake", "release": "0123456789ab"}


def client(engine: FakeEngine, config: ServiceConfig | None = None, limits: Limits | None = None) -> Client:
    """The routes as a replica has them: behind the guard."""
    app = FastAPI()
    add_routes(app, engine, config or ServiceConfig())
    return Client(Guard(app, limits))


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def test_whole() -> None:
    engine = FakeEngine()
    answer = await client(engine).post("/generate", {"prompt": "Hi", "max_tokens": 4})
    assert answer.status == 200
    body = json.loads(answer.body)
    assert body.pop("id") == engine.ids[0]
    assert body == {**END, "text": "Hi there"}
    assert engine.requests[0].max_tokens == 4
    assert engine.closed == engine.ids


async def test_streamed() -> None:
    engine = FakeEngine([Delta(text="H"), Delta(text='i "\n\u2028\U0001f600'), finished("length")])
    answer = await client(engine).post("/generate", {"prompt": "Hi", "stream": True})
    assert (answer.status, answer.complete) == (200, True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-cache"
    deltas = [{"text": "H"}, {"text": 'i "\n\u2028\U0001f600'}]
    assert answer.events == [*deltas, {**END, "finish_reason": "length"}, "[DONE]"]
    assert engine.closed == engine.ids


async def test_each_event_is_sent_at_once() -> None:
    c = client(FakeEngine())
    await c.post("/generate", {"prompt": "Hi", "stream": True})
    pieces = [message["body"] for message in c.answer.messages[1:] if message["body"]]
    assert [piece.count(b"data: ") for piece in pieces] == [1, 1, 1, 1]


async def test_an_answer_without_text_is_an_answer() -> None:
    answer = await client(FakeEngine([finished()])).post("/generate", {"prompt": "Hi", "stream": True})
    assert answer.events == [END, "[DONE]"]
    answer = await client(FakeEngine([finished()])).post("/generate", {"prompt": "Hi"})
    assert json.loads(answer.body)["text"] == ""


@pytest.mark.parametrize(
    ("default", "asked", "streamed"), [(True, None, True), (True, False, False), (False, None, False)]
)
async def test_whether_to_stream_is_the_services_default(default: bool, asked: bool | None, streamed: bool) -> None:
    config = ServiceConfig.model_validate({"serving": {"defaults": {"stream": default}}})
    answer = await client(FakeEngine(), config).post("/generate", {"prompt": "Hi", "stream": asked})
    assert answer.headers["content-type"].startswith("text/event-stream") is streamed


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (BadRequest("too long", param="prompt"), 400, "BadRequestError"),
        (EngineUnavailable("full", retry_after_s=3), 503, "ServiceUnavailableError"),
        (GenerationFailed("no"), 500, "InternalServerError"),
    ],
)
async def test_a_refusal_has_its_status(error: Any, status: int, kind: str, stream: bool) -> None:
    engine = FakeEngine([error])
    answer = await client(engine).post("/generate", {"prompt": "Hi", "stream": stream})
    assert answer.status == status
    assert answer.error == {"message": str(error), "type": kind, "param": error.param, "code": status}
    assert answer.headers.get("retry-after") == ("3" if status == 503 else None)
    assert engine.closed == engine.ids


@pytest.mark.parametrize("script", [[Delta(text="a"), GenerationFailed("lost")], [Delta(text="a")]])
async def test_a_stream_that_breaks_has_an_error_and_no_done(script: Any) -> None:
    engine = FakeEngine(script)
    answer = await client(engine).post("/generate", {"prompt": "Hi", "stream": True})
    assert (answer.status, answer.complete) == (200, True)
    assert answer.events[0] == {"text": "a"}
    assert answer.events[1]["error"]["code"] == 500
    assert len(answer.events) == 2
    assert engine.closed == engine.ids


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("script", [[], [Delta(text="a")]])
async def test_an_answer_without_an_end_is_an_error(script: Any, stream: bool) -> None:
    answer = await client(FakeEngine(script)).post("/generate", {"prompt": "Hi", "stream": stream})
    if script and stream:
        assert "[DONE]" not in answer.events
    else:
        assert (answer.status, answer.error["type"]) == (500, "InternalServerError")


async def test_nothing_follows_the_end() -> None:
    engine = FakeEngine([Delta(text="a"), finished(), Delta(text="b")])
    answer = await client(engine).post("/generate", {"prompt": "Hi", "stream": True})
    assert "[DONE]" not in answer.events
    assert "error" in answer.events[-1]


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"prompt": 1}', b'{"prompt": "a", "priority": 1}', b"{}"])
async def test_a_wrong_body_does_not_reach_the_engine(body: bytes) -> None:
    engine = FakeEngine()
    answer = await client(engine).post("/generate", body)
    assert (answer.status, answer.error["type"], engine.requests) == (400, "BadRequestError", [])


@pytest.mark.parametrize(
    ("stream", "script"),
    [(True, [None]), (True, [Delta(text="a"), None]), (False, [None]), (False, [Delta(text="a"), None])],
)
async def test_a_client_that_leaves_ends_the_engines_request(stream: bool, script: Any) -> None:
    engine = FakeEngine(script)
    c = client(engine)
    task = asyncio.create_task(c.post("/generate", {"prompt": "Hi", "stream": stream}))
    await until(lambda: engine.ids and (len(c.answer.messages) == 2 or not stream or script == [None]))
    assert engine.closed == []
    c.gone.set()
    await until(lambda: engine.closed)
    await asyncio.wait([task], timeout=5)
    assert engine.closed == engine.ids
    assert b"[DONE]" not in c.answer.body


async def test_a_client_that_leaves_in_the_middle_of_many_events() -> None:
    engine = FakeEngine([*[Delta(text="a")] * 1000, None])
    c = client(engine)
    c.leave_after = 10
    await asyncio.wait([asyncio.create_task(c.post("/generate", {"prompt": "Hi", "stream": True}))], timeout=5)
    await until(lambda: engine.closed)
    assert engine.closed == engine.ids


async def test_the_deadline_ends_the_engines_request() -> None:
    engine = FakeEngine([Delta(text="a"), None])
    answer = await client(engine, limits=Limits(max_request_s=0.05)).post("/generate", {"prompt": "Hi", "stream": True})
    assert answer.events[-1]["error"]["code"] == 504
    await until(lambda: engine.closed)


async def test_a_request_id_is_the_clients_or_new() -> None:
    engine = FakeEngine()
    await client(engine).post("/generate", {"prompt": "Hi"}, (b"x-request-id", b"trace-1"))
    for _ in range(2):
        await client(engine).post("/generate", {"prompt": "Hi"}, (b"x-request-id", b"not\nthis"))
    assert engine.ids[0] == "gen-trace-1"
    assert len({*engine.ids}) == 3
    assert all(request_id.startswith("gen-") and "not" not in request_id for request_id in engine.ids[1:])


async def test_health() -> None:
    engine = FakeEngine()
    answer = await client(engine).request("GET", "/health")
    assert (answer.status, json.loads(answer.body)) == (200, {"status": "ok", "last_step_age_s": 0.2, "in_flight": 2})
    engine.state = Health(ok=False, last_step_age_s=60, in_flight=1, reason="no token for 60 s")
    answer = await client(engine).request("GET", "/health")
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert "no token for 60 s" in answer.error["message"]


@pytest.mark.parametrize("path", ["/health", "/release"])
async def test_head(path: str) -> None:
    """The guard lets HEAD pass: the routes must know it."""
    assert (await client(FakeEngine()).request("HEAD", path)).status == 200


async def test_release() -> None:
    answer = await client(FakeEngine()).request("GET", "/release")
    assert (answer.status, json.loads(answer.body)) == (200, {"release": "0123456789ab"})


async def test_the_api_is_described() -> None:
    answer = await client(FakeEngine()).request("GET", "/openapi.json")
    described = json.loads(answer.body)
    schema = described["paths"]["/generate"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert {"prompt", "messages", "max_tokens", "stop", "stream"} <= schema["properties"].keys()
    assert {"/generate", "/health", "/release"} <= described["paths"].keys()


async def test_every_reference_in_the_api_description_leads_somewhere() -> None:
    answer = await client(FakeEngine()).request("GET", "/openapi.json")
    described = json.loads(answer.body)

    def references(node: Any) -> list[str]:
        if isinstance(node, list):
            return [found for item in node for found in references(item)]
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [found for item in node.values() for found in references(item)]
        return []

    for reference in references(described):
        node = described
        for part in reference.removeprefix("#/").split("/"):
            assert part in node, reference
            node = node[part]


def serving(**values: Any) -> ServiceConfig:
    return ServiceConfig.model_validate({"serving": values})


def test_limits_of(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"k").hexdigest()
    (tmp_path / "keys").write_text(f"# team\nme:{digest}\n")
    limits = limits_of(serving(api_keys_file=str(tmp_path / "keys"), max_body_bytes=2048, max_request_s=5))
    assert limits == Limits(max_body_bytes=2048, max_request_s=5, key_hashes=frozenset({digest}))
    assert limits_of(serving()).key_hashes == frozenset()


@pytest.mark.parametrize(
    ("content", "part"), [(None, "No such file"), (b"me:secret\n", "line 1"), (b"# none\n", "no key"), (b"\xff\n", "")]
)
def test_a_wrong_keys_file_stops_the_start(tmp_path: Path, content: bytes | None, part: str) -> None:
    if content is not None:
        (tmp_path / "keys").write_bytes(content)
    with pytest.raises(StartError, match=r"serving\.api_keys_file") as caught:
        limits_of(serving(api_keys_file=str(tmp_path / "keys")))
    assert part in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_a_key_is_asked_for_before_the_body_is_read() -> None:
    engine = FakeEngine()
    c = client(engine, limits=Limits(key_hashes=frozenset({"0" * 64})))
    assert (await c.request("POST", "/generate", [b"{}"], [JSON])).status == 401
    assert (c.received, engine.requests) == (0, [])
