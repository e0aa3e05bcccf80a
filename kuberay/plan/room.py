"""Whether a new cluster's pods find room on the nodes, beside what runs there. Pure.

The scheduler's own sum: what a node has for pods, less what its pods ask for. Taints, affinities and init containers
are left out, so that there may be less room than is said here, never more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from kuberay.accelerators import GPU_RESOURCE
from kuberay.fields import quantity
from kuberay.look.objects import name_of
from kuberay.manifests.rayservice import Json, group_pods
from kuberay.snapshot import Object, dig, labels

Used = Mapping[str, Mapping[str, Decimal]]
"""What pods ask for, by node and resource."""
_RESOURCES = (GPU_RESOURCE, "cpu", "memory")
_NONE = Decimal(0)
_GIB = 2**30


@dataclass(frozen=True)
class Problem:
    """Something in the way.

    Attributes:
        refuses: it is certain, and deploying stops before anything is written.
        what: one sentence.
        next: what to do.
    """

    refuses: bool
    what: str
    next: str


@dataclass(frozen=True)
class _Group:
    """Pods alike: the head, or a worker group."""

    title: str
    count: int
    needs: Mapping[str, Decimal]
    selector: Mapping[str, str]

    @property
    def where(self) -> str:
        return ",".join(f"{key}={value}" for key, value in self.selector.items()) or "any"


def requests(pods: Iterable[Json]) -> dict[str, Decimal]:
    """What the containers of these pod specs ask for in all, by resource: cores, bytes, GPUs."""
    total: dict[str, Decimal] = {}
    for pod in pods:
        for container in pod.get("containers", []):
            resources = container.get("resources", {})
            for name, amount in {**resources.get("limits", {}), **resources.get("requests", {})}.items():
                total[name] = total.get(name, _NONE) + quantity(amount)
    return total


def shortages(nodes: Sequence[Object], cluster: Json, used: Used, *, grows: bool) -> Iterator[Problem]:
    """What of a RayClusterSpec, with each worker group at its ``minReplicas``, does not fit.

    Args:
        nodes: all of them; none where they may not be read, and then nothing is said.
        cluster: the new cluster, which comes beside whatever is there.
        used: by pods of any namespace.
        grows: a cluster autoscaler adds nodes.
    """
    nodes = [node for node in nodes if not dig(node, "spec", "unschedulable", default=False)]
    if not nodes:
        return
    free = {name_of(node): _free(node, used.get(name_of(node), {})) for node in nodes}
    # First those that few nodes can take: a worker without its GPU's node is lost, a head goes anywhere.
    for group in sorted(_groups(cluster), key=lambda one: one.needs.get(GPU_RESOURCE, _NONE), reverse=True):
        fitting = [node for node in nodes if _selected(node, group.selector)]
        problem = _gpus(group, fitting, free, grows=grows)
        placed = _place(group, [free[name_of(node)] for node in fitting])
        if problem is None and placed < group.count and fitting:
            problem = _others(group, fitting, placed, grows=grows)
        if problem is not None:
            yield problem


def _groups(cluster: Json) -> Iterator[_Group]:
    head: Json = dig(cluster, "headGroupSpec", "template", "spec", default={})
    yield _Group("The head", 1, requests([head]), head.get("nodeSelector", {}))
    for group in cluster.get("workerGroupSpecs", []):
        pod: Json = dig(group, "template", "spec", default={})
        title = f"Worker group {group['groupName']}"
        yield _Group(title, group_pods(group), requests([pod]), pod.get("nodeSelector", {}))


def _gpus(
    group: _Group, fitting: list[Object], free: Mapping[str, Mapping[str, Decimal]], *, grows: bool
) -> Problem | None:
    each = int(group.needs.get(GPU_RESOURCE, 0))
    if not each or not group.count:
        return None
    room = sum(int(max(free[name_of(node)][GPU_RESOURCE], _NONE)) // each for node in fitting)
    if room >= group.count:
        return None
    largest = max((int(_allocatable(node, GPU_RESOURCE)) for node in fitting), default=0)
    s, each_s = "s" * (group.count > 1), "s" * (each > 1)
    needs = f"{group.title} needs {group.count} pod{s} of {each} GPU{each_s}"
    if grows:
        return Problem(
            False,
            f"{needs}; on the nodes there are now, {room} fit{'s' * (room == 1)} (nodes: {group.where}).",
            "The cluster autoscaler has to add the rest: see that the node pool's maximum and the quota allow it.",
        )
    if fitting and largest < each:
        return Problem(
            True,
            f"{needs}, but no node has more than {largest} (nodes: {group.where}).",
            "Lower engine.tensor_parallel_size, or use nodes with more GPUs.",
        )
    why = f"{room} fit{'s' * (room == 1)}" if fitting else "there is no such node"
    return Problem(
        True,
        f"{needs}, but {why} (nodes: {group.where}), and nothing here adds nodes.",
        "Free GPUs (switchyard status shows who holds them), add nodes, or lower scaling.min_replicas.",
    )


def _others(group: _Group, fitting: list[Object], placed: int, *, grows: bool) -> Problem:
    """CPU or memory: what no node has at all can never be had; what others hold now may be free in time."""
    pods = f"{group.count} pods" if group.count > 1 else "a pod"
    needs = f"{group.title} needs {pods} of {_shown(group.needs)}"
    for resource in ("cpu", "memory"):
        largest = max(_allocatable(node, resource) for node in fitting)
        if group.needs.get(resource, _NONE) > largest and not grows:
            return Problem(
                True,
                f"{needs}, but no node has more than {_shown({resource: largest})} (nodes: {group.where}).",
                "Ask for less (kubernetes.head, kubernetes.worker_groups), or use larger nodes.",
            )
    what = f"{needs}; beside what runs there now, {placed} fit{'s' * (placed == 1)} (nodes: {group.where})."
    if grows:
        return Problem(False, what, "The cluster autoscaler has to add the rest.")
    return Problem(False, what, "It waits until there is room. Stop something else, or ask for less.")


def _place(group: _Group, rooms: Sequence[dict[str, Decimal]]) -> int:
    """Pods that found a place, each in the first room that has all it asks for, which it takes away from there."""
    needs = {name: group.needs.get(name, _NONE) for name in _RESOURCES}
    for placed in range(group.count):
        room = next((one for one in rooms if all(one[name] >= needs[name] for name in needs)), None)
        if room is None:
            return placed
        for name, amount in needs.items():
            room[name] -= amount
    return group.count


def _free(node: Object, used: Mapping[str, Decimal]) -> dict[str, Decimal]:
    return {name: _allocatable(node, name) - used.get(name, _NONE) for name in _RESOURCES}


def _allocatable(node: Object, resource: str) -> Decimal:
    """What a node has for pods. One that does not say how much CPU or memory it has is not what a pod waits for."""
    unsaid = 0 if resource == GPU_RESOURCE else "Infinity"
    return Decimal(quantity(dig(node, "status", "allocatable", resource, default=unsaid)))


def _shown(amounts: Mapping[str, Decimal]) -> str:
    said: dict[str, Callable[[Decimal], str]] = {
        "cpu": lambda amount: f"{amount.normalize():f} CPUs",
        "memory": lambda amount: f"{amount / _GIB:.3g} GiB",
        GPU_RESOURCE: lambda amount: f"{amount} GPU{'s' * (amount > 1)}",
    }
    return ", ".join(show(amounts[name]) for name, show in said.items() if name in amounts)


def _selected(node: Object, selector: Mapping[str, str]) -> bool:
    mine = labels(node)
    return all(mine.get(key) == value for key, value in selector.items())
