"""Port-forwarding: local connections over WebSockets, against a server that speaks the pod's side of it."""

from __future__ import annotations

import base64
import gc
import hashlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import psutil
import pytest

from kuberay.api.client import Api
from kuberay.api.connection import connect
from kuberay.errors import Forbidden, NotFound, Unreachable
from tests.fake_kubernetes import FakeKubernetes, certificate, fake_kubernetes, status

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class PodSide:
    """Takes WebSockets on a port and lets ``serve`` answer what arrives; frames are ``channel + data``."""

    def __init__(
        self, serve: Callable[[PodSide, socket.socket, bytes], None], certificate: tuple[Path, Path] | None = None
    ) -> None:
        self.serve = serve
        self._tls: ssl.SSLContext | None = None
        if certificate:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(*certificate)
        self.requests: list[str] = []
        self.busy = 0  # so many are turned away first
        self.lingers: threading.Event | None = None  # until it is set, a connection that is done stays open
        self.ended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http{'s' if certificate else ''}://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def frame(self, client: socket.socket, data: bytes) -> None:
        """Sends one binary frame."""
        size = bytes([len(data)]) if len(data) < 126 else b"\x7f" + struct.pack(">Q", len(data))
        client.sendall(b"\x82" + size + data)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client: socket.socket) -> None:
        try:
            client = self._tls.wrap_socket(client, server_side=True) if self._tls else client
        except OSError:  # it does not trust us
            return
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096)
        text = head.decode()
        self.requests.append(text)
        if self.busy:
            self.busy -= 1
            client.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            client.close()
            return
        key = next(line.split(": ")[1] for line in text.split("\r\n") if line.lower().startswith("sec-websocket-key"))
        accept = base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()
        client.sendall(
            f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n".encode()
        )
        port = struct.pack("<H", 8000)
        self.frame(client, b"\0" + port)
        self.frame(client, b"\1" + port)
        stream = client.makefile("rb")
        try:
            while data := self._read(stream):
                self.serve(self, client, data)
        except OSError:
            pass
        finally:
            if self.lingers:
                self.lingers.wait(10)
            client.close()
            self.ended.set()

    def _read(self, stream: BinaryIO) -> bytes:
        start = stream.read(2) or b""
        if len(start) < 2 or start[0] & 15 == 8:
            return b""
        size = start[1] & 127
        if size > 125:
            size = int.from_bytes(stream.read(2 if size == 126 else 8) or b"")
        mask = stream.read(4) or b""
        body = stream.read(size) or b""
        return bytes(byte ^ mask[at % 4] for at, byte in enumerate(body))


def echo(side: PodSide, client: socket.socket, data: bytes) -> None:
    side.frame(client, data[:1] + data[1:].upper())


def refuse(side: PodSide, client: socket.socket, data: bytes) -> None:
    side.frame(client, b"\1connect: connection refused")


@pytest.fixture
def pod(request: pytest.FixtureRequest) -> Iterator[PodSide]:
    side = PodSide(getattr(request, "param", echo))
    yield side
    side.close()


def api_for(url: str, folder: Path) -> Api:
    return Api(connect(kubeconfig=FakeKubernetes(url).kubeconfig(folder)))


