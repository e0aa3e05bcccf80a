"""What stands between a client and the routes: an ASGI middleware without Ray, vLLM or a web framework.

It lets pass only the routes on the list, asks for an API key where keys are set, bounds headers, body and time, takes
out headers and body fields that would give a client power over the engine, and answers every refusal with the error
envelope. Decisions are taken on the raw ``scope["path"]``: a Host header or a rebuilt URL has no say (CVE-2026-48710).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Set
from dataclasses import dataclass, field
from typing import Any, cast

from serve_app.body import check_body
from serve_app.errors import (
    BodyTimeout,
    BodyTooLarge,
    DeadlineExceeded,
    GenerationFailed,
    HeadersTooLarge,
    MethodNotAllowed,
    NotFound,
    RequestError,
    Unauthorized,
    UnsupportedMediaType,
)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

ROUTES: dict[str, frozenset[str]] = {
    "/generate": frozenset({"POST"}),
    "/v1/models": frozenset({"GET"}),
    "/v1/chat/completions": frozenset({"POST"}),
    "/v1/completions": frozenset({"POST"}),
    "/v1/responses": frozenset({"POST"}),
    "/v1/embeddings": frozenset({"POST"}),
    "/health": frozenset({"GET", "HEAD"}),
    "/release": frozenset({"GET", "HEAD"}),
    "/metrics": frozenset({"GET"}),
    "/docs": frozenset({"GET", "HEAD"}),
    "/openapi.json": frozenset({"GET", "HEAD"}),
}
OPEN_ROUTES = frozenset({"/health"})
"""Routes that need no key: load balancers and probes have none."""

MAX_HEADERS = 100
MAX_HEADER_BYTES = 32 * 1024
MAX_BODY_READ_S = 15.0
DISCONNECT_GRACE_S = 0.2

DROPPED_HEADERS = frozenset({
    b"x-request-timeout-seconds",
    b"x-request-disconnect-disabled",
    b"x-session-id",
    b"x-vllm-priority",
    b"x-data-parallel-rank",
})  # fmt: skip
"""Headers by which Serve or vLLM would let a client change its own treatment."""

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True)
class Limits:
    """Bounds of one request.

    Attributes:
        max_body_bytes: size of the body.
        max_request_s: seconds from the whole request to the last byte of the answer.
        key_hashes: SHA-256 (hex) of each accepted API key; empty means that no key is asked for.
    """

    max_body_bytes: int = 1 << 20
    max_request_s: float = 600
    key_hashes: frozenset[str] = field(default_factory=frozenset[str])


def parse_keys(lines: Iterable[str]) -> frozenset[str]:
    """Read ``name:sha256-of-key`` lines; blank lines and ``#`` comments are skipped.

    Raises:
        ValueError: a line has another form. The line's content is not repeated, as it might be a key.
    """
    found: set[str] = set()
    for number, line in enumerate(lines, 1):
        if not (text := line.strip()) or text.startswith("#"):
            continue
        digest = text.rpartition(":")[2].strip().lower()
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise ValueError(f"line {number} is not 'name:' and 64 hex digits (the SHA-256 of the key)")
        found.add(digest)
    return frozenset(found)


RELEASE_HEADER = b"x-switchyard-release"


class Guard:
    """The middleware. ``Guard(app, limits)`` is an ASGI app.

    Args:
        absent: routes its model has no use for.
        release: named in a header of every answer, so that one that breaks off tells whose it was.
    """

    def __init__(
        self, app: App, limits: Limits | None = None, absent: Set[str] = frozenset(), release: str = ""
    ) -> None:
        self.app = app
        self.limits = limits or Limits()
        self.absent = absent
        self._marks = [(RELEASE_HEADER, release.encode())] if release else []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        answer = _Answer(send, self._marks)
        limit = self.limits.max_request_s
        try:
            self._admit(scope)
            body = _Body(scope, receive, self.limits.max_body_bytes)
            if scope["method"] == "POST":
                slow = BodyTimeout(f"The body did not arrive within {MAX_BODY_READ_S:g} s.")
                await _within(MAX_BODY_READ_S, body.read_and_check(), slow)
            late = DeadlineExceeded(f"The request took longer than the {limit:g} s this service allows.")
            await _within(limit, self._hand_on(scope, body, answer), late)
            if answer.started and not answer.finished:
                raise GenerationFailed("The answer ended early.")
        except RequestError as error:
            await answer.fail(error)

    async def _hand_on(self, scope: Scope, body: _Body, answer: _Answer) -> None:
        """Run the app; when this is cancelled, first let the app see a disconnect, then cancel it.

        Serve cancels a request whose client has left. vLLM's routes wait for their handler in a way that does not pass
        a cancellation on (``with_cancellation``): the handler, and the engine, would go on to the last token. A
        disconnect they do understand. What the app still says to it, nobody is to hear.
        """
        task = asyncio.ensure_future(self.app(scope, body.receive, answer.send))
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                answer.deaf = True
                body.disconnect()
                await asyncio.wait({task}, timeout=DISCONNECT_GRACE_S)
                task.cancel()
                await asyncio.wait({task}, timeout=DISCONNECT_GRACE_S)
            raise

    def _admit(self, scope: Scope) -> None:
        path, method = str(scope["path"]), str(scope["method"])
        headers = cast("list[tuple[bytes, bytes]]", scope["headers"])
        if len(headers) > MAX_HEADERS or sum(len(k) + len(v) for k, v in headers) > MAX_HEADER_BYTES:
            raise HeadersTooLarge(f"At most {MAX_HEADERS} headers and {MAX_HEADER_BYTES} bytes of them are accepted.")
        known = {name.lower(): value for name, value in headers}
        if path not in OPEN_ROUTES and self.limits.key_hashes:
            _check_key(known.get(b"authorization", b""), self.limits.key_hashes)
        if path not in ROUTES:
            raise NotFound(
                f"There is no route {path[:128]!a}. Known: {', '.join(sorted(ROUTES.keys() - self.absent))}."
            )
        if path in self.absent:
            raise NotFound(f"The model that is served here cannot do {path}: it is of another kind.")
        if method not in ROUTES[path]:
            allowed = sorted(ROUTES[path])
            message = f"{path} takes {' or '.join(allowed)}, not {method[:16]!a}."
            raise MethodNotAllowed(message, headers={"allow": ", ".join(allowed)})
        if method == "POST":
            _check_media_type(known)
        scope["headers"] = [
            (name, value)
            for name, value in headers
            if name.lower() not in DROPPED_HEADERS
            and not name.lower().startswith(b"x-serve-router-")
            and (name.lower() != b"x-request-id" or _REQUEST_ID.fullmatch(value))
        ]


async def _within(seconds: float, work: Awaitable[None], error: RequestError) -> None:
    """Await ``work``; raise ``error`` when it takes longer. A ``TimeoutError`` of its own passes."""
    deadline = asyncio.timeout(seconds)
    try:
        async with deadline:
            await work
    except TimeoutError:
        if deadline.expired():
            raise error from None
        raise


class _Body:
    """Reads the whole body, checks it, and hands it on as one message."""

    def __init__(self, scope: Scope, receive: Receive, limit: int) -> None:
        self._path = str(scope["path"])
        self._receive = receive
        self._limit = limit
        self._body: bytes | None = None
        self._gone = asyncio.Event()
        declared = next((v for k, v in scope["headers"] if k.lower() == b"content-length"), b"0")
        if declared.isdigit() and int(declared[:18]) > limit:
            raise self._too_large()

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"The body is larger than the {self._limit} bytes this service accepts.")

    async def read_and_check(self) -> None:
        chunks: list[bytes] = []
        size, more = 0, True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise asyncio.CancelledError
            chunk: bytes = message.get("body", b"")
            size += len(chunk)
            if size > self._limit:
                raise self._too_large()
            chunks.append(chunk)
            more = bool(message.get("more_body", False))
        self._body = b"".join(chunks)
        check_body(self._path, self._body)

    async def receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        receiving = asyncio.ensure_future(self._receive())
        gone = asyncio.ensure_future(self._gone.wait())
        try:
            await asyncio.wait({receiving, gone}, return_when=asyncio.FIRST_COMPLETED)
            return receiving.result() if receiving.done() else {"type": "http.disconnect"}
        finally:
            receiving.cancel()
            gone.cancel()

    def disconnect(self) -> None:
        """From now on the app is told that the client has left."""
        self._gone.set()


class _Answer:
    """Watches what was sent, so that a failure half-way is told in the form the client is reading."""

    def __init__(self, send: Send, marks: list[tuple[bytes, bytes]]) -> None:
        self._send = send
        self._marks = marks
        self.started = self.finished = self._events = False
        self.deaf = False
        """Whether the app is no longer listened to."""

    async def send(self, message: Message) -> None:
        if self.deaf:
            return
        if message["type"] == "http.response.start":
            self.started = True
            headers = list(message.get("headers", ()))
            self._events = any(k == b"content-type" and v.startswith(b"text/event-stream") for k, v in headers)
            names = {name for name, _ in headers}
            headers += self._marks
            if message["status"] in (429, 503) and b"retry-after" not in names:
                headers.append((b"retry-after", b"1"))
            message = {**message, "headers": headers}
        elif not message.get("more_body", False):
            self.finished = True
        await self._send(message)

    async def fail(self, error: RequestError) -> None:
        """Answer with ``error``, or end a running event stream with it (and without ``[DONE]``)."""
        if self.finished:
            return
        body = json.dumps(error.envelope()).encode()
        if not self.started:
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                *((k.encode(), v.encode()) for k, v in error.headers.items()),
                *self._marks,
            ]
            if error.status in (413, 431):
                headers.append((b"connection", b"close"))
            await self._send({"type": "http.response.start", "status": error.status, "headers": headers})
            await self._send({"type": "http.response.body", "body": body})
        elif self._events:
            await self._send({"type": "http.response.body", "body": b"data: " + body + b"\n\n", "more_body": False})
        # Anything else that has begun is left unfinished: the server cuts the connection, and the client knows.


def _check_media_type(headers: Mapping[bytes, bytes]) -> None:
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise UnsupportedMediaType("Compressed bodies are not accepted; send the JSON as it is.")
    media = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
    if media != b"application/json":
        raise UnsupportedMediaType("Send the header 'content-type: application/json' with a JSON body.")


def _check_key(header: bytes, key_hashes: frozenset[str]) -> None:
    scheme, _, key = header.partition(b" ")
    if scheme.lower() == b"bearer" and len(key) <= 4096:
        digest = hashlib.sha256(key.strip()).hexdigest()
        # Compare with every key, each in constant time, so that timing tells nothing.
        if sum(hmac.compare_digest(digest, known) for known in key_hashes):
            return
    raise Unauthorized("A valid API key is needed: send 'authorization: Bearer <key>'.")
