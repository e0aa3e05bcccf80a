"""Requests to the API server, prepared apart from being sent. Pure: what is asked for can be read and tested here.

The parameters: https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kuberay.api.kinds import ACCESS_REVIEW, POD, SERVICE, Kind, kind_of

FIELD_MANAGER = "switchyard"
PAGE = 500
PATCHES = {"merge": "application/merge-patch+json", "json": "application/json-patch+json"}
JSON = {"Content-Type": "application/json"}
AGAIN = 4
"""Attempts at what may be sent more than once."""


@dataclass(frozen=True)
class Call:
    """One request, prepared and not yet sent.

    Attributes:
        verb: as RBAC knows it: get, list, watch, create, patch, update, delete.
        kind: of the object it is about; None for what belongs to no kind, such as ``/version``.
        subresource: e.g. ``log``, ``status``, ``proxy``.
        method: of HTTP.
        path: from the API server's root, already quoted.
        body: what is sent as JSON; never part of an error, as it can hold a Secret.
        attempts: how often it may be sent in all; 1 where a second time would do something else.
        read_s: how long to wait for the next bytes, in seconds.
    """

    verb: str
    method: str
    path: str
    kind: Kind | None = None
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: Any = None
    attempts: int = 4
    read_s: float = 30.0

    @property
    def resource(self) -> str:
        """What RBAC calls the thing: ``pods/log``, ``rayservices.ray.io``; the path where it has no kind."""
        if self.kind is None:
            return self.path
        return f"{self.kind.resource}/{self.subresource}" if self.subresource else self.kind.resource

    @property
    def thing(self) -> str:
        """What the call is about, to be read by people."""
        if self.kind is None:
            return self.path
        text = f"{self.kind.name} {self.name}" if self.name else f"{self.kind.plural}"
        place = f" in namespace {self.namespace}" if self.namespace and self.kind.namespaced else ""
        return text + place

    def next_page(self, token: str) -> Call:
        """The same list, from where the last page ended."""
        return replace(self, query=(*(item for item in self.query if item[0] != "continue"), ("continue", token)))


def read(kind: Kind, name: str, namespace: str) -> Call:
    """One object."""
    return Call("get", "GET", kind.path(namespace, name), kind, namespace, name)


def listing(kind: Kind, namespace: str, *, selector: str = "", fields: str = "", name: str = "", page: int) -> Call:
    """The first page of a list; ``name`` narrows it to one object, as a watch needs it."""
    fields = ",".join(part for part in (f"metadata.name={name}" if name else "", fields) if part)
    query = [("labelSelector", selector), ("fieldSelector", fields), ("limit", str(page))]
    return Call(
        "list",
        "GET",
        kind.path(namespace),
        kind,
        namespace if kind.namespaced else "",
        name,
        query=tuple(item for item in query if item[1]),
        headers={"Accept-Encoding": "gzip"},  # pods shrink to a tenth
        read_s=60.0,
    )


def watching(call: Call, version: str, seconds: float) -> Call:
    """What happens after a list, from its resource version on, for that long."""
    more = {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": version,
        "timeoutSeconds": str(math.ceil(seconds)),
    }
    query = (*(item for item in call.query if item[0] not in ("limit", "continue")), *more.items())
    # Not sent again as it is: who watches knows from where to go on.
    return replace(call, verb="watch", query=query, headers={}, attempts=1, read_s=seconds + 5)


def application(item: Mapping[str, Any], *, force: bool, dry_run: bool) -> Call:
    """Server-side apply."""
    kind, name, namespace = _identity(item)
    return Call(
        "patch",
        "PATCH",
        kind.path(namespace, name),
        kind,
        namespace,
        name,
        query=(*_writing(dry_run), ("force", str(force).lower())),
        headers={"Content-Type": "application/apply-patch+yaml"},
        body=item,
    )


def creation(item: Mapping[str, Any], *, dry_run: bool) -> Call:
    """A new object. Sent once: a second time would say that it exists already."""
    kind, name, namespace = _identity(item)
    path, query = kind.path(namespace), _writing(dry_run)
    return Call("create", "POST", path, kind, namespace, name, "", query, JSON, item, attempts=1)


def change(
    kind: Kind,
    name: str,
    namespace: str,
    what: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    *,
    how: str,
    subresource: str,
    dry_run: bool,
) -> Call:
    """A merge patch or a JSON patch."""
    return Call(
        "patch",
        "PATCH",
        kind.path(namespace, name, subresource),
        kind,
        namespace,
        name,
        subresource,
        query=_writing(dry_run),
        headers={"Content-Type": PATCHES[how]},
        body=what,
        attempts=AGAIN if how == "merge" else 1,  # a JSON patch can append twice
    )


def deletion(
    kind: Kind, name: str, namespace: str, *, propagation: str, uid: str, grace_s: int | None, dry_run: bool
) -> Call:
    """A deletion; with ``uid`` only of that very object."""
    options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
    if uid:
        options["preconditions"] = {"uid": uid}
    if grace_s is not None:
        options["gracePeriodSeconds"] = grace_s
    if dry_run:
        options["dryRun"] = ["All"]
    path = kind.path(namespace, name)
    return Call("delete", "DELETE", path, kind, namespace, name, headers=JSON, body=options)


def review(verb: str, kind: Kind, namespace: str, name: str, subresource: str) -> Call:
    """Asks what we may do. It stores nothing, so it may be sent again."""
    wanted = {"verb": verb, "group": kind.group, "resource": kind.plural, "subresource": subresource}
    item = {
        "apiVersion": ACCESS_REVIEW.version,
        "kind": ACCESS_REVIEW.name,
        "spec": {"resourceAttributes": {**wanted, "namespace": namespace, "name": name}},
    }
    return Call("create", "POST", ACCESS_REVIEW.path(), ACCESS_REVIEW, headers=JSON, body=item)


def log(pod: str, namespace: str, container: str, query: Mapping[str, str], read_s: float = 30.0) -> Call:
    """A container's log; with an empty name, the pod's only container's."""
    named = {"container": container} if container else {}
    path = POD.path(namespace, pod, "log")
    plain = {"Accept": "*/*"}  # asked for JSON, the API server answers 406
    return Call("get", "GET", path, POD, namespace, pod, "log", tuple({**named, **query}.items()), plain, read_s=read_s)


