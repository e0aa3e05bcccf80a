"""What stands in for the edges in unit tests: an engine, an ASGI server, a clock that jumps."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import selectors
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from typing import Any

from serve_app.engine import Health
from serve_app.schema import Delta, Event, Finished, GenerateRequest, Usage

Message = dict[str, Any]
Script = Sequence[Event | Exception | None]
"""What an engine does for a request: events in turn, an exception to raise, or None to wait for ever."""

JSON = (b"content-type", b"application/json")


def finished(reason: Any = "stop") -> Finished:
    usage = Usage(prompt_tokens=3, completion_tokens=2, total_tokens=5)
    return Finished(finish_reason=reason, usage=usage, model="fake", release="0123456789ab")


class FakeEngine:
    """An ``Engine`` that plays a script, and remembers which requests began and which generators were closed."""

    def __init__(self, script: Script | None = None) -> None:
        self.script = [Delta(text="Hi"), Delta(text=" there"), finished()] if script is None else script
        self.state = Health(ok=True, last_step_age_s=0.25, in_flight=2)
        self.requests: list[GenerateRequest] = []
        self.ids: list[str] = []
        self.closed: list[str] = []

    async def stream(self, request: GenerateRequest, request_id: str) -> AsyncGenerator[Event, None]:
        self.requests.append(request)
        self.ids.append(request_id)
        try:
            for step in self.script:
                if step is None:
                    await asyncio.Event().wait()
                elif isinstance(step, Exception):
                    raise step
                else:
                    yield step
        finally:
            self.closed.append(request_id)

    def health(self) -> Health:
        return self.state

    def release(self) -> dict[str, Any]:
        return {"release": "0123456789ab"}


@dataclasses.dataclass
class Answer:
    """What an ASGI app sent."""

    messages: list[Message] = dataclasses.field(default_factory=list[Message])

    @property
    def status(self) -> int:
        return self.messages[0]["status"]

    @property
    def headers(self) -> dict[str, str]:
        return {key.decode(): value.decode() for key, value in self.messages[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])

    @property
    def complete(self) -> bool:
        return len(self.messages) > 1 and not self.messages[-1].get("more_body", False)

    @property
    def error(self) -> dict[str, Any]:
        return json.loads(self.body)["error"]

    @property
    def events(self) -> list[Any]:
        """The data of each server-sent event; ``[DONE]`` as it is."""
        assert self.body.endswith(b"\n\n")
        data = [event.removeprefix("data: ") for event in self.body.decode().split("\n\n")[:-1]]
        return [item if item == "[DONE]" else json.loads(item) for item in data]


@dataclasses.dataclass
class Client:
    """An ASGI server with one client: sends the request in ``chunks``, then waits; leaves when ``gone`` is set."""

    app: Any
    answer: Answer = dataclasses.field(default_factory=Answer)
    gone: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    leave_after: int | None = None
    received: int = 0

    async def request(
        self,
        method: str,
        path: str,
        chunks: Sequence[bytes] = (b"",),
        headers: Sequence[tuple[bytes, bytes]] = (JSON,),
        *,
        stall: bool = False,
    ) -> Answer:
        waiting = list(chunks)

        async def receive() -> Message:
            self.received += 1
            if waiting:
                body = waiting.pop(0)
                return {"type": "http.request", "body": body, "more_body": bool(waiting) or stall}
            await self.gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            self.answer.messages.append(message)
            if len(self.answer.messages) == self.leave_after:
                self.gone.set()

        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": list(headers),
        }
        await self.app(scope, receive, send)
        return self.answer

    async def post(self, path: str, body: object, *headers: tuple[bytes, bytes]) -> Answer:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.request("POST", path, [data], [JSON, *headers])


class Recorder:
    """An app that remembers what reached it, and sends what it is told to; an exception in ``says`` is raised."""

    def __init__(self, *says: Any) -> None:
        self.scopes: list[Any] = []
        self.bodies: list[bytes] = []
        self.says = says or (
            {"type": "http.response.start", "status": 200, "headers": []},
            {"type": "http.response.body"},
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        if scope["type"] == "http" and scope["method"] == "POST":
            message = await receive()
            assert not message["more_body"]
            self.bodies.append(message["body"])
        for step in self.says:
            if isinstance(step, Exception):
                raise step
            await (asyncio.sleep(step) if isinstance(step, float) else send(step))


class _Jumping(selectors.DefaultSelector):
    """Where a loop would sleep, its clock jumps."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout:
            self.now += timeout
        return ready


def run_jumping(main: Callable[[], Coroutine[Any, Any, Any]]) -> tuple[Any, float]:
    """Run ``main()`` on a loop whose time passes at once; its result, and the seconds that it thinks have passed."""
    selector = _Jumping()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now
    try:
        return loop.run_until_complete(main()), selector.now
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
