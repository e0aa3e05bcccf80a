"""A RayCluster of a service, with its role, pods and applications. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

from kuberay.look.objects import App, Pod, items, label, mapping, number, text
from kuberay.names import GATE, RELEASE
from kuberay.snapshot import Object


@dataclass(frozen=True)
class Group:
    """A worker group (or the head) of a cluster: what is asked for and the pods there are."""

    name: str
    wanted: int
    pods: tuple[Pod, ...]


@dataclass(frozen=True)
class Cluster:
    """A RayCluster of the service.

    Attributes:
        role: ``active`` (serves), ``pending`` (is to serve), or ``retired`` (waits for its deletion).
        object: the RayCluster; empty where the service names one that does not exist (or was not read).
    """

    name: str
    role: str
    release: str
    created: datetime
    deleting: bool
    pods: tuple[Pod, ...]
    apps: tuple[App, ...]
    object: Object

    @property
    def head(self) -> Pod | None:
        return next((one for one in self.pods if one.head), None)

    @property
    def healthy(self) -> bool:
        """Every pod is ready and every application runs."""
        return bool(self.apps) and all(one.healthy for one in self.apps) and all(one.settled for one in self.pods)

    @property
    def held(self) -> bool:
        """Everything runs but the gate, which waits for a decision."""
        others = [one for one in self.apps if one.name != GATE]
        gates = [one for one in self.apps if one.name == GATE]
        return bool(others and gates) and all(one.healthy for one in others) and gates[0].status == "DEPLOYING"

    def node_of(self, replica: str) -> str:
        """The address at which a Serve replica is, or ``""``."""
        found = (deployment.places.get(replica, "") for app in self.apps for deployment in app.deployments)
        return next((one for one in found if one), "")

    @property
    def groups(self) -> tuple[Group, ...]:
        """Head first, then the worker groups in the spec's order."""
        by_group: dict[str, list[Pod]] = defaultdict(list)
        for one in self.pods:
            by_group["head" if one.head else one.group].append(one)
        result = [Group("head", 1, tuple(by_group.pop("head", [])))]
        for spec in items(self.object, "spec", "workerGroupSpecs"):
            name = text(spec, "groupName")
            # With the incremental strategy KubeRay leaves replicas out, which the CRD makes a 0.
            replicas = max(number(spec, "replicas"), number(spec, "minReplicas"))
            wanted = replicas * number(spec, "numOfHosts", default=1)
            result.append(Group(name, wanted, tuple(by_group.pop(name, []))))
        result += [Group(name, len(pods), tuple(pods)) for name, pods in sorted(by_group.items())]
        return tuple(result)


def release_of_cluster(item: Object, pods: list[Pod]) -> str:
    """The release in the pod templates; where those were not read, in the pods."""
    template = mapping(item, "spec", "headGroupSpec", "template")
    return label(template, RELEASE) or next((found for one in pods if (found := label(one.object, RELEASE))), "")
