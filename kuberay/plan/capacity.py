"""What a new cluster beside the old one takes: GPUs, minutes, money. Pure; money only where prices are given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kuberay.accelerators import GKE_ACCELERATOR_LABEL, GKE_SPOT_LABEL
from kuberay.look.objects import created, gpus_of, moment
from kuberay.manifests.rayservice import Json, group_pods
from kuberay.names import NODE_TYPE_LABEL
from kuberay.snapshot import Object, Snapshot, by_steps, condition_of, dig, is_ready, labels


@dataclass(frozen=True)
class Prices:
    """What GPUs cost.

    Attributes:
        of: (value of the label ``cloud.google.com/gke-accelerator``, spot) -> US dollars an hour for one GPU with its
            share of the machine, or None where it is not known.
        source: what these numbers are, to be told with each sum made of them.
    """

    of: Callable[[str, bool], float | None]
    source: str


UNPRICED = Prices(lambda label, spot: None, "")


@dataclass(frozen=True)
class Switch:
    """What a switch takes.

    Attributes:
        gpus_now: GPUs of the running cluster's pods.
        gpus_new: GPUs the new cluster starts with.
        gpus_most: GPUs both may grow to while they run side by side.
        minutes: how long the running cluster took from its making to its first ready worker; None if not seen.
        dollars: price of the new GPUs for that time, and of the old ones until they are deleted; None if not priced.
        prices: what the sum was made of.
        kept_s: how long the old cluster stays after the switch; 0 where there is none.
        warm: it is a way back meanwhile.
    """

    gpus_now: int
    gpus_new: int
    gpus_most: int
    minutes: float | None
    dollars: float | None
    prices: str = ""
    kept_s: int = 0
    warm: bool = True

    @property
    def kept_gpu_hours(self) -> float:
        """What keeping the old cluster takes, at the size it has now."""
        return self.gpus_now * self.kept_s / 3600


def switch(snapshot: Snapshot, wanted: Json, prices: Prices) -> Switch:
    """What it takes to bring up ``wanted``, a RayService, beside the cluster that is active."""
    active = snapshot.cluster("active")
    pods = snapshot.pods(active["metadata"]["name"]) if active else []
    new = dig(wanted, "spec", "rayClusterConfig", default={})
    now = sum(gpus_of(dig(pod, "spec")) for pod in pods)
    minutes = _start_minutes(active, pods) if active else None
    most = gpus(new, "maxReplicas") + (gpus(dig(active, "spec", default={}), "maxReplicas") if active else 0)
    delay = dig(wanted, "spec", "rayClusterDeletionDelaySeconds", default=60)
    dollars = None
    if minutes is not None:
        coming = _hourly(new, prices)
        leaving = _hourly(dig(active, "spec", default={}), prices)
        if coming is not None and leaving is not None:
            dollars = coming * minutes / 60 + leaving * delay / 3600
    kept_s = delay if active else 0
    return Switch(
        now, gpus(new, "minReplicas"), most, minutes, dollars, prices.source, kept_s, warm=not by_steps(wanted)
    )


def gpus(cluster: Json, bound: str) -> int:
    """GPUs of a RayClusterSpec with each worker group at its ``minReplicas`` or ``maxReplicas``."""
    groups = cluster.get("workerGroupSpecs", [])
    return sum(group_pods(group, bound) * gpus_of(dig(group, "template", "spec")) for group in groups)


def _hourly(cluster: Json, prices: Prices) -> float | None:
    total = 0.0
    for group in cluster.get("workerGroupSpecs", []):
        count = gpus({"workerGroupSpecs": [group]}, "minReplicas")
        selector = dig(group, "template", "spec", "nodeSelector", default={})
        price = prices.of(selector.get(GKE_ACCELERATOR_LABEL, ""), selector.get(GKE_SPOT_LABEL) == "true")
        if count and price is None:
            return None
        total += count * (price or 0.0)
    return total


def _start_minutes(cluster: Object, pods: list[Object]) -> float | None:
    ready = [
        condition_of(pod, "Ready").get("lastTransitionTime")
        for pod in pods
        if labels(pod).get(NODE_TYPE_LABEL) == "worker" and is_ready(pod)
    ]
    times = sorted(moment(one) for one in ready if one)
    return (times[0] - created(cluster)).total_seconds() / 60 if times else None
