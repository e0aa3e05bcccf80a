"""Sends prepared requests to the API server: with timeouts, bounded retries, a count, and errors of our tree."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from kuberay.api.calls import AGAIN, Call
from kuberay.api.connection import Connection
from kuberay.api.failures import from_answer, said_by_api_server, unreachable
from kuberay.clock import ServerClock
from kuberay.errors import ApiError, Invalid, Unreachable

CONNECT_S = 5.0
FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 10.0


@dataclass(frozen=True)
class Answer:
    """What came back, with a status below 400."""

    status: int
    headers: Any
    body: bytes


class Stream:
    """An answer that goes on: lines as they come, until either side ends it. Can be closed from another thread."""

    def __init__(self, call: Call, response: Any, fail: Callable[[Call, Exception], ApiError]) -> None:
        self._call, self._response, self._fail = call, response, fail
        self._closed = False
        self._reading = threading.Lock()

    def lines(self) -> Iterator[bytes]:
        """Whole lines, without their ends, and what is left at the end of the stream.

        Raises:
            Unreachable: the connection broke, or was silent for longer than the call's ``read_s``.
        """
        rest = b""
        pieces = self._response.stream(65536, decode_content=False)
        try:
            while (piece := self._next(pieces)) is not None:
                *whole, rest = (rest + piece).split(b"\n")
                yield from whole
        except Exception as error:  # urllib3's and the socket's many ways of saying that it is over
            if self._closed:
                return
            raise self._fail(self._call, error) from error
        finally:
            self.close()
        if rest and not self._closed:
            yield rest

    def _next(self, pieces: Iterator[bytes]) -> bytes | None:
        with self._reading:
            return None if self._closed else next(pieces, None)

    def close(self) -> None:
        """Ends the stream; who reads it sees its end."""
        self._closed = True
        sock = getattr(getattr(self._response, "connection", None), "sock", None)
        if sock is not None:
            with contextlib.suppress(OSError):
                # Wakes a thread that waits for bytes. TLS is passed over: it belongs to that thread.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        # Not before that thread has left it: the number of a socket that is closed goes to the next one that anybody
        # opens, and the thread would read what is not meant for it.
        with self._reading:
            self._response.close()


class Transport:
    """Sends requests over one connection. Threads may share it.

    Attributes:
        calls: HTTP requests sent, by (verb, resource); retries count.
        clock: the API server's.
    """

    def __init__(self, connection: Connection, sleep: Callable[[float], None] = time.sleep) -> None:
        self.connection = connection
        self.calls: Counter[tuple[str, str]] = Counter()
        self.clock = ServerClock()
        self._sleep = sleep
        self._lock = threading.Lock()

    def send(self, call: Call) -> Answer:
        """Sends a request and reads the whole answer.

        Raises:
            ApiError: of the fitting kind, when no attempt succeeded.
        """
        response, body = self._tried(call, stream=False)
        return Answer(response.status, response.headers, body)

    def open(self, call: Call) -> Stream:
        """Sends a request whose answer is read as it comes. Only its beginning is retried.

        Raises:
            ApiError: of the fitting kind, when no attempt succeeded.
        """
        response, _ = self._tried(call, stream=True)
        return Stream(call, response, self.no_answer)

    def count(self, call: Call) -> None:
        """Notes that the call goes out."""
        with self._lock:
            self.calls[call.verb, call.resource] += 1

    def _tried(self, call: Call, *, stream: bool) -> tuple[Any, bytes]:
        renewed = False
        attempt = 0
        while True:
            attempt += 1
            sent = self.connection.headers()
            try:
                response = self._once(call, sent)
                body = b"" if stream and response.status < 400 else response.data
            except ApiError:
                raise
            except Exception as error:  # urllib3's tree, ssl's and the operating system's
                failure = self.no_answer(call, error)
                # A connection that was never made is tried again even where sending twice would do harm; but a
                # host that does not answer at all costs CONNECT_S each time, so only once.
                silent = "did not accept a connection" in str(failure)
                most = 2 if silent else max(call.attempts, 2 if _never_sent(error) else 1)
                if attempt >= most or not may_pass(error):
                    raise failure from error
                self._sleep(_wait(attempt, None))
                continue
            if response.status < 400:
                return response, body
            if response.status == 404 and call.method == "DELETE" and attempt > 1:
                return response, body  # an earlier attempt, whose answer was lost, did it
            if response.status == 401 and said_by_api_server(body) and not renewed and self.connection.renew(sent):
                renewed = True
                continue
            # 429 was refused before anything happened, so any verb may be sent again.
            failure = from_answer(call, response.status, body, self.connection.context)
            most = max(call.attempts, AGAIN) if failure.status == 429 else call.attempts
            if attempt >= most or isinstance(failure, Invalid) or not (failure.status == 429 or failure.status >= 500):
                raise failure
            self._sleep(_wait(attempt, response.headers.get("Retry-After")))

    def _once(self, call: Call, credentials: dict[str, str]) -> Any:
        from urllib.parse import urlencode

        connection = self.connection
        url = connection.address + call.path + (f"?{urlencode(call.query)}" if call.query else "")
        headers = {"Accept": "application/json", "User-Agent": "switchyard", **call.headers, **credentials}
        self.count(call)
        sent = time.monotonic()
        response = connection.client.call_api(
            call.method, url, headers, body=call.body, _request_timeout=(CONNECT_S, call.read_s)
        )
        if call.subresource != "proxy":  # there it is the date of whoever answered behind the API server
            self.clock.heard(response.response.headers.get("Date"), sent)
        return response.response  # urllib3's, nothing read of it yet

    def no_answer(self, call: Call, error: BaseException) -> Unreachable:
        """What a library's exception about a connection means."""
        return unreachable(call, self.connection.context, self.connection.address, _why(error, call))


