"""Changes that KubeRay accepts and that then do harm. Pure; each trap says what would happen and what to do instead."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from kuberay.manifests.rayservice import Json
from kuberay.names import INCREMENTAL
from kuberay.release import CONFIG_KEY, parse
from kuberay.snapshot import Snapshot, condition_of, dig

SCALING_KEYS = ("autoscaling_config", "num_replicas")
DEFAULT_DELETION_DELAY_S = 60


@dataclass(frozen=True)
class Trap:
    """A reason not to apply.

    Attributes:
        id: stable name.
        why: what would happen.
        instead: what to do.
    """

    id: str
    why: str
    instead: str


def traps(snapshot: Snapshot, wanted: Json, *, new_cluster: bool) -> Iterator[Trap]:
    """Every trap that applying ``wanted``, a RayService, would walk into.

    Args:
        snapshot: what is there.
        wanted: the RayService as it would be stored.
        new_cluster: whether KubeRay would start a new RayCluster for it.
    """
    before = snapshot.service
    if before is None:
        return
    if condition_of(before, "UpgradeInProgress").get("status") == "True" and new_cluster:
        green = dig(before, "status", "pendingServiceStatus", "rayClusterName", default="?")
        yield Trap(
            "upgrade-running",
            f"An upgrade to RayCluster {green} is under way. KubeRay would drop that cluster and start a third, so "
            "that GPUs for three are needed for a while.",
            "switchyard abort takes it back, or let it finish (switchyard status); then do this.",
        )
    yield from _serve_config(before, wanted, new_cluster)
    yield from _operator(snapshot, new_cluster)
    yield from _strategy(before, wanted)
    yield from _deletion_delay(snapshot, before, wanted, new_cluster)


def _serve_config(before: Any, wanted: Json, new_cluster: bool) -> Iterator[Trap]:
    old, new = (_without_scaling(dig(item, "spec", "serveConfigV2", default="")) for item in (before, wanted))
    if old != new and not new_cluster:
        yield Trap(
            "serve-config-only",
            "serveConfigV2 changes in more than scaling while the pods stay the same. KubeRay hands it to the running "
            "cluster, and Serve restarts the replicas there one by one: no second cluster, no check, no way back.",
            "Put what decides the answers into model, engine or serving of the service file: it travels with the pods.",
        )


def _without_scaling(text: str) -> Any:
    try:
        data: Any = yaml.safe_load(text) or {}
    except yaml.YAMLError:
        return text
    for application in dig(data, "applications", default=[]):
        for deployment in dig(application, "deployments", default=[]):
            for key in SCALING_KEYS:
                deployment.pop(key, None)
    return data


def _operator(snapshot: Snapshot, new_cluster: bool) -> Iterator[Trap]:
    """With another operator version the active RayCluster is overwritten before hashes are compared (code read)."""
    active = snapshot.cluster("active")
    if not new_cluster or active is None:
        return
    made_by = dig(active, "metadata", "annotations", "ray.io/kuberay-version", default="").removeprefix("v")
    for deployment in snapshot.of("Deployment"):
        containers = dig(deployment, "spec", "template", "spec", "containers", default=[])
        image = next((one["image"] for one in containers if "kuberay" in one.get("image", "")), None)
        if image is None:
            continue
        name, namespace = deployment["metadata"]["name"], deployment["metadata"]["namespace"]
        updated = dig(deployment, "status", "updatedReplicas", default=0)
        observed = dig(deployment, "status", "observedGeneration") == dig(deployment, "metadata", "generation")
        if not observed or updated < dig(deployment, "spec", "replicas", default=1):
            yield Trap(
                "operator-rollout",
                f"The KubeRay operator ({name}) is being rolled out. A change of the pods applied meanwhile may be "
                "written over the running cluster's description without ever reaching its pods.",
                f"Wait: kubectl -n {namespace} rollout status deployment/{name}",
            )
        version = re.search(r":v?(\d+\.\d+\.\d+)", image)
        if made_by and version and made_by != version[1]:
            cluster = active["metadata"]["name"]
            yield Trap(
                "operator-upgraded",
                f"RayCluster {cluster} was last written by KubeRay {made_by}, but the operator is {version[1]}. Until "
                "it has taken the cluster over, a change of the pods is absorbed: the cluster's description changes, "
                "its pods do not.",
                f"Wait until the annotation ray.io/kuberay-version of RayCluster {cluster} shows {version[1]}.",
            )


def _strategy(before: Any, wanted: Json) -> Iterator[Trap]:
    old, new = (dig(item, "spec", "upgradeStrategy", "type", default="NewCluster") for item in (before, wanted))
    if old != new and INCREMENTAL in (old, new):
        name = wanted["metadata"]["name"]
        yield Trap(
            "strategy-change",
            f"upgradeStrategy changes from {old} to {new} on a live service. KubeRay stops maintaining what the old "
            f"one routed through, and {name}-serve-svc may go on selecting a cluster that is deleted later (KubeRay "
            "issue #5148).",
            "Deploy a second service with the new strategy, move the clients, and delete this one.",
        )


def _deletion_delay(snapshot: Snapshot, before: Any, wanted: Json, new_cluster: bool) -> Iterator[Trap]:
    if not new_cluster:
        return
    delay = dig(wanted, "spec", "rayClusterDeletionDelaySeconds", default=DEFAULT_DELETION_DELAY_S)
    longest = max((_longest_request_s(item) for item in snapshot.of("ConfigMap")), default=0)
    if delay < longest:
        yield Trap(
            "deletion-delay",
            f"The old cluster would be deleted {delay} s after the switch, but the release that runs allows requests "
            f"of {longest} s: streams would be cut.",
            f"Set kubernetes.upgrade.keep_old_s to {longest} or more.",
        )


def _longest_request_s(config_map: Any) -> int:
    seconds = dig(parse(dig(config_map, "data", CONFIG_KEY)), "serving", "max_request_s", default=0)
    return math.ceil(seconds) if isinstance(seconds, int | float) else 0
