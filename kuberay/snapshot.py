"""What was seen of one service at one moment: Kubernetes objects as the API server gave them, Serve's report, logs.

Everything that explains or plans (``status``, ``diff``, ``doctor``) reads a :class:`Snapshot` and nothing else, so
that a bundle taken on one machine is understood on another, and a test is a file. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from kuberay.names import CLUSTER_LABEL, INCREMENTAL, NODE_TYPE_LABEL, RELEASE, suspended_name

Object = Mapping[str, Any]
"""A Kubernetes object in the API's JSON form. Secrets hold their keys with empty values, never their contents."""


@dataclass(frozen=True)
class Snapshot:
    """One service at one moment.

    Attributes:
        taken: RFC 3339 time in UTC at which reading began.
        context: kubeconfig context, or ``in-cluster``.
        namespace: the service's namespace.
        name: the RayService's name.
        objects: what was read: the RayService, its RayClusters, Pods, Services, EndpointSlices, ConfigMaps, Secrets
            (keys only), PersistentVolumeClaims, events of all of them; Nodes, ResourceQuotas, the CRDs' names and
            versions, the operator's Deployment.
        serve: by RayCluster name, the dashboard's answer to ``GET /api/serve/applications/``.
        logs: by ``pod/container`` (``pod/container/previous`` for the one before a restart), the end of the log; by
            ``CLUSTER/autoscaler`` Ray's report of what it cannot place, by ``CLUSTER/REPLICA/err`` (and ``out``) what
            a Serve replica wrote.
        unreadable: what could not be read, each with the reason; explanations must say what they could not see.
    """

    taken: str
    context: str
    namespace: str
    name: str
    objects: tuple[Object, ...] = ()
    serve: Mapping[str, Any] = field(default_factory=dict[str, Any])
    logs: Mapping[str, str] = field(default_factory=dict[str, str])
    unreadable: tuple[str, ...] = ()

    def of(self, kind: str) -> Iterator[Object]:
        """Objects of a kind, in the order they were read."""
        return (item for item in self.objects if item.get("kind") == kind)

    def named(self, kind: str, name: str) -> Object | None:
        """The object of that kind and name."""
        return next((item for item in self.of(kind) if item["metadata"]["name"] == name), None)

    @property
    def service(self) -> Object | None:
        """The RayService, or None where there is none."""
        return self.named("RayService", self.name)

    @property
    def put_away(self) -> Object | None:
        """What a service is kept as while it is suspended, where KubeRay (before 1.7) cannot suspend it itself."""
        return self.named("ConfigMap", suspended_name(self.name))

    def cluster(self, which: str) -> Object | None:
        """The RayCluster that is ``active`` or ``pending`` according to the RayService's status."""
        name = dig(self.service, "status", f"{which}ServiceStatus", "rayClusterName", default="")
        return self.named("RayCluster", name) if name else None

    def pods(self, cluster: str) -> list[Object]:
        """The pods of a RayCluster, head first."""
        mine = [pod for pod in self.of("Pod") if labels(pod).get(CLUSTER_LABEL) == cluster]
        return sorted(mine, key=lambda pod: (labels(pod).get(NODE_TYPE_LABEL) != "head", pod["metadata"]["name"]))


def dig(item: Any, *path: str | int, default: Any = None) -> Any:
    """``item[a][b]...``, or ``default`` where a step is missing or null."""
    for step in path:
        if isinstance(item, Mapping):
            item = cast("Mapping[Any, Any]", item).get(step)
        elif isinstance(item, list) and isinstance(step, int):
            items = cast("list[Any]", item)
            item = items[step] if -len(items) <= step < len(items) else None
        else:
            return default
    return default if item is None else item


def release_of(item: Object | None) -> str:
    """The release that a RayService asks for, or that a RayCluster runs: KubeRay copies the annotation. Empty: none."""
    return dig(item, "metadata", "annotations", RELEASE, default="")


def by_steps(service: Object | None) -> bool:
    """Whether a RayService moves its traffic by steps, through a Gateway."""
    return dig(service, "spec", "upgradeStrategy", "type") == INCREMENTAL


def labels(item: Object) -> Mapping[str, str]:
    """An object's labels."""
    return dig(item, "metadata", "labels", default={})


def is_ready(item: Any) -> bool:
    """Whether its status says so: of a pod, that its probes succeed."""
    return condition_of(item, "Ready").get("status") == "True"


def gets_traffic(pod: Object) -> bool:
    """Whether a pod is an endpoint: one that leaves is none any more, ready or not."""
    return is_ready(pod) and "deletionTimestamp" not in pod["metadata"]


def condition_of(item: Any, kind: str) -> Mapping[str, Any]:
    """The status condition of that type, or an empty mapping; whatever shape the item has."""
    found = dig(item, "status", "conditions", default=[])
    for one in cast("list[Any]", found) if isinstance(found, list) else ():
        if isinstance(one, Mapping):
            mapping = cast("Mapping[str, Any]", one)
            if mapping.get("type") == kind:
                return mapping
    return {}
