"""What KubeRay's operator was started with, as far as its Deployment tells. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kuberay.snapshot import Object, Snapshot, dig

FEATURE = "RayServiceIncrementalUpgrade"
ON_SINCE = (1, 7)
"""The first KubeRay with the gate ``FEATURE`` on by default (ray-operator pkg/features/features.go)."""


def incremental_upgrade(snapshot: Snapshot) -> bool | None:
    """Whether the operator heeds the strategy NewClusterWithIncrementalUpgrade; None where that cannot be seen."""
    for deployment in snapshot.of("Deployment"):
        for container in dig(deployment, "spec", "template", "spec", "containers", default=[]):
            image = str(dig(container, "image", default=""))
            if "kuberay" not in image:
                continue
            words = [*dig(container, "command", default=[]), *dig(container, "args", default=[])]
            told = re.search(rf"\b{FEATURE}=(\w+)", " ".join(map(str, words)))
            if told:
                return told[1].lower() in ("true", "t", "1")
            version = next(_versions(image, snapshot), None)
            return None if version is None else version >= ON_SINCE
    return None


def _versions(image: str, snapshot: Snapshot) -> Iterator[tuple[int, int]]:
    """The operator's version: its image's tag, else what it wrote on the clusters it made."""
    clusters: Iterator[Object] = snapshot.of("RayCluster")
    written = (dig(one, "metadata", "annotations", "ray.io/kuberay-version", default="") for one in clusters)
    for one in (image.rpartition(":")[2], *written):
        if found := re.match(r"v?(\d+)\.(\d+)\b", str(one)):
            yield int(found[1]), int(found[2])
