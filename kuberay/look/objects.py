"""Kubernetes objects and Serve's report, read into small typed values. Pure.

A bundle may come from anybody, so nothing here trusts a shape: what is missing or of another type reads as empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

from kuberay.accelerators import GKE_ACCELERATOR_LABEL, GPU_RESOURCE
from kuberay.names import CLUSTER_LABEL, GROUP_LABEL, NODE_TYPE_LABEL
from kuberay.snapshot import Object, condition_of, dig, is_ready

_NOTHING: Mapping[str, Any] = {}

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def text(item: Any, *path: str | int) -> str:
    """The string at that path, or ``""``."""
    value = dig(item, *path)
    return value if isinstance(value, str) else ""


def number(item: Any, *path: str | int, default: int = 0) -> int:
    """The number at that path, or the default."""
    value = dig(item, *path)
    return int(value) if isinstance(value, (int, float)) and abs(value) < 1e15 else default


def mapping(item: Any, *path: str | int) -> Mapping[str, Any]:
    """The mapping at that path, or an empty one."""
    value = dig(item, *path)
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def items(item: Any, *path: str | int) -> list[Mapping[str, Any]]:
    """The mappings in the list at that path."""
    value = dig(item, *path)
    if not isinstance(value, list):
        return []
    return [cast("Mapping[str, Any]", one) for one in cast("list[Any]", value) if isinstance(one, Mapping)]


def name_of(item: Any) -> str:
    """An object's name."""
    return text(item, "metadata", "name")


def label(item: Any, key: str) -> str:
    """The value of a label, or ``""``."""
    return text(item, "metadata", "labels", key)


def moment(value: Any) -> datetime:
    """An RFC 3339 time; the epoch where there is none."""
    if not isinstance(value, str) or not value:
        return LONG_AGO
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return LONG_AGO
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def created(item: Any) -> datetime:
    """When an object was made."""
    return moment(text(item, "metadata", "creationTimestamp"))


@dataclass(frozen=True)
class Event:
    """A Kubernetes event, of ``v1`` or ``events.k8s.io/v1``."""

    kind: str
    name: str
    reason: str
    note: str
    warning: bool
    last: datetime
    count: int

    @property
    def source(self) -> str:
        return f"event {self.reason} of {self.kind} {self.name}"


def event(item: Object) -> Event:
    """Read an event of either API; the same event has other field names in each."""
    about = mapping(item, "regarding") or mapping(item, "involvedObject")
    times = (
        text(item, "series", "lastObservedTime"),
        text(item, "deprecatedLastTimestamp"),
        text(item, "lastTimestamp"),
        text(item, "eventTime"),
        text(item, "metadata", "creationTimestamp"),
    )
    count = number(item, "series", "count") or number(item, "deprecatedCount") or number(item, "count")
    return Event(
        kind=text(about, "kind"),
        name=text(about, "name"),
        reason=text(item, "reason"),
        note=text(item, "note") or text(item, "message"),
        warning=text(item, "type") == "Warning",
        last=max(moment(one) for one in times),
        count=max(count, 1),
    )


@dataclass(frozen=True)
class Container:
    """A container's state, and how it ended before."""

    name: str
    init: bool
    image: str
    state: str
    reason: str
    message: str
    exit_code: int
    since: datetime
    ready: bool
    restarts: int
    last_reason: str
    last_exit_code: int
    last_message: str

    @property
    def crashed(self) -> bool:
        """It ended badly and is down now, or is being restarted again and again."""
        down = (self.state == "terminated" and self.exit_code != 0) or self.reason == "CrashLoopBackOff"
        return down or (self.restarts > 0 and not self.ready and bool(self.last_reason) and self.last_exit_code != 0)

    @property
    def out_of_memory(self) -> bool:
        return self.reason == "OOMKilled" or (not self.ready and self.last_reason == "OOMKilled")


@dataclass(frozen=True)
class Pod:
    """A pod of a RayCluster."""

    name: str
    cluster: str
    head: bool
    group: str
    phase: str
    ready: bool
    scheduled: bool
    deleting: bool
    node: str
    created: datetime
    reason: str
    message: str
    containers: tuple[Container, ...]
    object: Object = field(repr=False)

    @property
    def pending(self) -> bool:
        """It waits for a node."""
        return not self.scheduled and not self.node and self.phase in ("Pending", "")

    @property
    def failed(self) -> bool:
        return self.phase == "Failed"

    @property
    def settled(self) -> bool:
        """It is as it should be, or on its way out on purpose: nothing about it needs explaining."""
        return (self.ready and all(one.ready or one.init for one in self.containers)) or self.deleting

    @property
    def gpus(self) -> int:
        """GPUs it asks for."""
        return gpus_of(dig(self.object, "spec"))

    @property
    def accelerator(self) -> str:
        """The accelerator its nodes must have, in GKE's words (``nvidia-l4``)."""
        return text(self.object, "spec", "nodeSelector", GKE_ACCELERATOR_LABEL)


