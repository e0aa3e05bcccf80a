"""The only way to the Kubernetes API: plain JSON objects in and out, errors of our tree, nothing swallowed.

Objects are not turned into the official client's models: ten thousand pods would take it minutes.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kuberay.api import calls as prepare
from kuberay.api.calls import Call
from kuberay.api.connection import Connection, Entrance, connect
from kuberay.api.forward import Forward
from kuberay.api.kinds import CRD, SERVICE, Kind
from kuberay.api.transport import Answer, Transport
from kuberay.api.watching import GONE, Watch
from kuberay.clock import ServerClock
from kuberay.errors import ApiError, NotFound

Item = dict[str, Any]
Items = list[Item]
Trim = Callable[[Item], Item | None]


class Api:
    """Verbs on the objects of one cluster. Threads may share it.

    Every method that sends raises :class:`kuberay.errors.ApiError` of the fitting kind. ``namespace`` is left out for
    kinds of the whole cluster, and for lists and watches over all namespaces.
    """

    def __init__(self, connection: Connection, sleep: Callable[[float], None] = time.sleep) -> None:
        self._connection = connection
        self._transport = Transport(connection, sleep)

    @classmethod
    def connect(
        cls, context: str | None = None, kubeconfig: str | None = None, environ: Mapping[str, str] = os.environ
    ) -> Api:
        """The cluster of a kubeconfig context, or the one this runs in; see :func:`kuberay.api.connection.connect`."""
        return cls(connect(context, kubeconfig, environ))

    @property
    def context(self) -> str:
        """The kubeconfig context, or ``in-cluster``."""
        return self._connection.context

    @property
    def address(self) -> str:
        """The API server's URL."""
        return self._connection.address

    @property
    def namespace(self) -> str:
        """The context's own namespace."""
        return self._connection.namespace

    @property
    def calls(self) -> Counter[tuple[str, str]]:
        """HTTP requests sent so far, by (verb, resource), e.g. ``("list", "pods")``; retries count."""
        return self._transport.calls

    @property
    def clock(self) -> ServerClock:
        """The API server's clock, which all who share this cluster share."""
        return self._transport.clock

    def version(self) -> str:
        """The API server's version, e.g. ``v1.33.2-gke.1240000``."""
        return str(self._json(Call("get", "GET", "/version")).get("gitVersion", ""))

    def resources(self, group: str) -> Mapping[str, tuple[Item, ...]]:
        """By version, preferred one first, the kinds of an API group; empty where the cluster does not know it.

        This is discovery: unlike reading CRDs, every user may do it, and it is not a megabyte.
        """
        try:
            versions = [item["version"] for item in self._json(Call("get", "GET", f"/apis/{group}"))["versions"]]
        except NotFound:
            return {}
        found = {item: self._json(Call("get", "GET", f"/apis/{group}/{item}")) for item in versions}
        return {version: tuple(answer.get("resources") or ()) for version, answer in found.items()}

    def crd(self, name: str) -> Item:
        """A CustomResourceDefinition with its schemas (RayService: a megabyte), e.g. ``rayservices.ray.io``."""
        return self.get(CRD, name)

    def get(self, kind: Kind, name: str, namespace: str = "") -> Item:
        """One object.

        Raises:
            NotFound: it, or its kind, does not exist.
        """
        return self._json(prepare.read(kind, name, namespace))

    def list(
        self,
        kind: Kind,
        namespace: str = "",
        *,
        selector: str = "",
        fields: str = "",
        trim: Trim | None = None,
        page: int = prepare.PAGE,
    ) -> Items:
        """All objects of a kind, read in pages. ``apiVersion`` and ``kind`` are filled in, which lists leave out.

        Args:
            selector: of labels, e.g. ``ray.io/cluster in (a,b)``.
            fields: selector of fields, e.g. ``type=Warning``.
            trim: called with each object as it arrives; what it returns is kept, None drops the object. With
                many objects this is what keeps memory small.
            page: objects a request.
        """
        call = prepare.listing(kind, namespace, selector=selector, fields=fields, page=page)
        return self._listed(call, trim)[0]

    def watch(
        self,
        kind: Kind,
        namespace: str = "",
        *,
        name: str = "",
        selector: str = "",
        fields: str = "",
        within: float,
        trim: Trim | None = None,
    ) -> Watch:
        """What is there, then each change, for ``within`` seconds; see :class:`kuberay.api.watching.Watch`."""
        call = prepare.listing(kind, namespace, selector=selector, fields=fields, name=name, page=prepare.PAGE)
        return Watch(self._transport, call, lambda call: self._listed(call, trim), time.monotonic() + within, trim)

    def apply(self, item: Mapping[str, Any], *, force: bool = False, dry_run: bool = False) -> Item:
        """Server-side apply as field manager ``switchyard``: creates the object, or changes the fields given.

        Args:
            force: take over fields that another manager owns.
            dry_run: everything but the writing, admission included; the answer is what it would become.

        Raises:
            Conflict: another manager owns a field and ``force`` is off; it names the manager and the fields.
            Invalid: a field is unknown or its value not allowed.
        """
        return self._json(prepare.application(item, force=force, dry_run=dry_run))

    def create(self, item: Mapping[str, Any], *, dry_run: bool = False) -> Item:
        """Makes an object.

        Raises:
            Conflict: with ``reason`` ``AlreadyExists`` where there is one of that name.
        """
        return self._json(prepare.creation(item, dry_run=dry_run))

    def patch(
        self,
        kind: Kind,
        name: str,
        namespace: str,
        change: Mapping[str, Any] | Items,
        *,
        how: str = "merge",
        subresource: str = "",
        dry_run: bool = False,
    ) -> Item:
        """Changes part of an object.

        Args:
            change: a JSON merge patch, or with ``how="json"`` a list of JSON patch operations. A merge patch that
                carries ``metadata.resourceVersion`` fails if the object changed meanwhile.
            subresource: e.g. ``status``.
        """
        call = prepare.change(kind, name, namespace, change, how=how, subresource=subresource, dry_run=dry_run)
        return self._json(call)

    def delete(
        self,
        kind: Kind,
        name: str,
        namespace: str = "",
        *,
        propagation: str = "Background",
        uid: str = "",
        grace_s: int | None = None,
        dry_run: bool = False,
    ) -> None:
        """Asks for an object's deletion, which finalizers can hold up: watch it to see it gone.

        Args:
            propagation: what becomes of what it owns: Background, Foreground or Orphan.
            uid: only if it still is this very object; else a Conflict.
            grace_s: instead of the object's own grace period, in seconds.

        Raises:
            NotFound: there is none.
        """
        self._json(
            prepare.deletion(kind, name, namespace, propagation=propagation, uid=uid, grace_s=grace_s, dry_run=dry_run)
        )

    def can(self, verb: str, kind: Kind, namespace: str = "", *, name: str = "", subresource: str = "") -> bool:
        """Whether we may do that. Says nothing about quotas and admission."""
        answer = self._json(prepare.review(verb, kind, namespace, name, subresource))
        return bool((answer.get("status") or {}).get("allowed"))

    def logs(
        self,
        pod: str,
        namespace: str,
        container: str = "",
        *,
        previous: bool = False,
        lines: int = 200,
        most_bytes: int = 256 * 1024,
    ) -> str:
        """The end of a container's log; ``previous`` is the run before its last restart.

        Raises:
            Invalid: the container has not started, or has no previous run.
        """
        query = {"tailLines": str(lines), "limitBytes": str(most_bytes), "previous": str(previous).lower()}
        answer = self._transport.send(prepare.log(pod, namespace, container, query))
        return answer.body.decode("utf-8", "replace")

    def follow(self, pod: str, namespace: str, container: str = "", *, lines: int = 20) -> Iterator[str]:
        """A container's log, line by line as it is written, until the container ends.

        Raises:
            Unreachable: the connection broke.
        """
        # A model that loads is silent for long; TCP keepalive notices a dead connection.
        call = prepare.log(pod, namespace, container, {"tailLines": str(lines), "follow": "true"}, read_s=3600)
        stream = self._transport.open(call)
        return (line.decode("utf-8", "replace") for line in stream.lines())

    def forward(self, pod: str, port: int, namespace: str, local_port: int = 0) -> Forward:
        """A port of a pod as a port of 127.0.0.1 (0: any free one), for as long as the returned context is open."""
        return Forward(self._transport, prepare.forwarding(pod, namespace), port, local_port)

    def via_service(
        self,
        method: str,
        service: str,
        port: str | int,
        path: str,
        namespace: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        attempts: int = 1,
        read_s: float = 10.0,
    ) -> Answer:
        """An HTTP request to a Service, through the API server. It takes the Authorization header for itself.

        Raises:
            ApiError: with the status of whoever refused it; 503 where the Service has no ready endpoint.
        """
        call = prepare.through_service(
            method,
            service,
            port,
            path,
            namespace,
            query=query or {},
            headers=headers or {},
            body=body,
            attempts=attempts,
            read_s=read_s,
        )
        return self._transport.send(call)

    def entrance(self, service: str, port: str | int, namespace: str) -> Entrance:
        """Where another HTTP client can ask a Service, through the API server, which passes streams through."""
        there = self._connection
        path = SERVICE.path(namespace, f"{service}:{port}", "proxy")
        return Entrance(there.address + path, there.headers, there.renew, there.tls(), there.server_name, there.proxy)

    def _listed(self, call: Call, trim: Trim | None) -> tuple[Items, str]:
        items: Items = []
        page, restarted = call, False
        while True:
            try:
                answer = self._json(page)
            except ApiError as error:
                # The pages of one list share a snapshot that etcd forgets after five minutes: begin again, once.
                if error.status != GONE or page is call or restarted:
                    raise
                items, page, restarted = [], call, True
                continue
            for item in answer.get("items") or ():
                item.setdefault("apiVersion", call.kind.version if call.kind else "")
                item.setdefault("kind", call.kind.name if call.kind else "")
                kept = trim(item) if trim else item
                if kept is not None:
                    items.append(kept)
            about = answer.get("metadata") or {}
            if not about.get("continue"):
                return items, str(about.get("resourceVersion", ""))
            page = call.next_page(about["continue"])

    def _json(self, call: Call) -> Item:
        body = self._transport.send(call).body
        try:
            return json.loads(body)
        except ValueError as error:
            raise ApiError(
                f"{self.address} answered {call.verb} {call.thing} with something that is not JSON. "
                "Is this the address of a Kubernetes API server?"
            ) from error
