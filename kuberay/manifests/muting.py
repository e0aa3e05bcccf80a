"""What of a RayCluster KubeRay's hash leaves out: a change of it makes no new cluster. Pure.

``utils/util.go`` GenerateHashWithoutReplicasAndWorkersToDelete, KubeRay 1.6.1 and 1.7.0; see ``plan/diff.py`` for what
becomes of such changes. ``tests/e2e/test_kuberayrules.py`` asks KubeRay's own code.
"""

from __future__ import annotations

import copy
from typing import cast

from kuberay.fields import quantity
from kuberay.manifests.rayservice import Json
from kuberay.snapshot import dig

MUTED = ("replicas", "minReplicas", "maxReplicas")
"""Of a worker group."""


def muted(cluster: Json) -> Json:
    """A RayClusterSpec as KubeRay hashes it: without what does not make a new cluster."""
    spec = copy.deepcopy(cluster)
    spec.pop("upgradeStrategy", None)
    spec.pop("suspend", None)
    for group in [spec.get("headGroupSpec", {}), *spec.get("workerGroupSpecs", [])]:
        for key in MUTED:
            group.pop(key, None)
        dig(group, "scaleStrategy", default={}).pop("workersToDelete", None)
        if not group.get("scaleStrategy"):
            group.pop("scaleStrategy", None)
        pod = dig(group, "template", "spec", default={})
        for key in ("tolerations", "schedulingGates"):
            pod.pop(key, None)
        for container in [*pod.get("containers", []), *pod.get("initContainers", [])]:
            for amounts in dig(container, "resources", default={}).values():
                if isinstance(amounts, dict):
                    written = cast("Json", amounts)
                    written.update({resource: quantity(value) for resource, value in written.items()})
    return spec
