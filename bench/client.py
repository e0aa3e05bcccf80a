"""Sends one request and records it. The only file that talks to a service. Edge: aiohttp.

A server's fault never raises: it is in the record.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise

import aiohttp

from bench.protocol import APIS, Answer, Api, Malformed, Request, Target, body, refusal
from bench.records import GIVEN_UP, Record

__all__ = ["APIS", "API_KEY_VARIABLE", "Api", "Request", "Target", "authorization", "open_session", "send"]

API_KEY_VARIABLE = "SWITCHYARD_API_KEY"
TIMEOUT_S = 600.0
_CONNECT_S = 30.0
_KEEP_ALIVE_S = 2.0  # below uvicorn's 5 s: a connection that the server closes just now would be a failure of ours
_END_S = 1.0
_MAX_LINE = 4 << 20  # an event larger than this is no event


def authorization(environ: Mapping[str, str], variable: str = API_KEY_VARIABLE) -> dict[str, str]:
    """The header with the key in an environment variable; none where it is not set."""
    key = environ.get(variable)
    return {"authorization": f"Bearer {key}"} if key else {}


def event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where the serve stack brings it (a third less CPU time an event, measured), else asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


@asynccontextmanager
async def open_session() -> AsyncGenerator[aiohttp.ClientSession]:
    """A session without a limit of connections, so that requests are never queued here."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session


@dataclass
class _Course:
    """How far a request has come. Times are readings of the monotonic clock."""

    answer: Answer
    sent: float
    status: int = 0
    served_by: str = ""
    retry_after: str = ""
    marks: list[float] = field(default_factory=list[float])
    ended: float | None = None
    error: str = ""

    def record(self, target: Target, request: Request, begun: float) -> Record:
        answer, marks = self.answer, self.marks
        error = self.error or answer.error
        if not error and answer.finish_reason is None:
            error = "the answer ended without a finish reason"
        return Record(
            index=request.index,
            target=target.label,
            at=request.at,
            sent=self.sent - begun,
            first=marks[0] - begun if marks else None,
            gaps=tuple(later - earlier for earlier, later in pairwise(marks)),
            ended=(self.ended or time.perf_counter()) - begun,
            status=self.status,
            finish_reason=answer.finish_reason,
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens or len(marks),
            text="".join(answer.text),
            tokens=tuple(answer.tokens) if answer.tokens else None,
            logprobs=tuple(answer.logprobs) if answer.logprobs else None,
            served_by=answer.served_by or self.served_by,
            error=error,
            round=request.round,
            retry_after=self.retry_after,
        )


async def send(
    session: aiohttp.ClientSession,
    target: Target,
    request: Request,
    *,
    begun: float | None = None,
    stream: bool = True,
    timeout_s: float = TIMEOUT_S,
    on_cancel: Callable[[Record], None] | None = None,
) -> Record:
    """Send a request and follow its answer to the end.

    Args:
        session: from :func:`open_session`.
        target: who is asked.
        request: what is asked. It is sent at once; ``request.at`` is only written down.
        begun: ``time.perf_counter()`` when the run began; default: so that the request is on time.
        stream: ask for server-sent events rather than one JSON object.
        timeout_s: how long the whole may take, s.
        on_cancel: gets the record of what had arrived when the task is cancelled; the cancellation then goes on.

    Raises:
        ValueError: the request has a form that the target's API cannot take.
    """
    data = body(target, request, stream)
    course = _Course(Answer(target.api), time.perf_counter())
    begun = course.sent - request.at if begun is None else begun
    try:
        async with session.post(
            target.address,
            json=data,
            headers=target.headers,
            timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=_CONNECT_S),
        ) as response:
            await _follow(response, course, stream)
    except asyncio.CancelledError:
        if course.ended is None:
            course.error = course.error or GIVEN_UP
        if on_cancel:
            on_cancel(course.record(target, request, begun))
        raise
    except TimeoutError:
        course.error = f"not done within {timeout_s:g} s"
    except Malformed as error:
        course.error = str(error)
    except (aiohttp.ClientConnectorError, aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
        course.error = f"no connection to {target.url}: {_why(error)}"
    except (aiohttp.ClientError, OSError, ValueError) as error:
        course.error = f"the connection broke: {_why(error)}"
    return course.record(target, request, begun)


async def _follow(response: aiohttp.ClientResponse, course: _Course, stream: bool) -> None:
    course.status = response.status
    course.served_by = response.headers.get("x-switchyard-release") or response.headers.get("x-served-by", "")
    course.retry_after = response.headers.get("retry-after", "")
    media = response.content_type
    if response.status != 200:
        course.error = refusal(response.status, (await response.content.read(4096)).decode(errors="replace"))
    elif media != ("text/event-stream" if stream else "application/json"):
        wanted = "a stream of events" if stream else "JSON"
        course.error = f"answered with {media} instead of {wanted}: check the address and --api"
    elif stream:
        await _events(response.content, course)
        course.ended = time.perf_counter()
        await _to_the_end(response.content)
    else:
        course.answer.whole(await response.read())
        course.marks.append(time.perf_counter())


async def _events(content: aiohttp.StreamReader, course: _Course) -> None:
    """Read a stream of events until ``[DONE]``, an error event or its end."""
    rest = b""
    clock, take, mark = time.perf_counter, course.answer.event, course.marks.append
    while chunk := await content.readany():
        now = clock()
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if not line.startswith(b"data:"):
                continue  # blank lines between events, comments that keep a connection alive, other fields
            data = line[5:].strip()
            if data == b"[DONE]":
                return
            if take(data):
                mark(now)
            if course.answer.error:
                return
        if len(rest) > _MAX_LINE:
            raise Malformed(f"a line of the stream is longer than {_MAX_LINE} bytes")


async def _to_the_end(content: aiohttp.StreamReader) -> None:
    """Wait for the end behind the last event: to leave before it ends the connection, as if the client had gone."""
    with suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(_END_S):
            while await content.readany():
                pass


def _why(error: BaseException) -> str:
    """The error in words, where it has any."""
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error.strerror:
        return error.os_error.strerror
    text = " ".join(str(error).split()).rstrip(".")
    return f"{text} ({type(error).__name__})" if text else type(error).__name__