def _why(error: BaseException, call: Call) -> str:
    """urllib3's exceptions by name: they are told apart by class, and their texts are for developers."""
    names = {kind.__name__ for item in _chain(error) for kind in type(item).__mro__}
    text = " ".join(str(item) for item in _chain(error))
    if "NameResolutionError" in names or "gaierror" in names:
        return "its name cannot be resolved"
    if "CERTIFICATE_VERIFY_FAILED" in text or "SSLCertVerificationError" in names:
        return f"its certificate is not trusted ({_tail(error)}); the kubeconfig may be of an older cluster"
    if "SSLError" in names or "SSLError" in text:
        return f"TLS failed ({_tail(error)})"
    if "ConnectionRefusedError" in names or "refused" in text:
        return "nothing listens there (connection refused)"
    if "ConnectTimeoutError" in names and "NewConnectionError" not in names:  # the one is also the other
        return f"it did not accept a connection within {CONNECT_S:g} s"
    if "ReadTimeoutError" in names:
        return f"it was silent for {call.read_s:g} s"
    if "ProxyError" in names:
        return f"the proxy on the way failed ({_tail(error)})"
    return f"the connection broke ({_tail(error)})"


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__ or getattr(current, "reason", None)
        if not isinstance(current, BaseException):
            return


def _tail(error: BaseException) -> str:
    text = " ".join(str(getattr(error, "reason", None) or error).split())
    return text[:200] or type(error).__name__


def may_pass(error: BaseException) -> bool:
    """Whether trying again may help. Certificates that are wrong stay wrong."""
    return not any("CERTIFICATE_VERIFY_FAILED" in str(item) for item in _chain(error))


def _never_sent(error: BaseException) -> bool:
    return any(type(item).__name__ in ("NewConnectionError", "ConnectTimeoutError") for item in _chain(error))


def _wait(attempt: int, asked: str | None) -> float:
    """Seconds to wait: what the server asks for, within reason, else doubling; never exactly the same for two of us."""
    try:
        wanted = float(asked) if asked else 0.0
    except ValueError:  # an HTTP date, which the API server does not send
        wanted = 0.0
    return min(wanted or FIRST_WAIT_S * 2 ** (attempt - 1), LONGEST_WAIT_S) * random.uniform(1.0, 1.2)
