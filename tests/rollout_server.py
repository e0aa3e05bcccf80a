"""A service to validate: the real routes and guard over an engine of words, and small stand-ins for vLLM's routes."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import random
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from kuberay.rollout.validation.checks import Place
from serve_app.config import ServiceConfig
from serve_app.engine import Health
from serve_app.errors import BadRequest, GenerationFailed, NotFound
from serve_app.guard import Guard, Limits
from serve_app.http import add_routes
from serve_app.schema import Delta, Event, Finished, GenerateRequest, Usage

MODEL = "words"
WORDS = [
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "red",
    "green",
    "blue",
    "north",
    "south",
    "east",
    "west",
]


@dataclasses.dataclass
class WordEngine:
    """Answers a prompt with words that are chosen by it: the same every time.

    Attributes:
        release_id: what it says it is.
        salt: engines with another one give other answers.
        delay_s: before the first word.
        breaks_at: streams fail after so many words.
        fails_each: every n-th request is refused with 500.
        prompts: those it was asked, in order.
        templated: it can chat.
    """

    release_id: str = "0123456789ab"
    salt: str = ""
    delay_s: float = 0
    breaks_at: int | None = None
    fails_each: int | None = None
    templated: bool = True
    prompts: list[str] = dataclasses.field(default_factory=list[str])

    async def stream(self, request: GenerateRequest, request_id: str) -> AsyncGenerator[Event, None]:
        prompt = request.prompt or str(request.messages)
        self.prompts.append(prompt)
        if self.fails_each and len(self.prompts) % self.fails_each == 0:
            raise GenerationFailed("no luck")
        await asyncio.sleep(self.delay_s)
        chance = random.Random(hashlib.sha256(f"{self.salt}{prompt}".encode()).digest())
        count = request.max_tokens or 16
        for number in range(count):
            if number == self.breaks_at:
                raise GenerationFailed("the engine is gone")
            yield Delta(text=f"{chance.choice(WORDS)} ")
            await asyncio.sleep(0.001)
        usage = Usage(prompt_tokens=3, completion_tokens=count, total_tokens=3 + count)
        yield Finished(finish_reason="length", usage=usage, model=MODEL, release=self.release_id)

    def health(self) -> Health:
        return Health(ok=True, last_step_age_s=0, in_flight=0)

    def release(self) -> dict[str, Any]:
        return {"release": self.release_id}


def _add_openai(app: FastAPI, engine: WordEngine) -> None:
    @app.get("/v1/models")
    async def models() -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        return {"object": "list", "data": [{"id": MODEL, "object": "model"}]}

    @app.get("/metrics")
    async def metrics() -> Response:  # pyright: ignore[reportUnusedFunction]
        return Response("vllm:num_requests_running 0\n", media_type="text/plain")

    @app.post("/v1/completions", response_model=None)
    async def completions(raw: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        body = await raw.json()
        return await _answer(engine, body, body["prompt"], chat=False)

    @app.post("/v1/chat/completions", response_model=None)
    async def chat(raw: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        if not engine.templated:
            raise BadRequest("the tokenizer does not define a chat template")
        body = await raw.json()
        return await _answer(engine, body, body["messages"][-1]["content"], chat=True)

    @app.post("/v1/responses")
    async def responses(raw: Request) -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        if not engine.templated:
            raise BadRequest("the tokenizer does not define a chat template")
        return {"object": "response", "model": (await raw.json())["model"], "output": [{"type": "message"}]}


async def _answer(engine: WordEngine, body: dict[str, Any], prompt: str, *, chat: bool) -> Response:
    if body["model"] != MODEL:
        raise NotFound(f"The model {body['model']} does not exist.")
    asked = GenerateRequest(prompt=prompt, max_tokens=body["max_tokens"])

    def choice(text: str, reason: str | None, part: str) -> dict[str, Any]:
        content: dict[str, Any] = {part: {"content": text}} if chat else {"text": text}
        if body.get("logprobs") and text:
            each = [(word, -0.01 * len(word) - (0.5 if engine.salt else 0)) for word in text.split()]
            content["logprobs"] = (
                {"content": [{"token": token, "logprob": value} for token, value in each]}
                if chat
                else {"tokens": [token for token, _ in each], "token_logprobs": [value for _, value in each]}
            )
        return {"model": MODEL, "choices": [{"index": 0, "finish_reason": reason, **content}]}

    if not body.get("stream"):
        events = [event async for event in engine.stream(asked, "x")]
        end = next(event for event in events if isinstance(event, Finished))
        text = "".join(event.text for event in events if isinstance(event, Delta))
        return JSONResponse({**choice(text, "length", "message"), "usage": end.usage.model_dump()})

    async def lines() -> AsyncIterator[str]:
        import json

        try:
            async for event in engine.stream(asked, "x"):
                if isinstance(event, Delta):
                    yield f"data: {json.dumps(choice(event.text, None, 'delta'))}\n\n"
                else:
                    last = {**choice("", event.finish_reason, "delta"), "usage": event.usage.model_dump()}
                    yield f"data: {json.dumps(last)}\n\ndata: [DONE]\n\n"
        except GenerationFailed as error:
            yield f"data: {json.dumps(error.envelope())}\n\n"

    return StreamingResponse(lines(), media_type="text/event-stream")


class Buffering:
    """What a proxy does that holds an answer back until it is whole."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        held: list[bytes] = []

        async def later(message: Any) -> None:
            if message["type"] == "http.response.body":
                held.append(message.get("body", b""))
                if message.get("more_body"):
                    return
                message = {"type": "http.response.body", "body": b"".join(held)}
            await send(message)

        await self.app(scope, receive, later)


@contextlib.contextmanager
def serving(engine: WordEngine, label: str = "green", *, key: str = "", buffered: bool = False) -> Iterator[Place]:
    """The engine behind the real routes and guard, on a port of its own, in a thread."""
    app = FastAPI()
    add_routes(app, engine, ServiceConfig())
    _add_openai(app, engine)
    hashes = frozenset({hashlib.sha256(key.encode()).hexdigest()} if key else set[str]())
    guarded: Any = Guard(app, Limits(key_hashes=hashes), {"/v1/embeddings"}, engine.release_id)  # type: ignore[arg-type]
    server = uvicorn.Server(
        uvicorn.Config(Buffering(guarded) if buffered else guarded, port=0, log_level="warning", lifespan="off")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Place(f"http://127.0.0.1:{port}", label, engine.release_id, MODEL, key or None)
    finally:
        server.should_exit = True
        thread.join(10)
