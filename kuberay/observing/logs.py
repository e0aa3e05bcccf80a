"""Logs of a service, without knowing pod names: of containers through the API server, of replicas through Ray."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

from kuberay.api.client import Api
from kuberay.api.proxy import Dashboard
from kuberay.errors import ApiError, KubeRayError, NotFound
from kuberay.names import NODE_TYPE_LABEL
from kuberay.snapshot import Object, Snapshot, dig, labels

SOURCES = ("replica", "worker", "head", "autoscaler")
_CONTAINERS = {"worker": ("worker", "ray-worker"), "head": ("head", "ray-head"), "autoscaler": ("head", "autoscaler")}


def read(api: Api, snapshot: Snapshot, source: str, *, lines: int, follow: bool) -> Iterator[str]:
    """Lines, each with its pod's or replica's name in front.

    Args:
        source: one of :data:`SOURCES`.
        lines: how many of the last lines of each.
        follow: go on for as long as something writes. Not for replicas, whose logs are read through Ray.

    Raises:
        NotFound: nothing of that kind runs.
    """
    cluster = snapshot.cluster("active") or snapshot.cluster("pending")
    if cluster is None:
        raise NotFound(f"{snapshot.name} has no RayCluster, and so no logs. switchyard doctor looks for the reason.")
    if source == "replica":
        if follow:
            raise KubeRayError("The logs of replicas cannot be followed; use --of worker, or ask again.")
        yield from _replicas(api, cluster, snapshot, lines)
        return
    role, container = _CONTAINERS[source]
    pods = [
        pod["metadata"]["name"]
        for pod in snapshot.pods(cluster["metadata"]["name"])
        if labels(pod).get(NODE_TYPE_LABEL) == role
    ]
    if not pods:
        raise NotFound(f"RayCluster {cluster['metadata']['name']} has no {role} pod.")
    if follow:
        yield from _followed(api, snapshot.namespace, pods, container, lines)
        return
    for pod in pods:
        for line in api.logs(pod, snapshot.namespace, container, lines=lines).splitlines():
            yield f"{pod} {line}"


def _replicas(api: Api, cluster: Object, snapshot: Snapshot, lines: int) -> Iterator[str]:
    dashboard = Dashboard.of(api, cluster)
    report = snapshot.serve.get(cluster["metadata"]["name"]) or dashboard.applications()
    found = False
    for application in dig(report, "applications", default={}).values():
        for deployment in dig(application, "deployments", default={}).values():
            for replica in deployment.get("replicas") or ():
                if not replica.get("actor_id"):
                    continue
                for stream in ("out", "err"):
                    text = dashboard.actor_log(replica["actor_id"], stream=stream, lines=lines)
                    for line in text.splitlines():
                        found = True
                        yield f"{replica.get('replica_id', '?')} {line}"
    if not found:
        raise NotFound("No replica has written anything yet. --of head shows what Ray does.")


def _followed(api: Api, namespace: str, pods: list[str], container: str, lines: int) -> Iterator[str]:
    inbox: queue.SimpleQueue[str | ApiError | None] = queue.SimpleQueue()

    def pump(pod: str) -> None:
        try:
            for line in api.follow(pod, namespace, container, lines=lines):
                inbox.put(f"{pod} {line}")
            inbox.put(None)
        except ApiError as error:
            inbox.put(error)

    for pod in pods:
        threading.Thread(target=pump, args=(pod,), name=f"logs-{pod}", daemon=True).start()
    left = len(pods)
    while left:
        item = inbox.get()
        if isinstance(item, ApiError):
            raise item
        if item is None:
            left -= 1
        else:
            yield item
