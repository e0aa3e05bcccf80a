"""Fields that only newer KubeRay versions have: manifests are written for 1.7, an older cluster goes without. Pure."""

from __future__ import annotations

import copy

from kuberay.errors import Refused
from kuberay.manifests.rayservice import Json
from kuberay.snapshot import Object, dig

CRD_NAME = "rayservices.ray.io"


def uses_later_fields(service: Json) -> bool:
    """Whether a RayService has fields that KubeRay 1.6 does not know: the CRD, a megabyte, is read only then."""
    cluster = dig(service, "spec", "rayClusterConfig", default={})
    groups = cluster.get("workerGroupSpecs", [])
    return any("priority" in group for group in groups) or bool(dig(cluster, "gcsFaultToleranceOptions", "backend"))


def fitted(service: Json, crd: Object) -> tuple[Json, list[str]]:
    """The RayService with the fields that the cluster's KubeRay knows, and what was left out, one sentence each.

    Raises:
        Refused: without the field the service would not be what was asked for.
    """
    schema = _schema(crd)
    service, left_out = copy.deepcopy(service), list[str]()
    cluster = service["spec"]["rayClusterConfig"]
    known = dig(schema, "gcsFaultToleranceOptions", "properties", default={})
    if dig(cluster, "gcsFaultToleranceOptions", "backend") and "backend" not in known:
        raise Refused(
            "kubernetes.gcs_fault_tolerance.backend rocksdb needs KubeRay 1.7; the one installed is older. Upgrade it, "
            "or use redis."
        )
    if "priority" not in dig(schema, "workerGroupSpecs", "items", "properties", default={}):
        for group in cluster.get("workerGroupSpecs", []):
            if group.pop("priority", None) is not None:
                name = group["groupName"]
                left_out.append(
                    f"worker group {name}: priority is left out, which this KubeRay does not know (1.7 does)"
                )
    return service, left_out


def _schema(crd: Object) -> Json:
    """Properties of ``spec.rayClusterConfig`` in the version that is stored."""
    for version in dig(crd, "spec", "versions", default=[]):
        if version.get("storage"):
            top = dig(version, "schema", "openAPIV3Schema", "properties", "spec", "properties", default={})
            return dig(top, "rayClusterConfig", "properties", default={})
    return {}
