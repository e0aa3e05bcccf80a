"""What is seen of a service while it changes: a few facts out of a snapshot, so that every case can be written down.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from kuberay.look.stages import trouble
from kuberay.names import CLUSTER_LABEL, GATE, INCREMENTAL, SERVE_LABEL
from kuberay.snapshot import Snapshot, dig, gets_traffic, labels, release_of
from serve_app.decision import Decision, Verb, config_map, parse


class Apps(StrEnum):
    """The applications of a cluster that waits to serve, as KubeRay last saw them."""

    NONE = "none"
    STARTING = "starting"
    HELD = "held"  # all run but the gate
    RUNNING = "running"
    FAILED = "failed"


ALL = 100
"""Per cent."""
NEVER_S = 315_360_000
"""Ten years: an interval after which KubeRay moves nothing by itself."""


@dataclass(frozen=True)
class Pace:
    """How KubeRay moves traffic, with the incremental strategy: so many per cent, each so many seconds."""

    step: int
    interval_s: int

    @property
    def ours(self) -> bool:
        """It is one of a rollout's, not a service file's."""
        return self.interval_s == NEVER_S


HELD = Pace(0, NEVER_S)
"""Nothing moves."""


@dataclass(frozen=True)
class Seen:
    """A service at one moment.

    Attributes:
        spec_release: the release that the RayService asks for; empty where there is no RayService.
        strategy: its upgrade strategy.
        observed: KubeRay has seen the spec as it is now.
        active: the RayCluster that serves, empty where none does.
        pending: the one that is to serve next.
        alive: release by RayCluster, of those that are there to stay.
        leaving: RayClusters that are being deleted, and have pods.
        ready: ready pods by RayCluster that get traffic where their cluster does.
        apps: the applications of the pending cluster.
        trouble: what KubeRay reports of them.
        decisions: by release.
        pace: of the incremental strategy; None with any other.
        surge: most of the capacity that it moves at a time, per cent, and so the largest step.
        traffic: per cent of it that go to the pending cluster.
        nudged: of the active and the pending cluster, those that get a step of traffic whatever the interval.
    """

    spec_release: str = ""
    strategy: str = ""
    observed: bool = True
    active: str = ""
    pending: str = ""
    alive: Mapping[str, str] = field(default_factory=dict[str, str])
    leaving: frozenset[str] = frozenset()
    ready: Mapping[str, int] = field(default_factory=dict[str, int])
    apps: Apps = Apps.NONE
    trouble: str = ""
    decisions: Mapping[str, Decision] = field(default_factory=dict[str, Decision])
    pace: Pace | None = None
    surge: int = ALL
    traffic: int = 0
    nudged: frozenset[str] = frozenset()

    def paced(self, percent: int) -> Pace:
        """So many per cent in one step, or as many as one may have."""
        return Pace(min(percent, self.surge), NEVER_S)

    def release_of(self, cluster: str) -> str:
        """The release a cluster runs; empty where it is gone."""
        return self.alive.get(cluster, "")

    def approved(self, release: str, cluster: str) -> bool:
        """Whether it was decided that a release may serve, there or wherever it runs."""
        decision = self.decisions.get(release)
        return decision is not None and decision.verb is Verb.APPROVE and decision.cluster in ("", cluster)


def seen(snapshot: Snapshot) -> Seen:
    """The facts in a snapshot that holds the RayService, its RayClusters and pods, and the decisions."""
    service = snapshot.service
    clusters = list(snapshot.of("RayCluster"))
    ready: dict[str, int] = {}
    pods: set[str] = set()
    for pod in snapshot.of("Pod"):
        cluster = labels(pod).get(CLUSTER_LABEL, "")
        pods.add(cluster)
        if labels(pod).get(SERVE_LABEL) == "true" and gets_traffic(pod):
            ready[cluster] = ready.get(cluster, 0) + 1
    there = {one["metadata"]["name"] for one in clusters if "deletionTimestamp" not in one["metadata"]}
    pending = dig(service, "status", "pendingServiceStatus", "rayClusterName", default="")
    apps, said = _apps(dig(service, "status", "pendingServiceStatus", "applicationStatuses", default={}))
    if apps in (Apps.NONE, Apps.STARTING):
        # A pod without a node is why nothing goes on, whatever Serve says meanwhile.
        said = next((text for pod in snapshot.pods(pending) if (text := trouble(pod))), said)
    held = snapshot.named("ConfigMap", config_map(snapshot.name))
    decided = {release: parse(text) for release, text in dig(held, "data", default={}).items()}
    generation = dig(service, "metadata", "generation", default=0)
    return Seen(
        spec_release=release_of(service),
        strategy=dig(service, "spec", "upgradeStrategy", "type", default=""),
        observed=dig(service, "status", "observedGeneration", default=0) >= generation,
        active=dig(service, "status", "activeServiceStatus", "rayClusterName", default=""),
        pending=pending,
        alive={one["metadata"]["name"]: release_of(one) for one in clusters if one["metadata"]["name"] in there},
        leaving=frozenset(name for name in pods if name and name not in there),
        ready=ready,
        apps=apps,
        trouble=said,
        decisions={release: decision for release, decision in decided.items() if decision},
        pace=_pace(dig(service, "spec", "upgradeStrategy", default={})),
        surge=dig(service, "spec", "upgradeStrategy", "clusterUpgradeOptions", "maxSurgePercent", default=ALL),
        traffic=dig(service, "status", "pendingServiceStatus", "trafficRoutedPercent", default=0),
        nudged=frozenset(
            dig(one, "rayClusterName", default="")
            for one in (dig(service, "status", f"{which}ServiceStatus") for which in ("active", "pending"))
            if dig(one, "rayClusterName") and not dig(one, "lastTrafficMigratedTime")
        ),
    )


def _pace(strategy: Mapping[str, object]) -> Pace | None:
    options = dig(strategy, "clusterUpgradeOptions")
    if dig(strategy, "type") != INCREMENTAL or options is None:
        return None
    return Pace(dig(options, "stepSizePercent", default=0), dig(options, "intervalSeconds", default=0))


def _apps(found: Mapping[str, Mapping[str, object]]) -> tuple[Apps, str]:
    if not found:
        return Apps.NONE, ""
    state = {name: str(one.get("status", "")) for name, one in found.items()}
    for name, one in found.items():
        if state[name] in ("DEPLOY_FAILED", "UNHEALTHY"):
            return Apps.FAILED, f"{name} is {state[name]}: {' '.join(str(one.get('message', '')).split())[:300]}"
    others = [status for name, status in state.items() if name != GATE]
    if not others or any(status != "RUNNING" for status in others):
        return Apps.STARTING, ", ".join(f"{name} {status}" for name, status in state.items())
    return (Apps.RUNNING if state.get(GATE, "RUNNING") == "RUNNING" else Apps.HELD), ""
