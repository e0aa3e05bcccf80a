"""A service's state in one value: its phase, clusters, pods, replicas, traffic. Pure.

The phases, and what they mean; the first row that holds is the service's:

| phase | holds when |
|---|---|
| Suspended | ``spec.suspend`` is set, KubeRay says it is suspending or suspended, or the service was put away |
| Absent | there is no RayService of that name |
| Failed | KubeRay refuses the spec, gave the first start up, or the only cluster's application is DEPLOY_FAILED |
| Held | the new cluster runs everything but the gate, which waits for a decision; the old one serves |
| Upgrading | a new cluster starts beside one that serves |
| Degraded | it served or serves, with less than it should: endpoints gone, replicas or pods missing |
| Serving | requests are answered, by all that was asked for |
| Starting | none of these: it has not served yet |
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from kuberay.look.clusters import Cluster
from kuberay.look.facts import Facts, since
from kuberay.look.objects import created, items, moment, name_of, number, text
from kuberay.look.redact import shown
from kuberay.names import GATE, SERVE_PORT
from kuberay.snapshot import Snapshot, condition_of, dig


class Phase(StrEnum):
    """What a service is doing; see the table above."""

    ABSENT = "Absent"
    SUSPENDED = "Suspended"
    FAILED = "Failed"
    HELD = "Held"
    UPGRADING = "Upgrading"
    DEGRADED = "Degraded"
    SERVING = "Serving"
    STARTING = "Starting"


@dataclass(frozen=True)
class GroupStatus:
    """The head, or a worker group: pods ready, wanted, and without a node."""

    name: str
    ready: int
    wanted: int
    pending: int


@dataclass(frozen=True)
class ClusterStatus:
    """A RayCluster of the service.

    Attributes:
        role: active, pending or retired.
        apps: Serve applications and their status.
        replicas: replicas by state, over all applications but the gate.
        age_s: None where the service names a RayCluster that was not seen.
        time_left_s: how long a retired cluster has about left; None where that is not known.
        traffic: its per cent of the traffic, with the incremental strategy; else None.
    """

    name: str
    role: str
    release: str
    age_s: int | None
    deleting: bool
    groups: tuple[GroupStatus, ...]
    apps: dict[str, str]
    replicas: dict[str, int]
    time_left_s: int | None
    traffic: int | None = None


@dataclass(frozen=True)
class Traffic:
    """Where requests go: the Service, the cluster it selects, its endpoints."""

    service: str
    cluster: str
    role: str
    ready: int
    total: int


@dataclass(frozen=True)
class ConditionStatus:
    """A condition of the RayService."""

    type: str
    status: str
    reason: str
    message: str
    age_s: int


@dataclass(frozen=True)
class Status:
    """A service at one moment.

    Attributes:
        release: the release that serves; of a service that never served, the one that starts.
        why: the phase in a sentence.
    """

    name: str
    namespace: str
    context: str
    taken: str
    phase: Phase
    why: str
    release: str
    age_s: int
    clusters: tuple[ClusterStatus, ...]
    traffic: Traffic
    conditions: tuple[ConditionStatus, ...]
    addresses: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def ready_pods(self) -> tuple[int, int]:
        """Pods ready and wanted, of the clusters that matter."""
        groups = [group for one in self.clusters if one.role != "retired" for group in one.groups]
        return sum(one.ready for one in groups), sum(one.wanted for one in groups)


def status(snapshot: Snapshot, now: datetime) -> Status:
    """The state of one service."""
    facts = Facts(snapshot, now)
    clusters = tuple(_cluster(facts, one) for one in facts.clusters)
    phase, why = next((phase, said) for phase, row in _PHASES if (said := row(facts)))
    shows = facts.cluster("active") or facts.cluster("pending")
    selected = next((one for one in facts.clusters if one.name == facts.selected), None)
    ready, total = facts.endpoints
    return Status(
        name=snapshot.name,
        namespace=snapshot.namespace,
        context=snapshot.context,
        taken=snapshot.taken,
        phase=phase,
        why=why,
        release=shows.release if shows else "",
        age_s=_seconds(facts, created(there)) if (there := facts.service or snapshot.put_away) else 0,
        clusters=clusters,
        traffic=Traffic(facts.serve_service, facts.selected, selected.role if selected else "", ready, total),
        conditions=tuple(_conditions(facts)),
        addresses=tuple(_addresses(facts)),
        warnings=tuple(_warnings(facts)),
    )


def as_json(one: Status) -> dict[str, Any]:
    """The status as JSON data; names are those of the attributes."""
    return dataclasses.asdict(one)


def _suspended(facts: Facts) -> str:
    if facts.service is None and facts.snapshot.put_away:
        return "its RayService was deleted on request, and is kept to be made again"
    asked = dig(facts.service, "spec", "suspend") is True
    done = condition_of(facts.service, "Suspended").get("status") == "True"
    going = condition_of(facts.service, "Suspending").get("status") == "True"
    return (
        "its clusters were deleted on request" if done else "its clusters are being deleted" if asked or going else ""
    )


def _failed(facts: Facts) -> str:
    if facts.ready.get("reason") in ("ValidationFailed", "InitializingTimeout"):
        return shown(f"{facts.ready.get('reason')}: {facts.ready.get('message', '')}", 200)
    failed = [app.name for one in facts.live for app in one.apps if app.status == "DEPLOY_FAILED"]
    return f"application {', '.join(failed)} could not be deployed" if failed and not facts.serving else ""


def _held(facts: Facts) -> str:
    green = facts.cluster("pending")
    return f"{_release(green)} is ready and waits for a decision" if green and green.held and facts.serving else ""


def _upgrading(facts: Facts) -> str:
    green, blue = facts.cluster("pending"), facts.cluster("active")
    share = f", which has {facts.share('pending')} % of the traffic" if facts.incremental else ""
    return f"from {_release(blue)} to {_release(green)}{share}" if green and blue and facts.serving else ""


def _degraded(facts: Facts) -> str:
    active = facts.cluster("active")
    if active is None:
        return ""
    if not facts.serving:
        return f"no ready endpoint behind {facts.serve_service}"
    sick = [f"{app.name} is {app.status}" for app in active.apps if app.name != GATE and not app.healthy]
    missing = [
        f"{group.name} has {ready} of {group.wanted} pods"
        for group in active.groups
        if (ready := sum(pod.ready for pod in group.pods)) < group.wanted
    ]
    return "; ".join(sick + missing)


def _serving(facts: Facts) -> str:
    ready, _ = facts.endpoints
    return f"{ready} ready endpoint{'' if ready == 1 else 's'}" if facts.serving and facts.cluster("active") else ""


def _starting(facts: Facts) -> str:
    green = facts.cluster("pending") or facts.cluster("active")
    if green is None:
        return "KubeRay has not made a cluster yet"
    waiting = sum(pod.pending for pod in green.pods)
    if waiting:
        return f"{waiting} pod{'s wait' if waiting > 1 else ' waits'} for a node"
    starting = [f"{app.name} is {app.status}" for app in green.apps if app.status != "RUNNING"]
    return "; ".join(starting) or "its pods are starting"


_PHASES: tuple[tuple[Phase, Callable[[Facts], str]], ...] = (
    (Phase.SUSPENDED, _suspended),
    (Phase.ABSENT, lambda facts: "there is no RayService of that name" if facts.service is None else ""),
    (Phase.FAILED, _failed),
    (Phase.HELD, _held),
    (Phase.UPGRADING, _upgrading),
    (Phase.DEGRADED, _degraded),
    (Phase.SERVING, _serving),
    (Phase.STARTING, _starting),
)


def _release(cluster: Cluster | None) -> str:
    return (cluster.release or cluster.name) if cluster else "nothing"


def _cluster(facts: Facts, one: Cluster) -> ClusterStatus:
    replicas: dict[str, int] = {}
    for app in one.apps:
        for deployment in app.deployments if app.name != GATE else ():
            for state, count in deployment.replicas.items():
                replicas[state] = replicas.get(state, 0) + count
    groups = tuple(
        GroupStatus(
            name=group.name,
            ready=sum(pod.ready for pod in group.pods),
            wanted=group.wanted if one.role != "retired" else len(group.pods),
            pending=sum(pod.pending for pod in group.pods),
        )
        for group in one.groups
    )
    return ClusterStatus(
        name=one.name,
        role=one.role,
        release=one.release,
        age_s=_seconds(facts, one.created) if one.object else None,
        deleting=one.deleting,
        groups=groups,
        apps={app.name: app.status for app in one.apps},
        replicas=dict(sorted(replicas.items())),
        time_left_s=_time_left(facts, one),
        traffic=facts.share(one.role),
    )


def _time_left(facts: Facts, one: Cluster) -> int | None:
    """KubeRay keeps its deletion times in memory; the last change of UpgradeInProgress is when it set the newest."""
    upgrade = condition_of(facts.service, "UpgradeInProgress")
    if one.role != "retired" or one.deleting or upgrade.get("status") != "False" or one.created >= since(upgrade):
        return None
    delay = timedelta(seconds=number(facts.service, "spec", "rayClusterDeletionDelaySeconds", default=60))
    return max(int((delay - facts.age(since(upgrade))).total_seconds()), 0)


def _conditions(facts: Facts) -> Iterable[ConditionStatus]:
    for one in sorted(items(facts.service, "status", "conditions"), key=lambda one: text(one, "type")):
        yield ConditionStatus(
            text(one, "type"),
            text(one, "status"),
            text(one, "reason"),
            shown(text(one, "message")),
            _seconds(facts, since(one)),
        )


def _addresses(facts: Facts) -> Iterable[str]:
    for service in facts.of("Service"):
        if name_of(service) != facts.serve_service or facts.incremental:  # that one comes and goes with a cluster
            continue
        yield f"http://{facts.serve_service}.{facts.namespace}.svc:{SERVE_PORT}"
        for one in items(service, "status", "loadBalancer", "ingress"):
            if place := text(one, "ip") or text(one, "hostname"):
                yield f"http://{place}:{SERVE_PORT}"
    for gateway in facts.of("Gateway"):
        for one in items(gateway, "status", "addresses"):
            if place := text(one, "value"):
                yield f"http://{place}"


def _warnings(facts: Facts) -> Iterable[str]:
    if facts.deleting:
        deleted = moment(text(facts.service, "metadata", "deletionTimestamp"))
        yield f"it is being deleted, since {_seconds(facts, deleted)} s"
    if facts.stale_service:
        yield f"{facts.serve_service} selects {facts.selected}, which is gone"
    for one in facts.live:
        failed = [app.name for app in one.apps if app.status in ("DEPLOY_FAILED", "UNHEALTHY")]
        if failed:
            yield f"{', '.join(failed)} on the {one.role} cluster {one.name} failed: see `switchyard doctor`"
    for entry in facts.snapshot.unreadable:
        yield f"not seen: {shown(entry)}"


def _seconds(facts: Facts, then: datetime) -> int:
    return int(facts.age(then).total_seconds())
