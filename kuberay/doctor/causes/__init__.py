"""The rules by which doctor sees causes, joined. What it says of each is in ``texts/``.

A new cause: its text there, its rule or its pattern here, and a case in tests/data/bundles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kuberay.doctor.causes import engine, pods, ray, scheduling, service
from kuberay.doctor.causes.patterns import matches
from kuberay.doctor.findings import Hit
from kuberay.look.clusters import Cluster
from kuberay.look.facts import Facts

OF_SERVICE: tuple[Callable[[Facts], Iterable[Hit]], ...] = (
    service.platform,
    service.deletion,
    service.spec,
    service.clusters,
    service.traffic,
    service.warnings,
)


def _texts(facts: Facts, cluster: Cluster) -> Iterable[Hit]:
    found = list(matches(facts, cluster, (*ray.PATTERNS, *engine.PATTERNS)))
    if any(one.cause == "hub-unreachable" for one in found):
        # A replica that looks for a model runs in a Ray cluster that has formed: names inside are resolved.
        return [one for one in found if one.cause != "dns-failing"]
    return found


OF_CLUSTER: tuple[Callable[[Facts, Cluster], Iterable[Hit]], ...] = (
    scheduling.refused,
    scheduling.waiting,
    pods.starting,
    pods.failing,
    pods.replaced,
    pods.nodes,
    ray.autoscaler,
    ray.joining,
    ray.replicas,
    _texts,
)