def forwarding(pod: str, namespace: str) -> Call:
    """The handshake of a port-forward; the verb is what RBAC asks for, whatever the HTTP method."""
    return Call("create", "GET", POD.path(namespace, pod, "portforward"), POD, namespace, pod, "portforward")


def through_service(
    method: str,
    service: str,
    port: str | int,
    path: str,
    namespace: str,
    *,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    body: Any,
    attempts: int,
    read_s: float,
) -> Call:
    """An HTTP request to a Service, which the API server passes on."""
    verb = {"GET": "get", "PUT": "update", "POST": "create", "DELETE": "delete"}[method]
    return Call(
        verb,
        method,
        f"{SERVICE.path(namespace, f'{service}:{port}', 'proxy')}/{path.lstrip('/')}",
        SERVICE,
        namespace,
        service,
        "proxy",
        query=tuple(query.items()),
        headers={**(JSON if body is not None else {}), **headers},
        body=body,
        attempts=attempts,
        read_s=read_s,
    )


def _identity(item: Mapping[str, Any]) -> tuple[Kind, str, str]:
    about = item["metadata"]
    return kind_of(item), about["name"], about.get("namespace", "")


def _writing(dry_run: bool) -> tuple[tuple[str, str], ...]:
    query = (("fieldManager", FIELD_MANAGER), ("fieldValidation", "Strict"))
    return (*query, ("dryRun", "All")) if dry_run else query
