"""Between specs (Google's REST names, plain values) and the libraries' messages. Unknown fields are errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Pending:
    """A long-running operation.

    Attributes:
        what: for progress lines.
        poll: asks once; returns None while it runs with nothing new, a progress text, or True when done. It raises when
            the operation has failed.
    """

    what: str
    poll: Callable[[], bool | str | None]


Steps = Iterator[Pending]
"""What a change yields: operations, each to be finished before the next is started."""


def message(kind: Any, spec: Mapping[str, Any]) -> Any:
    """A proto-plus message of class ``kind`` from a spec."""
    from google.protobuf import json_format

    made = kind()
    json_format.ParseDict(dict(spec), kind.pb(made), ignore_unknown_fields=False)
    return made


def spec_of(message: Any) -> dict[str, Any]:
    """The spec of a proto-plus message."""
    from google.protobuf import json_format

    return json_format.MessageToDict(type(message).pb(message))


def operation(clients: Any, client: Any, started: Any, what: str) -> Steps:
    """Follow a ``google.longrunning`` operation that a gRPC call returned."""
    from cluster.gcp.calls import failed_operation

    name = started.operation.name

    def poll() -> bool | None:
        found = clients.call.read("operations.Get", _get_operation(client), name)
        if found.done and found.error.code:
            raise failed_operation(what, found.error.message, [])
        return True if found.done else None

    if started.operation.done:
        return
    yield Pending(what, poll)


def _get_operation(client: Any) -> Callable[..., Any]:
    def get(request: str, retry: Any, timeout: float) -> Any:
        return client.transport.operations_client.get_operation(request, retry=retry, timeout=timeout)

    return get


def mask(*paths: str) -> Any:
    """A field mask of snake-case paths."""
    from google.protobuf import field_mask_pb2

    return field_mask_pb2.FieldMask(paths=list(paths))
