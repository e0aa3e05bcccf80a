"""A service of a few lines that speaks the real protocol over a real socket, and misbehaves in every way that counts.

    async with BenchServer() as server: ... server.url ...

``server.mode`` says how it answers: see :data:`MODES`.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web

MODES = (
    "well",
    "dies",  # closes the connection in the middle of a stream
    "cut",  # ends the stream properly, but without a finish reason
    "error-event",  # ends the stream with an error event
    "html",
    "garbage",  # events that are not JSON
    "other",  # events of another API
    "refuses",  # 503 in the envelope
    "key",  # 401 without the right key
    "hangs",  # sends two tokens, then nothing
    "lingers",  # ends the stream a moment after its last event
)
KEY = "sk-secret"
LINGERS_S = 0.4


@dataclass
class BenchServer:
    """See the module.

    Attributes:
        mode: how it answers.
        answer: the tokens of every answer; an empty list: as many "x" as were asked for.
        delay_s: before the first token.
        gap_s: between tokens.
        dies_after: the number of requests after which it stops listening; 0: never.
        seen: the bodies it got.
        port: where it listens; 0: anywhere.
        most: the most requests that it had at one time.
    """

    mode: str = "well"
    answer: list[str] = field(default_factory=list[str])
    delay_s: float = 0.0
    gap_s: float = 0.0
    dies_after: int = 0
    seen: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    running: int = 0
    most: int = 0
    port: int = 0
    url: str = ""
    left: int = 0

    async def __aenter__(self) -> Self:
        app = web.Application()
        for path in ("/generate", "/v1/completions", "/v1/chat/completions"):
            app.router.add_post(path, self._post)
        app.router.add_get("/v1/models", self._models)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._runner.cleanup()

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "toy"}]})

    async def _post(self, request: web.Request) -> web.StreamResponse:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            return await self._answer(request)
        except asyncio.CancelledError:
            self.left += 1
            raise
        finally:
            self.running -= 1

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.seen.append(body)
        if self.dies_after and len(self.seen) > self.dies_after:
            assert request.transport
            request.transport.abort()
            return web.Response()
        if self.mode == "key" and request.headers.get("authorization") != f"Bearer {KEY}":
            return web.json_response({"error": {"message": "Who are you?", "type": "Unauthorized"}}, status=401)
        if self.mode == "refuses":
            return web.json_response({"error": {"message": "Full.", "type": "Unavailable"}}, status=503)
        if self.mode == "html":
            return web.Response(text="<html><body>Welcome</body></html>", content_type="text/html")
        tokens = self.answer or ["x"] * body["max_tokens"]
        usage = {"prompt_tokens": self.prompt_tokens(body), "completion_tokens": len(tokens)}
        if not body.get("stream"):
            await asyncio.sleep(self.delay_s)
            return web.json_response(self._whole(request.path, tokens, usage))
        return await self._stream(request, body, tokens, usage)

    def prompt_tokens(self, body: dict[str, Any]) -> int:
        """A token a word, and three for a template."""
        prompt = body.get("prompt") or " ".join(message["content"] for message in body["messages"])
        return len(prompt.split()) + 3 if isinstance(prompt, str) else len(prompt)

    async def _stream(
        self, request: web.Request, body: dict[str, Any], tokens: list[str], usage: dict[str, int]
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        await response.write(b": a comment, to keep it alive\n\n")
        await asyncio.sleep(self.delay_s)
        for number, token in enumerate(tokens):
            if number == 2 and self.mode in ("dies", "cut", "error-event", "hangs"):
                return await self._end_badly(request, response)
            if number and self.gap_s:
                await asyncio.sleep(self.gap_s)
            if self.mode == "garbage":
                await response.write(b"data: {oops\n\n")
            path = "/v1/embeddings" if self.mode == "other" else request.path
            await response.write(_event(self._delta(path, token, bool(body.get("logprobs")))))
        for event in self._last(request.path, usage):
            await response.write(_event(event))
        await response.write(b"data: [DONE]\r\n\r\n")
        if self.mode == "lingers":
            await asyncio.sleep(LINGERS_S)
        return response

    async def _end_badly(self, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        if self.mode == "dies":
            assert request.transport
            request.transport.abort()
        elif self.mode == "error-event":
            await response.write(_event({"error": {"message": "The engine has died."}}))
        elif self.mode == "hangs":
            await asyncio.sleep(60)
        return response

    def _delta(self, path: str, token: str, logprobs: bool) -> dict[str, Any]:
        if path == "/generate":
            return {"text": token}
        choice: dict[str, Any]
        if path == "/v1/completions":
            choice = {"text": token, "finish_reason": None}
            if logprobs:
                choice["logprobs"] = {"tokens": [token], "token_logprobs": [-0.5]}
        elif path == "/v1/chat/completions":
            choice = {"delta": {"content": token}, "finish_reason": None}
            if logprobs:
                choice["logprobs"] = {"content": [{"token": token, "logprob": -0.5}]}
        else:
            return {"embedding": [1.0]}
        return {"choices": [choice], "usage": None}

    def _last(self, path: str, usage: dict[str, int]) -> list[dict[str, Any]]:
        if path == "/generate":
            return [{"text": "", "finish_reason": "length", "usage": usage, "model": "toy", "release": "r1"}]
        end = {"text": ""} if path == "/v1/completions" else {"delta": {}}
        return [{"choices": [{**end, "finish_reason": "length"}]}, {"choices": [], "usage": usage}]

    def _whole(self, path: str, tokens: list[str], usage: dict[str, int]) -> dict[str, Any]:
        text = "".join(tokens)
        if path == "/generate":
            return {"text": text, "finish_reason": "length", "usage": usage, "model": "toy", "release": "r1"}
        choice = {"text": text} if path == "/v1/completions" else {"message": {"content": text}}
        return {"choices": [{**choice, "finish_reason": "length"}], "usage": usage}


def _event(data: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(data)}\n\n".encode()
