"""What the guard does once the body is being read: deadlines, disconnects, and answers that break off."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from serve_app.errors import GenerationFailed
from serve_app.guard import Guard, Limits
from tests.fakes import JSON, Client, Recorder, run_jumping

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}


def test_a_slow_body_is_given_up() -> None:
    app = Recorder()
    answer, seconds = run_jumping(lambda: Client(Guard(app)).request("POST", "/generate", [b"{"], stall=True))
    assert (answer.status, answer.error["type"], app.scopes) == (408, "TimeoutError", [])
    assert seconds == pytest.approx(15)


def test_a_slow_answer_is_given_up() -> None:
    guard = Guard(Recorder(100.0), Limits(max_request_s=20))
    answer, seconds = run_jumping(lambda: Client(guard).request("POST", "/generate", [b"{}"]))
    assert (answer.status, answer.complete, "20 s" in answer.error["message"]) == (504, True, True)
    assert seconds == pytest.approx(20, abs=1)


class HeedsDisconnectOnly:
    """As vLLM's routes: a cancellation does not reach the work, a disconnect does; and then it answers ``null``."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        self.ended.append("disconnect")
        await send({"type": "http.response.start", "status": 200, "headers": [JSON]})
        await send({"type": "http.response.body", "body": b"null"})


def test_a_deadline_is_told_also_where_the_app_answers_a_disconnect() -> None:
    app = HeedsDisconnectOnly()
    answer, _ = run_jumping(lambda: Client(Guard(app, Limits(max_request_s=20))).post("/generate", {}))
    assert (answer.status, app.ended) == (504, ["disconnect"])


def test_a_request_that_is_cancelled_looks_like_a_disconnect_to_the_app() -> None:
    """Serve cancels the request of a client that has left."""
    heeding, deaf = HeedsDisconnectOnly(), Recorder(1000.0)

    async def cancelled(app: Any) -> None:
        task = asyncio.create_task(Client(Guard(app)).post("/generate", {}))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    for app in (heeding, deaf):
        _, seconds = run_jumping(lambda app=app: cancelled(app))
        assert seconds < 5
    assert heeding.ended == ["disconnect"]


def test_a_stream_that_runs_too_long_ends_with_an_error_event() -> None:
    token = {"type": "http.response.body", "body": b'data: {"text": "a"}\n\n', "more_body": True}
    guard = Guard(Recorder(START, token, 100.0), Limits(max_request_s=20))
    answer, _ = run_jumping(lambda: Client(guard).request("POST", "/generate", [b"{}"]))
    assert (answer.status, answer.complete) == (200, True)
    assert answer.events[0] == {"text": "a"}
    assert answer.events[1]["error"]["code"] == 504
    assert len(answer.events) == 2


@pytest.mark.parametrize("end", [(), (GenerationFailed("broken"),)])
async def test_a_stream_that_fails_ends_with_an_error_event(end: tuple[Any, ...]) -> None:
    token = {"type": "http.response.body", "body": b'data: {"text": "a"}\n\n', "more_body": True}
    answer = await Client(Guard(Recorder(START, token, *end))).post("/generate", {})
    assert answer.complete
    assert [event.get("error", {}).get("code") for event in answer.events] == [None, 500]


@pytest.mark.parametrize("error", [RuntimeError("app"), KeyError("x"), TimeoutError("a socket's, not the deadline's")])
async def test_the_apps_own_exceptions_pass_through(error: Exception) -> None:
    client = Client(Guard(Recorder(error)))
    with pytest.raises(type(error)) as caught:
        await client.post("/generate", {})
    assert caught.value is error
    assert client.answer.messages == []


async def test_an_error_after_the_end_adds_nothing() -> None:
    whole = {"type": "http.response.body", "body": b"data: [DONE]\n\n"}
    answer = await Client(Guard(Recorder(START, whole, GenerationFailed("late")))).post("/generate", {})
    assert answer.events == ["[DONE]"]


@pytest.mark.parametrize(
    ("status", "own", "expected"), [(503, [], "1"), (429, [], "1"), (503, [b"7"], "7"), (500, [], None)]
)
async def test_retry_after(status: int, own: list[bytes], expected: str | None) -> None:
    start = {"type": "http.response.start", "status": status, "headers": [(b"retry-after", value) for value in own]}
    answer = await Client(Guard(Recorder(start, {"type": "http.response.body"}))).post("/generate", {})
    assert [v.decode() for k, v in answer.messages[0]["headers"] if k == b"retry-after"] == [expected] * bool(expected)


async def test_a_client_that_leaves_while_sending_is_forgotten() -> None:
    app = Recorder()
    client = Client(Guard(app))
    client.gone.set()
    with pytest.raises(asyncio.CancelledError):
        await client.request("POST", "/generate", [b"{"], stall=True)
    assert (app.scopes, client.answer.messages) == ([], [])


@pytest.mark.parametrize(("method", "path", "code"), [("POST", "/generate", 200), ("GET", "/nowhere", 404)])
async def test_every_answer_names_the_release_and_a_guard_without_one_says_nothing(
    method: str, path: str, code: int
) -> None:
    named = await Client(Guard(Recorder(), release="abc")).request(method, path, [b"{}"])
    unnamed = await Client(Guard(Recorder())).request(method, path, [b"{}"])
    assert (named.status, unnamed.status) == (code, code)
    assert named.headers["x-switchyard-release"] == "abc"
    assert "x-switchyard-release" not in unnamed.headers
