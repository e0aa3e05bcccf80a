"""Streams that run through a service while it changes, each of them written down. Edge: HTTP, a thread, a file.

A thread with a loop of its own, so that the rollout beside it may block. Each stream is a client that asks again after
its answer and a pause, and after a failure waits a little, as a client should.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import threading
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp

from bench.client import Request, Target, authorization, event_loop, send
from bench.records import Record, to_line
from kuberay.api.client import Api
from kuberay.api.kinds import GATEWAY, RAYSERVICE, SERVICE
from kuberay.errors import ApiError, Refused
from kuberay.look.redact import redact
from kuberay.manifests import gateway
from kuberay.names import SERVE_PORT
from kuberay.rollout.proof.trips import Outcome, Trip, trip
from kuberay.rollout_config import PROMPTS
from kuberay.snapshot import by_steps, dig

TIMEOUT_S = 600.0
"""The longest request; what takes longer is dropped."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.25, 4.0
_ASK_S = 60.0


@dataclass(frozen=True)
class Route:
    """How the requests reach the service.

    Attributes:
        url: ``/generate`` is appended to it.
        text: for people.
        headers: asked anew for each request: credentials expire.
        renew: asked for new credentials where the API server refused these; whether there are others now.
        fresh: every other stream makes a connection for each request. Behind a Service, a connection that is kept
            stays with the pod that it was made to, so that it alone would never see the new cluster.
    """

    url: str
    text: str
    headers: Callable[[], Mapping[str, str]]
    renew: Callable[[Mapping[str, str]], bool] = lambda refused: False
    tls: ssl.SSLContext | None = None
    server_name: str | None = None
    proxy: str | None = None
    fresh: bool = False


def to_service(api: Api, namespace: str, service: str) -> Route:
    """The way of the service's own traffic: with the incremental strategy that is its Gateway, else its Service.

    Raises:
        Refused: it has a Gateway, and nobody has given that an address.
    """
    found = None
    with contextlib.suppress(ApiError):  # the first request will say what is wrong
        found = api.get(RAYSERVICE, service, namespace)
    if not by_steps(found):
        return through_api(api, namespace, f"{service}-serve-svc", SERVE_PORT)
    name = gateway.gateway_name(service)
    for one in api.list(SERVICE, namespace, selector=f"{gateway.GATEWAY_LABEL}={name}"):
        return through_api(api, namespace, one["metadata"]["name"], gateway.PORT)
    there = api.get(GATEWAY, name, namespace)
    if address := dig(there, "status", "addresses", 0, "value"):
        return direct(f"http://{address}")
    raise Refused(f"Gateway {name} has no address that --load could send to. Name one with --load-url.")


def through_api(api: Api, namespace: str, service: str, port: int) -> Route:
    """Through the API server to a Service: it follows the selector, and passes events on as they come.

    The Authorization header is the API server's, so a service that wants API keys cannot be asked this way.
    """
    entrance = api.entrance(service, port, namespace)
    text = f"through the API server to Service/{service}"
    return Route(
        entrance.url, text, entrance.headers, entrance.renew, entrance.tls, entrance.server_name, entrance.proxy
    )


def direct(url: str, environ: Mapping[str, str] = os.environ) -> Route:
    """To an address of the service, with the key in ``$SWITCHYARD_API_KEY`` where there is one."""
    key = authorization(environ)
    return Route(url, redact(f"to {url}"), lambda: key, fresh=True)


