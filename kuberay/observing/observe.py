"""Takes a :class:`~kuberay.snapshot.Snapshot`: each kind is listed once, in parallel; what cannot be read is noted.

Secrets are read by the names that the service mentions, never listed, and emptied at once.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from kuberay.api import kinds
from kuberay.api.client import Api
from kuberay.api.kinds import Kind
from kuberay.api.proxy import Dashboard, token_secret
from kuberay.clock import now_text
from kuberay.errors import ApiError, NotFound, Unauthorized, Unreachable
from kuberay.manifests.gateway import gateway_name, route_name
from kuberay.names import CLUSTER_LABEL, INSTANCE_LABEL, SERVICE_LABEL
from kuberay.observing.fleet import split
from kuberay.observing.trimming import (
    about_any,
    belongs,
    emptied,
    failing_replicas,
    head_runs,
    is_operator,
    referenced,
    small_cluster,
    small_event,
    small_pod,
    tidy,
    worrying,
)
from kuberay.snapshot import Object, Snapshot, by_steps

T = TypeVar("T")

OPERATOR = "app.kubernetes.io/name in (kuberay-operator,kuberay),!ray.io/cluster"
THREADS = 12
MOST_LOGS = 24
MOST_REPLICA_LOGS = 3


def observe(api: Api, namespace: str, name: str, *, logs: bool = True) -> Snapshot:
    """One service, now. Without ``logs`` only objects and Serve's report.

    Raises:
        Unreachable: the API server does not answer.
        Unauthorized: it does not know us. Anything less goes into ``unreadable``.
    """
    taken = now_text()
    with ThreadPoolExecutor(THREADS, thread_name_prefix="observe") as pool:
        reading = _Reading(api, namespace, name, pool)
        objects = reading.objects()
        serve = reading.serve(objects)
        texts = reading.logs(objects, serve) if logs else {}
    return Snapshot(
        taken=taken,
        context=api.context,
        namespace=namespace,
        name=name,
        objects=tuple(objects),
        serve=serve,
        logs=texts,
        unreadable=tuple(reading.unreadable),
    )


def observe_all(api: Api, namespace: str = "") -> list[Snapshot]:
    """All services of a namespace, or of the whole cluster: three lists, however many they are.

    The snapshots hold the RayService, its RayClusters and its pods, without pod templates.

    Raises:
        ApiError: one of the three lists cannot be read.
    """
    taken = now_text()
    with _no_collection():
        return _all(api, namespace, taken)


def _all(api: Api, namespace: str, taken: str) -> list[Snapshot]:
    found = [
        *api.list(kinds.RAYSERVICE, namespace, trim=small_cluster),
        *api.list(kinds.RAYCLUSTER, namespace, selector=SERVICE_LABEL, trim=small_cluster),
        *api.list(kinds.POD, namespace, selector=CLUSTER_LABEL, trim=small_pod),
    ]
    return split(found, taken=taken, context=api.context)


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Parsed JSON has no cycles; looking for some in a hundred thousand dicts takes as long as parsing them."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


class _Reading:
    """One observation in progress."""

    def __init__(self, api: Api, namespace: str, name: str, pool: ThreadPoolExecutor) -> None:
        self._api, self._namespace, self._name, self._pool = api, namespace, name, pool
        self._dashboards: dict[str, Dashboard] = {}
        self.unreadable: list[str] = []

    def objects(self) -> list[Object]:
        """All objects of the service, and what it stands on."""
        service = self._start("the RayService", self._service, vital=True)
        clusters = self._list(kinds.RAYCLUSTER, selector=f"{SERVICE_LABEL}={self._name}")
        named = self._list(kinds.CONFIGMAP, selector=f"{INSTANCE_LABEL}={self._name}")
        others = [
            self._list(kind, fields=fields, trim=trim, namespace=space)
            for kind, space, fields, trim in (
                (kinds.SERVICE, self._namespace, "", tidy),
                (kinds.ENDPOINTSLICE, self._namespace, "", tidy),
                (kinds.PVC, self._namespace, "", tidy),
                (kinds.QUOTA, self._namespace, "", tidy),
                (kinds.PDB, self._namespace, "", tidy),
                (kinds.NODE, "", "", tidy),
            )
        ]
        events = self._list(kinds.EVENT, trim=small_event)
        node_events = self._list(kinds.EVENT, trim=small_event, namespace="default", fields="involvedObject.kind=Node")
        system = [self._start("the versions of ray.io", self._crds), self._start("the operator", self._operator)]
        entrances = self._entrances(service.result())
        # Secrets, ConfigMaps and pods are asked for by names that only the first answers hold.
        own: list[Object] = [*filter(None, [service.result()]), *(clusters.result() or ())]
        names = [item["metadata"]["name"] for item in own if item["kind"] == "RayCluster"]
        selector = f"{CLUSTER_LABEL} in ({','.join(names)})" if names else f"{INSTANCE_LABEL}={self._name}"
        pods = self._list(kinds.POD, selector=selector)
        secrets = [self._secret(one) for one in sorted(self._mentioned(own, "Secret"))]
        labelled = named.result() or []
        known = {item["metadata"]["name"] for item in labelled}
        maps = [self._map(one) for one in sorted(self._mentioned(own, "ConfigMap") - known)]
        own += [*(pods.result() or ()), *labelled]
        own += [item for part in (*secrets, *maps, *entrances) if (item := part.result())]
        around = [item for part in others for item in part.result() or ()]
        ours = [item for item in around if belongs(item, self._name, names, own)]
        about = [*own, *ours]
        uids = {item["metadata"].get("uid", "") for item in about}
        ids = {(item["kind"], item["metadata"]["name"]) for item in about}
        told = [*(events.result() or ()), *(node_events.result() or ())]
        happened = {item["metadata"]["uid"]: item for item in told if about_any(item, uids, ids)}
        return [*about, *happened.values(), *(item for part in system for item in part.result() or ())]

    def serve(self, objects: Iterable[Object]) -> dict[str, Any]:
        """Serve's report of each cluster whose head runs."""
        asked: dict[str, Future[Mapping[str, Any] | None]] = {}
        for item in objects:
            name = item["metadata"]["name"]
            if item["kind"] != "RayCluster":
                continue
            if head_runs(name, objects):  # else the API server would try for seconds
                what = f"Serve's report of RayCluster {name}"
                asked[name] = self._start(what, lambda item=item: self._report(item))
            else:
                self.unreadable.append(f"Serve's report of RayCluster {name}: its head pod is not running")
        return {name: said for name, part in asked.items() if (said := part.result()) is not None}

    def logs(self, objects: Iterable[Object], serve: Mapping[str, Any]) -> dict[str, str]:
        """The ends of the logs that may explain something.

        Keys beyond ``pod/container``: ``CLUSTER/autoscaler`` is Ray's report of what it cannot place,
        ``CLUSTER/REPLICA/err`` (and ``out``) what a Serve replica that is not running wrote.
        """
        asked: dict[str, Future[str | None]] = {}
        wanted = [
            (pod["metadata"]["name"], *which) for pod in objects if pod["kind"] == "Pod" for which in worrying(pod)
        ]
        if len(wanted) > MOST_LOGS:
            self.unreadable.append(f"logs: {len(wanted) - MOST_LOGS} of {len(wanted)} were left out")
        for pod, container, previous in wanted[:MOST_LOGS]:
            key = f"{pod}/{container}{'/previous' if previous else ''}"
            asked[key] = self._start(
                f"the log {key}",
                lambda pod=pod, container=container, previous=previous: self._api.logs(
                    pod, self._namespace, container, previous=previous
                ),
            )
        for name, report in serve.items():
            for key, read in _ray_logs(self._dashboards[name], report):
                asked[key] = self._start(f"the log {key}", read)
        return {key: text for key, part in asked.items() if (text := part.result())}

    def _service(self) -> Object | None:
        try:
            return tidy(self._api.get(kinds.RAYSERVICE, self._name, self._namespace))
        except NotFound as error:
            if error.kind_missing:
                raise
            return None  # a snapshot without a RayService says just that

    def _entrances(self, service: Object | None) -> list[Future[dict[str, Any] | None]]:
        """Gateway and route, where the strategy goes through them."""
        if not by_steps(service):
            return []
        wanted = ((kinds.GATEWAY, gateway_name(self._name)), (kinds.HTTPROUTE, route_name(self._name)))
        return [
            self._start(
                f"the {kind.name} {name}",
                lambda kind=kind, name=name: _existing(lambda: tidy(self._api.get(kind, name, self._namespace))),
            )
            for kind, name in wanted
        ]

    def _crds(self) -> list[Object]:
        """CRDs by name and version. From discovery, which everybody may read, and which is small."""
        served: dict[str, list[str]] = {}
        about: dict[str, Mapping[str, Any]] = {}
        for version, resources in self._api.resources("ray.io").items():
            for one in resources:
                if "/" not in one["name"]:
                    served.setdefault(one["name"], []).append(version)
                    about.setdefault(one["name"], one)
        return [
            {
                "apiVersion": kinds.CRD.version,
                "kind": kinds.CRD.name,
                "metadata": {"name": f"{plural}.ray.io"},
                "spec": {
                    "group": "ray.io",
                    "names": {"kind": about[plural]["kind"], "plural": plural},
                    "versions": [{"name": version, "served": True} for version in versions],
                },
            }
            for plural, versions in served.items()
        ]

    def _operator(self) -> list[Object]:
        """The operator's Deployments: by KubeRay's own labels, else by image."""
        if found := self._api.list(kinds.DEPLOYMENT, selector=OPERATOR, trim=tidy):
            return list(found)
        return list(self._api.list(kinds.DEPLOYMENT, trim=lambda item: tidy(item) if is_operator(item) else None))

    def _list(
        self,
        kind: Kind,
        *,
        selector: str = "",
        fields: str = "",
        namespace: str | None = None,
        trim: Callable[[dict[str, Any]], dict[str, Any] | None] = tidy,
    ) -> Future[list[dict[str, Any]] | None]:
        space = (self._namespace if namespace is None else namespace) if kind.namespaced else ""
        return self._start(
            f"{kind.resource}" + (f" in namespace {space}" if space else ""),
            lambda: self._api.list(kind, space, selector=selector, fields=fields, trim=trim),
        )

    def _secret(self, name: str) -> Future[dict[str, Any] | None]:
        return self._start(
            f"the Secret {name}", lambda: _existing(lambda: emptied(self._api.get(kinds.SECRET, name, self._namespace)))
        )

    def _map(self, name: str) -> Future[dict[str, Any] | None]:
        return self._start(
            f"the ConfigMap {name}",
            lambda: _existing(lambda: tidy(self._api.get(kinds.CONFIGMAP, name, self._namespace))),
        )

    def _start(self, what: str, read: Callable[[], T], *, vital: bool = False) -> Future[T | None]:
        def run() -> T | None:
            try:
                return read()
            except ApiError as error:
                if vital and isinstance(error, (Unreachable, Unauthorized)):
                    raise
                self.unreadable.append(f"{what}: {error}")
                return None

        return self._pool.submit(run)

    def _mentioned(self, own: Iterable[Object], kind: str) -> set[str]:
        names = {name for item in own for name in referenced(item.get("spec"), kind)}
        tokens = {token_secret(item) for item in own if item["kind"] == "RayCluster"} - {""}
        return names | tokens if kind == "Secret" else names

    def _report(self, cluster: Object) -> Mapping[str, Any]:
        name = cluster["metadata"]["name"]
        self._dashboards[name] = Dashboard.of(self._api, cluster)
        return self._dashboards[name].applications()


def _ray_logs(dashboard: Dashboard, report: Mapping[str, Any]) -> Iterator[tuple[str, Callable[[], str]]]:
    yield f"{dashboard.cluster}/autoscaler", dashboard.autoscaler
    for actor, name in list(failing_replicas(report).items())[:MOST_REPLICA_LOGS]:
        for stream in ("err", "out"):
            key = f"{dashboard.cluster}/{name}/{stream}"
            yield key, lambda actor=actor, stream=stream: dashboard.actor_log(actor, stream=stream)


def _existing(read: Callable[[], T]) -> T | None:
    """What is mentioned and missing is a finding for whoever reads the snapshot, not something unreadable."""
    with contextlib.suppress(NotFound):
        return read()
    return None


def _place(item: Object) -> tuple[str, str]:
    return item["metadata"]["namespace"], item["metadata"]["name"]
