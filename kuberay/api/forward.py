"""A pod's port as a port of this machine: one WebSocket through the API server for each local connection.

The official client's PortForward serves one connection and prints a traceback when it breaks; only its handshake
is used. Protocol: https://github.com/kubernetes/kubernetes/blob/v1.36.0/staging/src/k8s.io/kubelet/pkg/cri/streaming/portforward/websocket.go
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from types import TracebackType
from typing import Any

from kuberay.api.calls import Call
from kuberay.api.failures import from_answer
from kuberay.api.transport import CONNECT_S, Transport
from kuberay.errors import ApiError

DATA, ERROR = 0, 1
PIECE = 64 * 1024
WAITS_S = (0.25, 1.0)
"""Before the attempts that follow a connection that the API server or the kubelet did not make."""


class Forward:
    """A listening socket on 127.0.0.1 whose connections reach a pod's port. A context manager.

    Attributes:
        port: the local port.
        error: why the last connection that failed did so; None while all is well.
    """

    def __init__(self, transport: Transport, call: Call, remote: int, local: int) -> None:
        """Raises OSError where the local port is taken."""
        self._transport, self._call, self._remote = transport, call, remote
        self._listener = socket.create_server(("127.0.0.1", local))
        self._open: set[Any] = set()
        self._lock = threading.Lock()
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
        try:
            self._dialled().close()
        except BaseException:
            self.close()
            raise
        threading.Thread(target=self._accept, name=f"forward-{self.port}", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops listening and cuts what is open."""
        self._closed = True
        # On Linux, close() alone leaves a thread waiting in accept().
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            pairs = list(self._open)
        for end in pairs:
            _shut(end)

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                if self._closed:
                    return
                continue
            threading.Thread(target=self._serve, args=(client,), name=f"forward-{self.port}", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            remote = self._dialled()
        except ApiError as error:
            self.error = error
            client.close()
            return
        with self._lock:
            self._open |= {client, remote}
        threading.Thread(target=_upwards, args=(client, remote), name=f"forward-{self.port}-up", daemon=True).start()
        try:
            self._downwards(remote, client)
        finally:
            with self._lock:
                self._open -= {client, remote}
            _shut(client)
            _shut(remote)

    def _dialled(self) -> Any:
        """Nothing of the client's has been sent yet, so it does no harm to try again."""
        for wait_s in WAITS_S:
            try:
                return _dial(self._transport, self._call, self._remote)
            except ApiError as error:
                if self._closed or not error.passing:
                    raise
                time.sleep(wait_s)
        return _dial(self._transport, self._call, self._remote)

    def _downwards(self, remote: Any, client: socket.socket) -> None:
        greeted: set[int] = set()  # each channel's first frame repeats the port number
        while True:
            try:
                frame: bytes | str = remote.recv()
            except Exception:  # websocket-client's and the socket's ways of saying that it is over
                return
            if not frame:
                return
            data = frame if isinstance(frame, bytes) else frame.encode()
            channel, payload = data[0], data[1:]
            if channel not in greeted:
                greeted.add(channel)
            elif channel == ERROR:
                text = payload.decode("utf-8", "replace").strip()
                self.error = ApiError(
                    f"Pod {self._call.name} does not answer on port {self._remote}: {text}. Is it ready? "
                    "switchyard status says so."
                )
                return
            elif channel == DATA:
                try:
                    client.sendall(payload)
                except OSError:
                    return


def _dial(transport: Transport, call: Call, port: int) -> Any:
    """A WebSocket to the pod's port. The client's own dialling knows no timeout.

    Raises:
        ApiError: the API server refused, or did not answer.
    """
    import websocket
    from kubernetes.stream.ws_client import websocket_proxycare

    connection = transport.connection
    settings: Any = connection.client.configuration
    tls: dict[str, Any] = {"cert_reqs": ssl.CERT_REQUIRED, "ca_certs": settings.ssl_ca_cert}
    if not settings.verify_ssl:
        tls = {"cert_reqs": ssl.CERT_NONE, "check_hostname": False}
    tls |= {"certfile": settings.cert_file, "keyfile": settings.key_file, "server_hostname": settings.tls_server_name}
    options: dict[str, Any] = {
        "header": [f"{name}: {value}" for name, value in connection.headers().items()],
        "subprotocols": ["v4.channel.k8s.io"],
        "timeout": CONNECT_S,
    }
    if settings.proxy:
        options = websocket_proxycare(options, settings, connection.address, {})
    remote = websocket.WebSocket(sslopt={name: value for name, value in tls.items() if value is not None})
    transport.count(call)
    try:
        remote.connect(f"ws{connection.address.removeprefix('http')}{call.path}?ports={port}", **options)
        remote.settimeout(None)
    except websocket.WebSocketBadStatusException as error:
        body = error.resp_body or b""
        raise from_answer(call, error.status_code, body, connection.context) from error
    except (websocket.WebSocketException, OSError) as error:
        raise transport.no_answer(call, error) from error
    return remote


def _upwards(client: socket.socket, remote: Any) -> None:
    try:
        while data := client.recv(PIECE):
            remote.send_binary(bytes([DATA]) + data)
    except Exception:
        pass  # the other direction sees the same end and cleans up
    finally:
        _shut(remote)


def _shut(end: Any) -> None:
    sock = end if isinstance(end, socket.socket) else getattr(end, "sock", None)
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(Exception):
        end.close() if isinstance(end, socket.socket) else end.shutdown()
