"""How far a release has come on its way to traffic, stage by stage. Pure; `deploy` shows it while it waits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from kuberay.manifests.rayservice import group_pods
from kuberay.names import NODE_TYPE_LABEL
from kuberay.snapshot import Object, Snapshot, condition_of, dig, is_ready, labels, release_of


class State(StrEnum):
    """Of a stage."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


_STUCK = (
    "ErrImage",
    "ImagePull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CrashLoopBackOff",
    "DEPLOY_FAILED",
)
"""In what Kubernetes and Serve say."""


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        name: what it is about.
        state: how far it is.
        detail: what is known of it, one line.
    """

    name: str
    state: State
    detail: str = ""

    @property
    def stuck(self) -> bool:
        """What holds it up does not pass by itself."""
        return any(word in self.detail for word in _STUCK)


def stages(snapshot: Snapshot, release: str) -> list[Stage]:
    """The stages of ``release``, in order. All done: it serves, and nothing else does."""
    service = snapshot.service
    if service is None:
        return [Stage("operator", State.WAITING, "there is no RayService")]
    cluster = cluster_of(snapshot, release)
    if cluster is None:
        return [_operator(service)]
    pods = snapshot.pods(cluster["metadata"]["name"])
    heads = [pod for pod in pods if labels(pod).get(NODE_TYPE_LABEL) == "head"]
    workers = [pod for pod in pods if labels(pod).get(NODE_TYPE_LABEL) == "worker"]
    return [
        Stage("operator", State.DONE, f"RayCluster {cluster['metadata']['name']}"),
        _pods("head", heads, 1),
        _pods("workers", workers, _least(cluster)),
        _applications(snapshot, service, cluster["metadata"]["name"]),
        _traffic(snapshot, service, cluster["metadata"]["name"]),
    ]


def is_serving(found: Iterable[Stage]) -> bool:
    """Whether nothing is left to wait for."""
    return all(stage.state is State.DONE for stage in found)


def cluster_of(snapshot: Snapshot, release: str) -> Object | None:
    """The RayCluster that runs ``release``: the pending one, else the active one. KubeRay copies the annotation."""
    for which in ("pending", "active"):
        cluster = snapshot.cluster(which)
        if release_of(cluster) == release:
            return cluster
    return None


def trouble(pod: Object) -> str:
    """Why a pod is not ready, one line; empty when it is, or when there is nothing to say."""
    for kind in ("initContainerStatuses", "containerStatuses"):
        for status in dig(pod, "status", kind, default=[]):
            waiting, ended = dig(status, "state", "waiting"), dig(status, "state", "terminated")
            if waiting and waiting.get("reason") not in ("PodInitializing", "ContainerCreating"):
                return _line(f"{status['name']}: {waiting.get('reason')} {waiting.get('message', '')}")
            if ended and ended.get("exitCode") != 0:
                return _line(f"{status['name']} ended with {ended.get('exitCode')} ({ended.get('reason')})")
    scheduled = condition_of(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        return _line(f"not scheduled: {scheduled.get('message', '')}")
    return ""


def _operator(service: Object) -> Stage:
    seen = dig(service, "status", "observedGeneration", default=0)
    if seen < dig(service, "metadata", "generation", default=0):
        return Stage("operator", State.WAITING, "has not looked at it yet")
    return Stage("operator", State.RUNNING, "is making a RayCluster")


def _pods(name: str, pods: list[Object], wanted: int) -> Stage:
    ready = sum(is_ready(pod) for pod in pods)
    if ready >= wanted:
        return Stage(name, State.DONE, f"{ready} ready" if name == "workers" else "ready")
    why = next((text for pod in pods if (text := trouble(pod))), "")
    count = (
        f"{ready} of {wanted} ready" if name == "workers" else (dig(pods, 0, "status", "phase", default="no pod yet"))
    )
    return Stage(name, State.RUNNING if pods else State.WAITING, f"{count}{f', {why}' if why else ''}")


def _least(cluster: Object) -> int:
    return sum(group_pods(group) for group in dig(cluster, "spec", "workerGroupSpecs", default=[]))


def _applications(snapshot: Snapshot, service: Object, cluster: str) -> Stage:
    found: dict[str, Any] = dict(dig(snapshot.serve.get(cluster), "applications", default={}))
    for which in ("active", "pending"):
        status = dig(service, "status", f"{which}ServiceStatus", default={})
        if not found and status.get("rayClusterName") == cluster:
            found = status.get("applicationStatuses") or {}
    if not found:
        return Stage("application", State.WAITING, "Serve has not been told of it yet")
    words = [f"{name} {one.get('status')}" for name, one in found.items()]
    messages = " ".join(str(one.get("message") or "") for one in found.values())
    detail = _line(f"{', '.join(words)} {messages}")
    kinds = {one.get("status") for one in found.values()}
    if kinds & {"DEPLOY_FAILED", "UNHEALTHY"}:
        return Stage("application", State.FAILED, detail)
    return Stage("application", State.DONE if kinds == {"RUNNING"} else State.RUNNING, detail)


def _traffic(snapshot: Snapshot, service: Object, cluster: str) -> Stage:
    active = dig(service, "status", "activeServiceStatus", "rayClusterName")
    if active != cluster:
        where = f"on {active}" if active else "nowhere yet"
        if share := dig(service, "status", "pendingServiceStatus", "trafficRoutedPercent"):
            return Stage("traffic", State.RUNNING, f"{share} % of it")
        return Stage("traffic", State.WAITING, where)
    ready = condition_of(service, "Ready")
    if ready.get("status") != "True" or condition_of(service, "UpgradeInProgress").get("status") == "True":
        return Stage("traffic", State.RUNNING, _line(ready.get("message") or ready.get("reason") or ""))
    endpoints = dig(service, "status", "numServeEndpoints", default=0)
    return Stage("traffic", State.DONE, f"{endpoints} endpoint{'s' if endpoints != 1 else ''}")


def _line(text: str, most: int = 160) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


def serving_pod(snapshot: Snapshot, *, head: bool = False, preview: bool = False) -> str | None:
    """The name of a ready worker (or of the head) of the cluster that serves, else of the one that starts.

    Args:
        preview: of the one that starts only.
    """
    role = "head" if head else "worker"
    for which in ("pending",) if preview else ("active", "pending"):
        cluster = snapshot.cluster(which)
        for pod in snapshot.pods(cluster["metadata"]["name"]) if cluster else ():
            if labels(pod).get(NODE_TYPE_LABEL) == role and is_ready(pod):
                return pod["metadata"]["name"]
    return None
