"""The servers of a fake project: a gRPC server for all services, an HTTP server for Compute Engine and Cloud Storage.

``in_process`` is the same without sockets, for the tests that make tens of thousands of calls: the libraries still
serialize every request, and the same handlers still parse the bytes.
"""

from __future__ import annotations

import contextlib
import io
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import grpc
import requests
from google.protobuf import any_pb2, json_format
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from requests.adapters import BaseAdapter

from cluster.gcp.clients import Clients, Endpoints
from tests.cluster.fakes.container import container
from tests.cluster.fakes.iam import iam
from tests.cluster.fakes.monitoring import monitoring
from tests.cluster.fakes.project import FakeGoogle, Fault
from tests.cluster.fakes.rest import rest
from tests.cluster.fakes.services import services

Method = tuple[Any, Callable[[Any], Any]]
READS = ("Get", "List", "BatchGet", "Access", "TestIam")


def methods_of(fake: FakeGoogle) -> dict[str, Method]:
    """``/package.Service/Method`` -> request class and handler."""
    return {**container(fake), **iam(fake), **services(fake), **monitoring(fake)}


def handle(fake: FakeGoogle, methods: dict[str, Method], path: str, data: bytes) -> bytes:
    """Answer one gRPC request.

    Raises:
        Fault: to be sent as an error.
    """
    if path not in methods:
        raise Fault(500, f"the fake has no {path}", grpc="UNIMPLEMENTED")
    kind, behave = methods[path]
    plus = hasattr(kind, "pb")
    request = kind.deserialize(data) if plus else kind.FromString(data)
    name = path.rsplit("/", 1)[-1]
    short = f"{path.split('/')[1].rsplit('.', 1)[-1]}.{name}"
    shown = json_format.MessageToDict(kind.pb(request) if plus else request)
    with fake.lock:
        fake.begin(short, not name.startswith(READS), shown)
        answer = behave(request)
        fake.end(short)
        return type(answer).serialize(answer) if hasattr(type(answer), "pb") else answer.SerializeToString()


def rich_status(fault: Fault) -> status_pb2.Status:
    """``google.rpc.Status`` with the reason in an ErrorInfo, as Google sends it."""
    code = getattr(grpc.StatusCode, fault.code).value[0]
    status = status_pb2.Status(code=code, message=fault.message)
    if fault.reason:
        info = error_details_pb2.ErrorInfo(reason=fault.reason, domain="googleapis.com", metadata=fault.metadata)
        packed = any_pb2.Any()
        packed.Pack(info)
        status.details.append(packed)
    return status


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, fake: FakeGoogle) -> None:
        self._fake, self._methods = fake, methods_of(fake)

    def service(self, details: Any) -> Any:
        def behave(data: bytes, context: Any) -> bytes:
            try:
                return handle(self._fake, self._methods, details.method, data)
            except Fault as fault:
                context.abort_with_status(rpc_status.to_status(rich_status(fault)))
                raise

        return grpc.unary_unary_rpc_method_handler(behave)


class _Http(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    answer: Callable[[str, str, dict[str, str], bytes], tuple[int, dict[str, Any]]]

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        parts = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        status, data = type(self).answer(self.command, unquote(parts.path), query, body)
        raw = b"" if status == 204 else json.dumps(data).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _any

    def log_message(self, format: str, *args: Any) -> None:
        pass


def http_server(answer: Any, port: int = 0) -> ThreadingHTTPServer:
    """An HTTP server on this machine that answers by a function."""
    server = ThreadingHTTPServer(("127.0.0.1", port), type("Http", (_Http,), {"answer": staticmethod(answer)}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True, kwargs={"poll_interval": 0.05}).start()
    return server


@dataclass(frozen=True)
class Serving:
    """Where the servers are."""

    endpoints: Endpoints
    environ: dict[str, str]


@contextlib.contextmanager
def serving(fake: FakeGoogle) -> Iterator[Serving]:
    """Start both servers."""
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((_Handler(fake),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    http = http_server(rest(fake))
    endpoints = Endpoints(f"127.0.0.1:{port}", f"http://127.0.0.1:{http.server_address[1]}")
    environ = {"SWITCHYARD_GOOGLE_GRPC": endpoints.grpc, "SWITCHYARD_GOOGLE_REST": endpoints.rest}
    try:
        yield Serving(endpoints, environ)
    finally:
        server.stop(None)
        http.shutdown()
        http.server_close()


# Without sockets


class _Error(grpc.RpcError, grpc.Call):
    def __init__(self, fault: Fault) -> None:
        self._status = rpc_status.to_status(rich_status(fault))

    def result(self, timeout: Any = None) -> Any:
        raise self

    def code(self) -> Any:
        return self._status.code

    def details(self) -> Any:
        return self._status.details

    def trailing_metadata(self) -> Any:
        return self._status.trailing_metadata

    def initial_metadata(self) -> Any:
        return ()

    def is_active(self) -> bool:
        return False

    def time_remaining(self) -> None:
        return None

    def cancel(self) -> bool:
        return False

    def add_callback(self, callback: Any) -> bool:
        return False


class _Call:
    def __init__(self, channel: _Channel, method: str, serialize: Any, deserialize: Any) -> None:
        self._channel, self._method, self._serialize, self._deserialize = channel, method, serialize, deserialize

    def __call__(self, request: Any, **_: Any) -> Any:
        try:
            data = handle(self._channel.fake, self._channel.methods, self._method, self._serialize(request))
        except Fault as fault:
            raise _Error(fault) from None
        return self._deserialize(data)

    def with_call(self, request: Any, **more: Any) -> Any:
        return self(request, **more), None


class _Channel(grpc.Channel):
    def __init__(self, fake: FakeGoogle) -> None:
        self.fake, self.methods = fake, methods_of(fake)

    def unary_unary(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, _: Any = None, **__: Any
    ) -> Any:
        return _Call(self, method, request_serializer, response_deserializer)

    def _none(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    unary_stream = stream_unary = stream_stream = subscribe = unsubscribe = _none

    def close(self) -> None:
        pass

    def __exit__(self, *_: Any) -> None:
        pass

    def __enter__(self) -> Any:
        return self


class _Adapter(BaseAdapter):
    def __init__(self, fake: FakeGoogle) -> None:
        super().__init__()
        self._answer = rest(fake)

    def send(self, request: Any, **_: Any) -> requests.Response:
        parts = urlsplit(request.url)
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        body = request.body.encode() if isinstance(request.body, str) else request.body or b""
        status, data = self._answer(request.method, unquote(parts.path), query, body)
        response = requests.Response()
        response.status_code, response.url, response.request = status, request.url, request
        response.headers["content-type"] = "application/json"
        response.raw = io.BytesIO(b"" if status == 204 else json.dumps(data).encode())
        return response

    def close(self) -> None:
        pass


class _InProcess(Clients):
    def compute(self, service: str, name: str) -> Any:
        client = super().compute(service, name)
        self._mount(client.transport._session)
        return client

    def storage(self) -> Any:
        client = super().storage()
        self._mount(client._http)
        return client

    def _mount(self, session: Any) -> None:
        if not isinstance(session.adapters.get("http://"), _Adapter):
            session.mount("http://", _Adapter(self.channel.fake))
            session.trust_env = False  # looking for proxies takes longer than the fake does


def in_process(fake: FakeGoogle, call: Any = None) -> Clients:
    """Clients that speak to the fake's handlers without a socket between."""
    more = {} if call is None else {"call": call}
    return _InProcess(fake.project, Endpoints("none", "http://none"), channel=_Channel(fake), **more)