def gpus_of(pod: Any) -> int:
    """GPUs that a pod's spec asks for."""
    return sum(_gpus(one) for one in items(pod, "containers"))


def _gpus(container: Mapping[str, Any]) -> int:
    resources = mapping(container, "resources")
    value = dig(resources, "limits", GPU_RESOURCE, default=dig(resources, "requests", GPU_RESOURCE, default=0))
    return int(value) if isinstance(value, int) or (isinstance(value, str) and value.isdigit()) else 0


def _container(item: Mapping[str, Any], *, init: bool) -> Container:
    states = mapping(item, "state")
    state = next((one for one in ("waiting", "terminated", "running") if isinstance(states.get(one), Mapping)), "")
    now = mapping(states, state) if state else _NOTHING
    last = mapping(item, "lastState", "terminated")
    return Container(
        name=text(item, "name"),
        init=init,
        image=text(item, "image"),
        state=state,
        reason=text(now, "reason"),
        message=text(now, "message"),
        exit_code=number(now, "exitCode"),
        since=moment(text(now, "startedAt")),
        ready=item.get("ready") is True or (init and state == "terminated" and number(now, "exitCode") == 0),
        restarts=number(item, "restartCount"),
        last_reason=text(last, "reason"),
        last_exit_code=number(last, "exitCode"),
        last_message=text(last, "message"),
    )


def pod(item: Object) -> Pod:
    """Read a pod."""
    status = mapping(item, "status")
    containers = [_container(one, init=True) for one in items(status, "initContainerStatuses")]
    containers += [_container(one, init=False) for one in items(status, "containerStatuses")]
    return Pod(
        name=name_of(item),
        cluster=label(item, CLUSTER_LABEL),
        head=label(item, NODE_TYPE_LABEL) == "head",
        group=label(item, GROUP_LABEL),
        phase=text(status, "phase"),
        ready=is_ready(item),
        scheduled=condition_of(item, "PodScheduled").get("status") == "True",
        deleting=bool(text(item, "metadata", "deletionTimestamp")),
        node=text(item, "spec", "nodeName"),
        created=created(item),
        reason=text(status, "reason"),
        message=text(status, "message"),
        containers=tuple(containers),
        object=item,
    )


@dataclass(frozen=True)
class Deployment:
    """A Serve deployment: its status, what Serve says of it, its replicas by state, and the address each is at."""

    name: str
    status: str
    message: str
    replicas: Mapping[str, int]
    target: int | None
    places: Mapping[str, str]


@dataclass(frozen=True)
class App:
    """A Serve application on a cluster."""

    cluster: str
    name: str
    status: str
    message: str
    deployments: tuple[Deployment, ...]

    @property
    def healthy(self) -> bool:
        good = ("HEALTHY", "UPSCALING", "DOWNSCALING", "")
        return self.status == "RUNNING" and all(
            one.status in good and "failed to start" not in one.message for one in self.deployments
        )


def apps(cluster: str, report: Any, status: Any) -> tuple[App, ...]:
    """A cluster's applications: Serve's own report, or what KubeRay copied of it into the RayService's status."""
    found = mapping(report, "applications")
    if not found:
        found = mapping(status, "applicationStatuses")
    result: list[App] = []
    for name in sorted(found):
        one = mapping(found, name)
        deployments = mapping(one, "deployments") or mapping(one, "serveDeploymentStatuses")
        result.append(
            App(
                cluster=cluster,
                name=name,
                status=text(one, "status"),
                message=text(one, "message"),
                deployments=tuple(_deployment(each, mapping(deployments, each)) for each in sorted(deployments)),
            )
        )
    return tuple(result)


def _deployment(name: str, item: Mapping[str, Any]) -> Deployment:
    states: dict[str, int] = {}
    for replica in items(item, "replicas"):
        state = text(replica, "state")
        states[state] = states.get(state, 0) + 1
    target = number(item, "target_num_replicas", default=-1)
    return Deployment(
        name=name,
        status=text(item, "status"),
        message=text(item, "message"),
        replicas=dict(sorted(states.items())),
        target=None if target < 0 else target,
        places={text(one, "replica_id"): text(one, "node_ip") for one in items(item, "replicas")},
    )
