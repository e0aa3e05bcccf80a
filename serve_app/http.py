"""The HTTP side of a replica: vLLM's own OpenAI routes, narrowed to the allowed ones, and ours. Knows vLLM's web app.

    POST /generate   GET /health   GET /release   GET /metrics   /v1/...   GET /docs

The routes of this file are written against the :class:`~serve_app.engine.Engine` protocol; only :func:`vllm_app` needs
a real vLLM engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import types
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from serve_app.config import ServiceConfig
from serve_app.engine import Engine, collect
from serve_app.errors import EngineUnavailable, GenerationFailed, RequestError, StartError
from serve_app.guard import ROUTES, Guard, Limits, parse_keys
from serve_app.schema import Delta, Event, Finished, GenerateRequest, parse_generate
from serve_app.vllm_engine import VllmEngine

DONE = "data: [DONE]\n\n"


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """A JSON schema with its one definition put where it is referred to: a route's own schema has no place for it."""
    definitions = schema.pop("$defs")
    text = json.dumps(schema)
    for name, definition in definitions.items():
        text = text.replace(json.dumps({"$ref": f"#/$defs/{name}"}), json.dumps(definition))
    return json.loads(text)


_GENERATE_DOC: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": _inlined(GenerateRequest.model_json_schema())}},
    }
}


async def vllm_app(engine: VllmEngine, limits: Limits) -> FastAPI:
    """vLLM's FastAPI app without the routes that are not on the guard's list, plus our own, behind the guard."""
    from vllm.entrypoints.launchers.app import build_app

    app = build_app(engine.args, engine.tasks, engine.client.model_config)  # type: ignore[arg-type]
    app.state._state.update(engine.app_state._state)
    # vLLM's error handler tells its launcher's uvicorn to stop; here Serve replaces the replica instead.
    app.state.server = types.SimpleNamespace()
    app.router.routes[:] = [
        route for route in app.router.routes if getattr(route, "path", None) in ROUTES.keys() - {"/health"}
    ]
    add_routes(app, engine, engine.config)
    if "generate" not in engine.tasks:
        app.router.routes[:] = [route for route in app.router.routes if getattr(route, "path", None) != "/generate"]
    absent = ROUTES.keys() - {getattr(route, "path", None) for route in app.router.routes}
    app.middleware_stack = None  # vLLM's last step has built it already; what is added here must be in it too
    app.add_middleware(Guard, limits=limits, absent=absent, release=engine.release()["release"])  # type: ignore[arg-type]
    return app


def limits_of(config: ServiceConfig) -> Limits:
    """The guard's bounds for a service; reads the key file.

    Raises:
        StartError: the key file cannot be read or has a line that is no key.
    """
    serving = config.serving
    keys: frozenset[str] = frozenset()
    if serving.api_keys_file is not None:
        try:
            keys = parse_keys(Path(serving.api_keys_file).read_text().splitlines())
        except (OSError, ValueError) as error:
            raise StartError(f"serving.api_keys_file {serving.api_keys_file}: {error}.") from error
        if not keys:
            raise StartError(f"serving.api_keys_file {serving.api_keys_file} has no key in it.")
    return Limits(max_body_bytes=serving.max_body_bytes, max_request_s=serving.max_request_s, key_hashes=keys)


def add_routes(app: FastAPI, engine: Engine, config: ServiceConfig) -> None:
    """Add our own routes, over any engine."""
    app.title = f"Switchyard: {config.name}"

    @app.exception_handler(RequestError)
    async def refuse(_: Request, error: RequestError) -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        return JSONResponse(error.envelope(), status_code=error.status, headers=error.headers)

    @app.post("/generate", response_model=None, openapi_extra=_GENERATE_DOC, summary="Generate text, streamed or whole")
    async def generate(raw: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        request = parse_generate(await raw.body())
        request_id = f"gen-{raw.headers.get('x-request-id') or uuid.uuid4().hex}"
        events = engine.stream(request, request_id)
        streamed = config.serving.defaults.stream if request.stream is None else request.stream
        if not streamed:
            return JSONResponse((await _unless_gone(raw, collect(events, request_id))).model_dump())
        # The first event before the status line: a refusal is then a real 4xx or 503, not a broken 200.
        first = await _unless_gone(raw, anext(events, None))
        if first is None:
            raise GenerationFailed("The engine gave no answer.")
        return StreamingResponse(
            sse(first, events), media_type="text/event-stream", headers={"cache-control": "no-cache"}
        )

    @app.head("/health", include_in_schema=False)
    @app.get("/health", response_model=None, summary="Whether the engine answers")
    async def health() -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        state = engine.health()
        if not state.ok:
            raise EngineUnavailable(f"The engine does not answer: {state.reason}.")
        return JSONResponse(
            {"status": "ok", "last_step_age_s": round(state.last_step_age_s, 1), "in_flight": state.in_flight}
        )

    @app.head("/release", include_in_schema=False)
    @app.get("/release", summary="What is running here")
    async def release() -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        return engine.release()


async def sse(first: Event, events: AsyncGenerator[Event, None]) -> AsyncIterator[str]:
    """Server-sent events: deltas, the end with its finish reason, ``[DONE]``; or an error event and no ``[DONE]``."""
    async with contextlib.aclosing(events):
        try:
            yield _encode(first)
            finished = isinstance(first, Finished)
            async for event in events:
                yield _encode(event)
                finished = isinstance(event, Finished)
            if not finished:
                raise GenerationFailed("The answer ended without a finish reason.")
            yield DONE
        except RequestError as error:
            yield f"data: {json.dumps(error.envelope())}\n\n"


def _encode(event: Event) -> str:
    if isinstance(event, Delta):  # by hand: this runs once a token
        return f'data: {{"text": {json.dumps(event.text, ensure_ascii=False)}}}\n\n'
    return f"data: {json.dumps({'text': '', **event.model_dump()})}\n\n"


async def _unless_gone(raw: Request, work: Any) -> Any:
    """Await ``work``, but give it up as soon as the client leaves; the engine's request ends with it."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(raw))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise asyncio.CancelledError
        return task.result()
    finally:
        gone.cancel()
        task.cancel()


async def _disconnected(raw: Request) -> None:
    while (await raw.receive())["type"] != "http.disconnect":
        pass