def ask(port: int, text: bytes, size: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        threading.Thread(target=connection.sendall, args=(text,), daemon=True).start()
        got = b""
        while len(got) < size and (piece := connection.recv(65536)):
            got += piece
        return got


def test_many_connections_at_once(pod: PodSide, tmp_path: Path) -> None:
    with api_for(pod.url, tmp_path).forward("llm-head", 8000, "prod") as forward:
        results: list[bytes] = []
        threads = [
            threading.Thread(target=lambda n=n: results.append(ask(forward.port, f"hello {n}".encode(), 7)))
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert sorted(results) == [f"HELLO {n}".encode() for n in range(8)]
        assert forward.error is None
    assert pod.requests[0].startswith("GET /api/v1/namespaces/prod/pods/llm-head/portforward?ports=8000 ")
    assert "authorization: Bearer a-token" in pod.requests[0]


def test_much_data_arrives_whole(pod: PodSide, tmp_path: Path) -> None:
    text = b"abcdefgh" * 25_000
    with api_for(pod.url, tmp_path).forward("llm-head", 8000, "prod") as forward:
        assert ask(forward.port, text, len(text)) == text.upper()


def test_connections_that_come_and_go_leave_each_other_alone(tmp_path: Path) -> None:
    """Where two threads shared one, four in a hundred broke, and streams of other parts of the process with them."""
    made = certificate(tmp_path)
    side = PodSide(echo, made)
    config = Path(FakeKubernetes(side.url).kubeconfig(tmp_path))
    tls = f"certificate-authority: {made[0]}\n    tls-server-name: 127.0.0.1\n    server:"
    config.write_text(config.read_text().replace("127.0.0.1", "localhost").replace("server:", tls))
    until, answers = time.monotonic() + 3, list[bytes]()

    def come_and_go(port: int) -> None:
        while time.monotonic() < until:
            try:
                answers.append(ask(port, b"a", 1))
            except OSError as error:
                answers.append(str(error).encode())

    with Api(connect(kubeconfig=str(config))).forward("llm-head", 8000, "prod") as forward:
        threads = [threading.Thread(target=come_and_go, args=(forward.port,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert forward.error is None
    side.close()
    assert set(answers) == {b"A"} and len(answers) > 50


def test_a_connection_that_was_not_made_is_tried_again(pod: PodSide, tmp_path: Path) -> None:
    with api_for(pod.url, tmp_path).forward("llm-head", 8000, "prod") as forward:
        pod.busy = 2
        assert ask(forward.port, b"hello", 5) == b"HELLO"
        assert forward.error is None
        pod.busy = 3
        assert ask(forward.port, b"", 1) == b""
        assert forward.error is not None and forward.error.status == 502


def test_who_leaves_is_missed_at_the_other_end(pod: PodSide, tmp_path: Path) -> None:
    """The engine must see that a client has gone, or it goes on generating for nobody."""
    with api_for(pod.url, tmp_path).forward("llm-head", 8000, "prod") as forward:
        pod.ended.clear()
        with socket.create_connection(("127.0.0.1", forward.port), timeout=10) as connection:
            connection.sendall(b"a")
            assert connection.recv(1) == b"A"
            pod.ended.clear()
        assert pod.ended.wait(5)


def test_closing_cuts_what_is_open_and_frees_the_port(
    pod: PodSide, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    forward = api_for(pod.url, tmp_path).forward("llm-head", 8000, "prod")
    with forward, socket.create_connection(("127.0.0.1", forward.port), timeout=10) as connection:
        connection.sendall(b"a")
        assert connection.recv(1) == b"A"
        forward.close()
        assert connection.recv(1) == b""
    assert not caplog.records, "asyncio logs what nobody has caught"
    with socket.create_server(("127.0.0.1", forward.port)):
        pass


def test_closing_cuts_who_reads_slowly(pod: PodSide, tmp_path: Path) -> None:
    pod.serve = lambda side, client, data: side.frame(client, b"\0" + b"x" * (32 << 20))
    forward = api_for(pod.url, tmp_path).forward("llm-head", 8000, "prod")
    with forward, socket.create_connection(("127.0.0.1", forward.port), timeout=10) as connection:
        connection.sendall(b"a")
        assert connection.recv(1) == b"x"
        forward.close()
        with suppress(ConnectionResetError):
            while connection.recv(1 << 20):
                pass


def test_closing_leaves_no_connection_to_a_server_that_does_not_say_goodbye(tmp_path: Path) -> None:
    made = certificate(tmp_path)
    side = PodSide(echo, made)
    side.lingers = threading.Event()
    config = Path(FakeKubernetes(side.url).kubeconfig(tmp_path))
    tls = f"certificate-authority: {made[0]}\n    server:"
    config.write_text(config.read_text().replace("server:", tls))
    gc.disable()  # which would close what has been forgotten
    try:
        with Api(connect(kubeconfig=str(config))).forward("llm-head", 8000, "prod") as forward:
            assert ask(forward.port, b"a", 1) == b"A"
        port = int(side.url.rpartition(":")[2])
        assert not [one for one in psutil.Process().net_connections("tcp") if one.raddr and one.raddr[1] == port]
    finally:
        gc.enable()
        side.lingers.set()
        side.close()


@pytest.mark.parametrize("pod", [refuse], indirect=True)
def test_a_port_that_nobody_listens_on(pod: PodSide, tmp_path: Path) -> None:
    with api_for(pod.url, tmp_path).forward("llm-head", 8000, "prod") as forward:
        assert ask(forward.port, b"a", 1) == b""
        end = time.monotonic() + 5
        while forward.error is None and time.monotonic() < end:
            time.sleep(0.01)
        assert "does not answer on port 8000: connect: connection refused" in str(forward.error)


def test_what_the_api_server_refuses_is_said_before_anything_listens(tmp_path: Path) -> None:
    with fake_kubernetes() as server:
        api = api_for(server.url, tmp_path)
        server.answer = lambda _: status(404, "NotFound", 'pods "p" not found', name="p", kind="pods")
        with pytest.raises(NotFound, match="There is no Pod p in namespace prod"), api.forward("p", 8000, "prod"):
            pass
        server.answer = lambda _: status(403, "Forbidden", 'User "me" cannot create resource "pods/portforward"')
        with pytest.raises(Forbidden, match="pods/portforward"), api.forward("p", 8000, "prod"):
            pass
    with pytest.raises(Unreachable, match="nothing listens there"), api.forward("p", 8000, "prod"):
        pass


def test_a_certificate_that_is_none(pod: PodSide, tmp_path: Path) -> None:
    config = Path(FakeKubernetes(pod.url.replace("http:", "https:")).kubeconfig(tmp_path))
    config.write_text(config.read_text().replace("server:", f"certificate-authority: {config}\n    server:"))
    with pytest.raises(Unreachable, match="TLS failed"), Api(connect(kubeconfig=str(config))).forward("p", 1, "prod"):
        pass


def test_a_certificate_that_is_not_trusted_is_asked_for_once(tmp_path: Path) -> None:
    side = PodSide(echo, certificate(tmp_path))
    api = api_for(side.url, tmp_path)
    with pytest.raises(Unreachable, match="its certificate is not trusted"), api.forward("p", 1, "prod"):
        pass
    side.close()
    assert sum(api.calls.values()) == 1


def test_a_taken_port(pod: PodSide, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        api_for(pod.url, tmp_path).forward("p", 8000, "prod", taken.getsockname()[1])
