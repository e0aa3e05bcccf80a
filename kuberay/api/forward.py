"""A pod's port as a port of this machine: one WebSocket through the API server for each local connection.

All of it runs in one thread, on an event loop. A TLS connection is not for two threads, and a socket that one thread
closes while another reads from it is worse: the number goes to the next connection that is opened, of whatever part of
the process, and that one loses bytes to the reader. The official client's PortForward serves one connection, and prints
a traceback when it breaks. Protocol: https://github.com/kubernetes/kubernetes/blob/v1.36.0/staging/src/k8s.io/kubelet/pkg/cri/streaming/portforward/websocket.go
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

from kuberay.api.calls import Call
from kuberay.api.failures import from_answer
from kuberay.api.transport import CONNECT_S, Transport, may_pass
from kuberay.errors import ApiError

if TYPE_CHECKING:
    from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, ClientSession, ClientWebSocketResponse

DATA, ERROR = 0, 1
PIECE = 64 * 1024
WAITS_S = (0.25, 1.0)
"""Before the attempts that follow a connection that the API server or the kubelet did not make."""
_DIAL_S = 2 * CONNECT_S
_GOODBYE_S = 1.0
_T = TypeVar("_T")


class Forward:
    """A listening socket on 127.0.0.1 whose connections reach a pod's port. A context manager, to be entered once.

    Attributes:
        port: the local port.
        error: why the last connection that failed did so; None while all is well.
    """

    def __init__(self, transport: Transport, call: Call, remote: int, local: int) -> None:
        """Raises OSError where the local port is taken."""
        self._transport, self._call, self._remote = transport, call, remote
        self._listener = socket.create_server(("127.0.0.1", local))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="forward", daemon=True)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self._session: ClientSession | None = None
        self._server: asyncio.Server | None = None
        self._closed = False
        self.port: int = self._listener.getsockname()[1]
        self.error: ApiError | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Forward:
        """Proves with one connection to the API server that it may be done, then listens.

        Raises:
            ApiError: no such pod, no right to, no answer.
        """
        self._thread.start()
        try:
            self._run(self._open())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops listening and cuts what is open."""
        if self._closed:
            return
        self._closed = True
        if self._thread.is_alive():
            self._run(self._end())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._listener.close()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _open(self) -> None:
        from aiohttp import ClientSession, DummyCookieJar, TCPConnector

        try:
            tls = self._transport.connection.tls()
        except OSError as error:  # no such file, or no certificate in it
            raise self._transport.no_answer(self._call, error) from error

        def made(address: tuple[Any, ...]) -> socket.socket:
            sock = socket.socket(*address[:3])
            self._sockets.add(sock)
            return sock

        connector = TCPConnector(limit=0, ssl=True if tls is None else tls, socket_factory=made)
        session = ClientSession(connector=connector, cookie_jar=DummyCookieJar(), middlewares=(_refusals_told,))
        self._session = session
        await (await self._dialled(session)).close()

        def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = self._loop.create_task(self._serve(session, reader, writer))
            self._tasks.add(task)  # the loop alone would not keep it
            task.add_done_callback(self._tasks.discard)

        self._server = await asyncio.start_server(accepted, sock=self._listener)

    async def _end(self) -> None:
        if self._server:
            self._server.close()
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self._session:
            await self._session.close()
        # TLS waits for the other side's goodbye, and nothing would close the socket once the loop stands still.
        with suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_S):
                while left := [sock for sock in self._sockets if sock.fileno() >= 0]:
                    for sock in left:
                        with suppress(OSError):
                            sock.shutdown(socket.SHUT_RDWR)
                    await asyncio.sleep(0)

    async def _serve(self, session: ClientSession, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from aiohttp import ClientError

        try:
            remote = await self._dialled(session)
            try:
                await self._carry(reader, writer, remote)
            finally:
                await remote.close()
        except ApiError as error:
            self.error = error
        except (ClientError, OSError):
            pass  # each side learns from the end of its connection that the other one's has broken
        finally:
            if self._closed:
                writer.transport.abort()  # the loop ends: who reads slowly would never see an end
            else:
                writer.close()

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, remote: ClientWebSocketResponse
    ) -> None:
        """Both directions, until one of them ends."""
        ways = {asyncio.ensure_future(_upwards(reader, remote)), asyncio.ensure_future(self._downwards(remote, writer))}
        try:
            ended, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ended:
                way.result()
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _downwards(self, remote: ClientWebSocketResponse, writer: asyncio.StreamWriter) -> None:
        greeted: set[int] = set()  # each channel's first frame repeats the port number
        async for message in remote:
            data = message.data
            if not isinstance(data, bytes) or not data:  # an error of the connection
                return
            channel, payload = data[0], data[1:]
            if channel not in greeted:
                greeted.add(channel)
            elif channel == ERROR:
                text = payload.decode("utf-8", "replace").strip()
                raise ApiError(
                    f"Pod {self._call.name} does not answer on port {self._remote}: {text}. Is it ready? "
                    "switchyard status says so."
                )
            elif channel == DATA:
                writer.write(payload)
                await writer.drain()

    async def _dialled(self, session: ClientSession) -> ClientWebSocketResponse:
        """Nothing of the client's has been sent yet, so it does no harm to try again, unless that takes long."""
        headers = await asyncio.to_thread(self._transport.connection.headers)
        begun = self._loop.time()
        for wait_s in WAITS_S:
            try:
                return await self._dial(session, headers)
            except ApiError as error:
                if not error.passing or not may_pass(error) or self._loop.time() - begun > CONNECT_S:
                    raise
                await asyncio.sleep(wait_s)
        return await self._dial(session, headers)

    async def _dial(self, session: ClientSession, headers: dict[str, str]) -> ClientWebSocketResponse:
        """A WebSocket to the pod's port.

        Raises:
            ApiError: the API server refused, or did not answer.
        """
        from aiohttp import ClientError, ClientWSTimeout
        from yarl import URL

        connection = self._transport.connection
        self._transport.count(self._call)
        try:
            async with asyncio.timeout(_DIAL_S):
                return await session.ws_connect(
                    URL(f"{connection.address}{self._call.path}?ports={self._remote}", encoded=True),
                    protocols=("v4.channel.k8s.io",),
                    headers=headers,
                    proxy=connection.proxy,
                    server_hostname=connection.server_name,
                    timeout=ClientWSTimeout(ws_close=_GOODBYE_S),  # pyright: ignore[reportCallIssue] # of attrs' old kind
                    max_msg_size=0,
                )
        except _Refused as error:
            raise from_answer(self._call, error.status, error.body, connection.context) from error
        except TimeoutError as error:
            late = TimeoutError(f"not made within {_DIAL_S:g} s")
            raise self._transport.no_answer(self._call, late) from error
        except (ClientError, OSError) as error:
            raise self._transport.no_answer(self._call, error) from error


class _Refused(Exception):
    """The API server's answer to a handshake, where it is none."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"HTTP {status}")
        self.status, self.body = status, body


async def _refusals_told(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """aiohttp's own error leaves the body out, which says what is wrong."""
    response = await handler(request)
    if response.status != 101:
        raise _Refused(response.status, await response.read())
    return response


async def _upwards(reader: asyncio.StreamReader, remote: ClientWebSocketResponse) -> None:
    while data := await reader.read(PIECE):
        await remote.send_bytes(bytes([DATA]) + data)
