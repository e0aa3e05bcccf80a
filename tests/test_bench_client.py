"""One request, sent to a real server that behaves, and to one that does not."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Mapping
from typing import Any

import pytest

from bench.client import Api, Request, Target, authorization, open_session, send
from bench.protocol import body
from bench.records import Record
from tests.bench_server import KEY, LINGERS_S, BenchServer

APIS: tuple[Api, ...] = ("generate", "completions", "chat")


async def ask(
    server: BenchServer,
    api: Api = "generate",
    stream: bool = True,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 10,
    **fields: Any,
) -> Record:
    target = Target(server.url, api, headers or {}, "it", "toy")
    request = Request(**{"prompt": "one two", "max_tokens": 4, "index": 7, "at": 1.5, **fields})  # type: ignore[arg-type]
    async with open_session() as session:
        return await send(session, target, request, stream=stream, timeout_s=timeout_s)


@pytest.mark.parametrize("api", APIS)
async def test_a_stream_is_recorded_token_by_token(api: Api) -> None:
    async with BenchServer(answer=["It", " is", " ü\u2028", " so"], delay_s=0.05, gap_s=0.02) as server:
        record = await ask(server, api)
    assert (record.ok, record.error, record.status, record.finish_reason) == (True, "", 200, "length")
    assert (record.index, record.target, record.at) == (7, "it", 1.5)
    assert record.text == "It is ü\u2028 so"
    assert (record.prompt_tokens, record.completion_tokens) == (5, 4)
    assert record.sent == pytest.approx(1.5, abs=0.01)
    assert record.ttft is not None and 0.05 <= record.ttft < 0.5
    assert len(record.gaps) == 3
    assert all(0.015 < gap < 0.3 for gap in record.gaps)
    assert record.ended >= 1.5 + 0.05 + 3 * 0.02
    assert record.tpot is not None and 0.015 < record.tpot < 0.3
    assert record.served_by == ("r1" if api == "generate" else "")


async def test_the_client_stays_until_the_stream_has_ended() -> None:
    async with BenchServer(mode="lingers") as server:
        begun = time.monotonic()
        record = await ask(server)
        waited = time.monotonic() - begun
        assert server.left == server.running == 0
    assert record.ok
    assert record.ended - record.sent < waited - LINGERS_S / 2, "the answer was there before"


async def test_an_answer_that_was_there_is_not_given_up() -> None:
    kept: list[Record] = []
    async with BenchServer("lingers") as server, open_session() as session:
        task = asyncio.create_task(send(session, Target(server.url), Request("hello"), on_cancel=kept.append))
        while not server.running:
            await asyncio.sleep(0.01)
        await asyncio.sleep(LINGERS_S / 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [(r.ok, r.finish_reason) for r in kept] == [(True, "length")]


@pytest.mark.parametrize("api", APIS)
async def test_a_whole_answer_comes_at_once(api: Api) -> None:
    async with BenchServer(answer=["It", " is"]) as server:
        record = await ask(server, api, stream=False)
    assert record.ok and record.text == "It is" and record.gaps == ()
    assert record.first == pytest.approx(record.ended, abs=0.01)
    assert record.completion_tokens == 2
    assert server.seen[0]["stream"] is False


@pytest.mark.parametrize("api", ["completions", "chat"])
async def test_log_probabilities_are_kept_with_their_tokens(api: Api) -> None:
    async with BenchServer(answer=["It", " is"]) as server:
        record = await ask(server, api, logprobs=True)
    assert record.tokens == ("It", " is")
    assert record.logprobs == (-0.5, -0.5)


@pytest.mark.parametrize(
    ("mode", "status", "says"),
    [
        ("dies", 200, "the connection broke"),
        ("cut", 200, "without a finish reason"),
        ("error-event", 200, "the stream ended with an error: The engine has died."),
        ("html", 200, "answered with text/html instead of a stream of events"),
        ("garbage", 200, "not JSON: '{oops'"),
        ("other", 200, "has another form than"),
        ("refuses", 503, "HTTP 503: Full."),
        ("key", 401, "HTTP 401: Who are you? Give the key"),
        ("hangs", 200, "not done within 0.3 s"),
    ],
)
@pytest.mark.parametrize("api", APIS)
async def test_what_a_server_does_wrong_is_in_the_record(mode: str, status: int, says: str, api: Api) -> None:
    async with BenchServer(mode) as server:
        record = await ask(server, api, timeout_s=0.3 if mode == "hangs" else 10)
    assert not record.ok
    assert says in record.error
    assert (record.status, record.finish_reason) == (status, None)
    assert record.completion_tokens == (2 if mode in ("dies", "cut", "error-event", "hangs") else 0)
    assert record.ended >= record.sent


@pytest.mark.parametrize("mode", ["html", "other"])
async def test_the_same_for_answers_in_one_piece(mode: str) -> None:
    async with BenchServer(mode) as server:
        record = await ask(server, "chat" if mode == "html" else "generate", stream=mode == "other")
    assert not record.ok and record.error


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}", "localhost:{port}", "http://no host", "ftp://127.0.0.1"])
async def test_where_nobody_answers(url: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    async with open_session() as session:
        record = await send(session, Target(url.format(port=port)), Request("hello"))
    assert record.error.startswith("no connection to ")
    assert (record.status, record.first, record.ok) == (0, None, False)


async def test_the_key_is_sent_and_shown_nowhere() -> None:
    headers = authorization({"SWITCHYARD_API_KEY": KEY})
    async with BenchServer("key") as server:
        record = await ask(server, headers=headers)
        refused = await ask(server, headers={"authorization": "Bearer other-secret"})
    assert record.ok
    assert KEY not in repr(Target("http://x", headers=headers)) + repr(record)
    assert "other-secret" not in repr(refused)
    assert authorization({}) == {}
    assert authorization({"K": "v"}, "K") == {"authorization": "Bearer v"}


async def test_a_request_given_up_leaves_what_had_arrived() -> None:
    kept: list[Record] = []
    async with BenchServer("hangs") as server, open_session() as session:
        task = asyncio.create_task(send(session, Target(server.url), Request("hello"), on_cancel=kept.append))
        while not server.running:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [(r.text, r.completion_tokens, r.ok) for r in kept] == [("xx", 2, False)]
    assert "given up by the client" in kept[0].error


def test_bodies() -> None:
    request = Request("hi", max_tokens=3, seed=1, ignore_eos=True, logprobs=True, raw=True)
    assert body(Target("u"), request) == {
        "prompt": "hi", "max_tokens": 3, "temperature": 0.0, "seed": 1, "stream": True, "raw": True
    }  # fmt: skip
    assert body(Target("u", "completions", model="m"), request) == {
        "prompt": "hi", "max_tokens": 3, "temperature": 0.0, "seed": 1, "stream": True, "model": "m",
        "stream_options": {"include_usage": True}, "ignore_eos": True, "logprobs": 1,
    }  # fmt: skip
    chat = body(Target("u", "chat"), request, stream=False)
    assert chat["messages"] == [{"role": "user", "content": "hi"}]
    assert chat["logprobs"] is True and "stream_options" not in chat
    assert body(Target("u", "completions"), Request((1, 2)))["prompt"] == [1, 2]
    assert body(Target("u"), Request(messages=({"role": "user", "content": "x"},)))["messages"][0]["content"] == "x"


@pytest.mark.parametrize(
    ("api", "request_"),
    [
        ("generate", Request()),
        ("chat", Request("x", messages=())),
        ("generate", Request((1, 2))),
        ("completions", Request(messages=({"role": "user", "content": "x"},))),
    ],
)
def test_bodies_that_cannot_be(api: Api, request_: Request) -> None:
    with pytest.raises(ValueError):
        body(Target("u", api), request_)