class Load:
    """So many streams, from :meth:`start` to :meth:`stop`.

    Args:
        out: file that a line for each request is appended to, with times in seconds since 1970.
        pause_s: from an answer to the stream's next request.
        source: written into each line: which process of which machine.
        clock: seconds since 1970.
        say: told where the file cannot be written.
    """

    def __init__(
        self,
        route: Route,
        out: Path,
        *,
        streams: int,
        max_tokens: int,
        pause_s: float = 0.0,
        source: str = "load",
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.time,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._route, self._out, self._streams, self._max_tokens = route, out, streams, max_tokens
        self._pause_s = pause_s
        self._source, self._timeout_s, self._say = source, timeout_s, say
        self._trips: list[Trip] = []
        self._count = 0
        self._loop = event_loop()
        self._ending = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._work, name="proof-load", daemon=True)
        self._ended = threading.Event()
        self._fault: Exception | None = None
        # perf_counter() when that clock was at 0: so every time in a record is one of that clock.
        self._epoch = time.perf_counter() - clock()

    def start(self) -> None:
        """Begin.

        Raises:
            OSError: the file cannot be written.
        """
        self._out.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._out.open("a", buffering=1, encoding="utf-8", errors="backslashreplace")
        self._thread.start()

    def stop(self) -> list[Trip]:
        """Begin no new request, wait for those that run, at most for the longest request. Ctrl-C gives these up.

        Returns:
            What became of every request.
        """
        self._call(self._ending.set)
        try:
            self._ended.wait(self._timeout_s + 10)  # join() takes a thread for ended once it was interrupted
        except KeyboardInterrupt:
            self._call(lambda: [task.cancel() for task in self._tasks])
            self._ended.wait(10)
        if self._fault is not None:
            self._say(f"the load ended early: {self._fault}")
        return list(self._trips)

    @property
    def trips(self) -> list[Trip]:
        """Those that have ended so far."""
        return list(self._trips)

    def _call(self, what: Callable[[], object]) -> None:
        try:
            self._loop.call_soon_threadsafe(what)
        except RuntimeError:  # it has ended by itself
            return

    def _work(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._run())
        except Exception as error:  # nobody sees a thread die
            self._fault = error
        finally:
            with contextlib.suppress(OSError):  # a full disk, which was told with the line that it lost
                self._file.close()
            self._ended.set()

    async def _run(self) -> None:
        async with _session(self._route, fresh=False) as kept, _session(self._route, fresh=True) as fresh:
            for number in range(self._streams):
                session = fresh if self._route.fresh and number % 2 == 0 else kept
                self._tasks.add(asyncio.create_task(self._stream(session)))
            found = await asyncio.gather(*self._tasks, return_exceptions=True)
        for one in found:
            if isinstance(one, Exception):
                raise one

    async def _stream(self, session: aiohttp.ClientSession) -> None:
        failed = 0
        while not self._ending.is_set():
            if (record := await self._one(session)) is None:
                return
            self._keep(record)
            failed = 0 if record.ok else failed + 1
            await self._pause(_patience(record, failed) if failed else self._pause_s)

    async def _one(self, session: aiohttp.ClientSession) -> Record | None:
        """A request and what became of it; None where the load ended before it could be sent."""
        request = Request(
            prompt=PROMPTS[self._count % len(PROMPTS)], max_tokens=self._max_tokens, temperature=None, index=self._count
        )
        self._count += 1
        while True:
            if (headers := await self._headers()) is None:
                return None
            request = replace(request, at=time.perf_counter() - self._epoch)
            record = await send(
                session,
                Target(self._route.url, "generate", headers, self._source),
                request,
                begun=self._epoch,
                timeout_s=self._timeout_s,
                on_cancel=self._keep,
            )
            # Credentials of ours that expired are not the service's failure: it has never seen this request.
            if record.status != 401 or not await self._renewed(headers):
                return record

    async def _headers(self) -> Mapping[str, str] | None:
        """A credential plugin may run for seconds, and fail: no request has been sent then, and none is lost."""
        while not self._ending.is_set():
            try:
                return await asyncio.to_thread(self._route.headers)
            except ApiError as error:
                self._say(f"no credentials for the load, which waits: {error}")
                await self._pause(_LONGEST_WAIT_S)
        return None

    async def _renewed(self, headers: Mapping[str, str]) -> bool:
        """Whether it is worth asking again with other credentials, or once these can be had."""
        try:
            return await asyncio.to_thread(self._route.renew, headers)
        except ApiError:
            await self._pause(_LONGEST_WAIT_S)
            return True

    async def _pause(self, seconds: float) -> None:
        if seconds:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), seconds)

    def _keep(self, record: Record) -> None:
        self._trips.append(trip(record))
        try:
            self._file.write(to_line(record) + "\n")
        except OSError as error:
            self._say(f"{self._out} cannot be written ({error}); what is kept with the revision is still whole")


def _patience(record: Record, failed: int) -> float:
    """Seconds that a client waits after so many failures on end."""
    asked = float(record.retry_after) if record.retry_after.isdigit() else 0.0
    return min(max(asked, _FIRST_WAIT_S * 2 ** min(failed - 1, 10)), _LONGEST_WAIT_S)


def ask(route: Route, max_tokens: int = 1) -> str:
    """Ask the service once; why it cannot be asked this way, empty where it can."""

    async def once() -> Record:
        async with _session(route, fresh=True) as session:
            request = Request(prompt=PROMPTS[0], max_tokens=max_tokens, temperature=None)
            headers = await asyncio.to_thread(route.headers)
            return await send(session, Target(route.url, "generate", headers), request, timeout_s=_ASK_S)

    record = asyncio.run(once())
    if record.ok or trip(record).outcome is Outcome.REFUSED:
        return ""
    hint = ""
    if record.status == 401:
        hint = " A service that wants API keys is asked with --load-url and $SWITCHYARD_API_KEY."
    elif record.status == 403:
        hint = " The proof load needs the right to create services/proxy, or --load-url."
    return f"{trip(record).error.removesuffix('.')}.{hint}"


@asynccontextmanager
async def _session(route: Route, *, fresh: bool) -> AsyncGenerator[aiohttp.ClientSession]:
    tls: ssl.SSLContext | bool = route.tls if route.tls is not None else True
    # Shorter than a server keeps a connection: one that is closed at this moment would be a failure of ours.
    connector = (
        aiohttp.TCPConnector(limit=0, force_close=True, ssl=tls)
        if fresh
        else aiohttp.TCPConnector(limit=0, keepalive_timeout=2.0, ssl=tls)
    )

    async def named(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        request.server_hostname = route.server_name  # a kubeconfig's tls-server-name
        return await handler(request)

    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        proxy=route.proxy,
        middlewares=(named,) if route.server_name else (),
    ) as session:
        yield session
