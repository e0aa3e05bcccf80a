"""RayServices that KubeRay refuses, or nearly: KubeRay's own code is asked about them beside ours."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kuberay.manifests.rayservice import Json
from tests.services import rendered, service

INCREMENTAL = {
    "scaling": {"max_replicas": 3},
    "kubernetes": {
        "upgrade": {"strategy": "NewClusterWithIncrementalUpgrade", "gateway_class": "istio"},
        "worker_groups": [{"name": "a"}, {"name": "b", "spot": True}],
    },
}

CLUSTER = "spec.rayClusterConfig"
HEAD = f"{CLUSTER}.headGroupSpec"
ENV = f"{HEAD}.template.spec.containers.0.env"
GROUP = f"{CLUSTER}.workerGroupSpecs.0"
UPGRADE = "spec.upgradeStrategy"
OPTIONS = f"{UPGRADE}.clusterUpgradeOptions"
FAULT_TOLERANCE = f"{CLUSTER}.gcsFaultToleranceOptions"
TIMEOUT = "metadata.annotations.ray.io/initializing-timeout"
FT_ENABLED = "metadata.annotations.ray.io/ft-enabled"
V2 = "RAY_enable_autoscaler_v2"
REDIS = {"redisAddress": "redis:6379"}
ABSENT: Any = object()


def base() -> Json:
    """A RayService that KubeRay accepts, with everything in it that there are rules for."""
    return copy.deepcopy(_BASE)


_BASE = rendered(service(INCREMENTAL), "RayService")


def changed(item: Json, changes: Mapping[str, Any]) -> Json:
    """``item`` with the values at some paths replaced (``ABSENT``: removed); ``+`` at the end of a path appends."""
    for path, value in changes.items():
        node: Any = item
        *above, last = _steps(path.removesuffix("+"))
        for step in above:
            node = _below(node, step, {})
        if path.endswith("+"):
            _below(node, last, []).append(value)
        elif value is ABSENT:
            node.pop(last, None)
        else:
            node[last] = copy.deepcopy(value)
    return item


def _below(node: Any, step: str, missing: Any) -> Any:
    return node[int(step)] if isinstance(node, list) else node.setdefault(step, missing)


def _steps(path: str) -> list[str]:
    """The steps of a path; what follows ``annotations.`` is one of them, dots and all."""
    before, found, name = path.partition("annotations.")
    return [*before.strip(".").split("."), "annotations", name] if found else path.split(".")


@dataclass(frozen=True)
class Case:
    """A change of :func:`base`.

    Attributes:
        rule: the function of validation.go that looks at it.
        changes: for :func:`changed`.
        ours: a part of our message; empty: accepted.
        stricter: refused by us on purpose where 1.6.1 accepts it, or its code breaks off.
    """

    rule: str
    changes: Mapping[str, Any]
    ours: str = ""
    stricter: bool = False

    @property
    def name(self) -> str:
        said = ",".join(f"{path.rsplit('.', 1)[-1]}={value}" for path, value in self.changes.items())
        return f"{self.rule}-{said}"[:90]

    def item(self) -> Json:
        return changed(base(), self.changes)


METADATA = "ValidateRayServiceMetadata"
SERVICE = "ValidateRayServiceSpec"
CLUSTER_SPEC = "ValidateRayClusterSpec"
UPGRADE_OPTIONS = "ValidateClusterUpgradeOptions"
RESOURCES = "validateRayGroupResources"
LABELS = "validateRayGroupLabels"
IDLE = "validateWorkerGroupIdleTimeout"
INITIALIZING = "validateInitializingTimeout"

REPEATED = {METADATA, SERVICE, CLUSTER_SPEC, UPGRADE_OPTIONS, RESOURCES, LABELS, IDLE, INITIALIZING}
"""The functions of validation.go that a RayService goes through."""

CASES = [
    Case(METADATA, {}),
    Case(METADATA, {"metadata.name": "a" * 47}),
    Case(METADATA, {"metadata.name": "a" * 48}, "metadata.name has 48 characters, at most 47 are allowed"),
    Case(METADATA, {"metadata.name": "1a"}, "metadata.name '1a' must begin with a letter"),
    Case(METADATA, {"metadata.name": "a-"}, "metadata.name 'a-' must begin with a letter"),
    Case(METADATA, {"metadata.name": "a.b"}, "metadata.name 'a.b'"),
    Case(METADATA, {"metadata.name": ""}, "metadata.name ''"),
    *[Case(INITIALIZING, {TIMEOUT: good}) for good in ("", "300", "10m", "1h30m", "+5", "1.5h", ".5m", "007", "3us")],
    *[
        Case(INITIALIZING, {TIMEOUT: bad}, f"initializing-timeout '{bad}' must be seconds or a Go duration")
        for bad in ("0", "0s", "-5m", "-1", "soon", "5 m", "1d", ".m", "1.5", "0h0m", "m")
    ],
    Case(SERVICE, {f"{HEAD}.headService": {"metadata": {"name": "x"}}}, "headService.metadata.name must not be set"),
    Case(SERVICE, {f"{HEAD}.headService": {"metadata": {"labels": {"a": "b"}}}}),
    Case(SERVICE, {UPGRADE: {"type": "BlueGreen"}}, "upgradeStrategy.type 'BlueGreen' must be one of NewCluster, "),
    Case(SERVICE, {UPGRADE: {"type": "None"}}),
    Case(SERVICE, {UPGRADE: {"type": "NewCluster"}}),
    Case(SERVICE, {UPGRADE: ABSENT}),
    Case(SERVICE, {UPGRADE: {}}, "upgradeStrategy.type is missing", stricter=True),
    Case(SERVICE, {"spec.rayClusterDeletionDelaySeconds": -1}, "rayClusterDeletionDelaySeconds must not be negative"),
    Case(SERVICE, {"spec.rayClusterDeletionDelaySeconds": 0}),
    Case(SERVICE, {f"{CLUSTER}.authOptions.enableK8sTokenAuth": True}, "enableK8sTokenAuth is not supported"),
    Case(
        SERVICE,
        {f"{CLUSTER}.authOptions": {"mode": "disabled", "enableK8sTokenAuth": True}},
        "enableK8sTokenAuth is not supported",
    ),
    Case(
        UPGRADE_OPTIONS,
        {f"{CLUSTER}.enableInTreeAutoscaling": False, f"{CLUSTER}.autoscalerOptions": ABSENT},
        "an incremental upgrade needs enableInTreeAutoscaling",
    ),
    Case(UPGRADE_OPTIONS, {OPTIONS: ABSENT}, "an incremental upgrade needs clusterUpgradeOptions"),
    Case(UPGRADE_OPTIONS, {f"{OPTIONS}.maxSurgePercent": 101}, "maxSurgePercent (101) must be between 0 and 100"),
    Case(UPGRADE_OPTIONS, {f"{OPTIONS}.maxSurgePercent": -1}, "maxSurgePercent (-1) must be between 0 and 100"),
    Case(UPGRADE_OPTIONS, {f"{OPTIONS}.stepSizePercent": 101}, "stepSizePercent (101) must be between 0 and"),
    Case(UPGRADE_OPTIONS, {f"{OPTIONS}.stepSizePercent": -1}, "stepSizePercent (-1) must be between 0 and"),
    Case(UPGRADE_OPTIONS, {f"{OPTIONS}.stepSizePercent": ABSENT}, "stepSizePercent (None) must be between"),
    Case(UPGRADE_OPTIONS, {f"{OPTIONS}.stepSizePercent": 0}),
    Case(
        UPGRADE_OPTIONS,
        {f"{OPTIONS}.stepSizePercent": 20, f"{OPTIONS}.maxSurgePercent": 10},
        "stepSizePercent (20) must be between 0 and maxSurgePercent (10)",
        stricter=True,
    ),
    Case(UPGRADE_OPTIONS, {f"{OPTIONS}.intervalSeconds": 0}, "intervalSeconds must be above 0"),
    Case(UPGRADE_OPTIONS, {f"{OPTIONS}.intervalSeconds": ABSENT}, "intervalSeconds must be above 0"),
    Case(UPGRADE_OPTIONS, {f"{OPTIONS}.gatewayClassName": ""}, "gatewayClassName is missing"),
    Case(CLUSTER_SPEC, {f"{HEAD}.template.spec.containers": []}, "head: the pod template has no container"),
    Case(CLUSTER_SPEC, {f"{GROUP}.template.spec.containers": []}, "a: the pod template has no container"),
    Case(CLUSTER_SPEC, {f"{GROUP}.minReplicas": -1}, "a: minReplicas and maxReplicas must not be negative"),
    Case(CLUSTER_SPEC, {f"{GROUP}.minReplicas": ABSENT, f"{GROUP}.maxReplicas": -1}, "a: minReplicas and maxReplicas"),
    Case(CLUSTER_SPEC, {f"{GROUP}.minReplicas": 9}, "a: minReplicas (9) is above maxReplicas (3)"),
    Case(CLUSTER_SPEC, {f"{GROUP}.minReplicas": ABSENT, f"{GROUP}.maxReplicas": ABSENT}),
    Case(CLUSTER_SPEC, {f"{GROUP}.suspend": True}, "a: a worker group cannot be suspended with autoscaling"),
    Case(CLUSTER_SPEC, {f"{GROUP}.suspend": False}),
    Case(CLUSTER_SPEC, {f"{GROUP}.groupName": "b"}, "worker groups must have names of their own", stricter=True),
    *[
        Case(RESOURCES, {f"{GROUP}.resources": {"CPU": "1"}, f"{GROUP}.rayStartParams": {key: "1"}}, "a: resources are")
        for key in ("num-cpus", "num-gpus", "memory", "resources")
    ],
    Case(RESOURCES, {f"{HEAD}.resources": {"CPU": "1"}}, "head: resources are given twice"),
    Case(RESOURCES, {f"{GROUP}.resources": {"CPU": "1"}, f"{GROUP}.rayStartParams": {"block": "true"}}),
    Case(LABELS, {f"{GROUP}.rayStartParams.labels": "a=b"}, "a: rayStartParams.labels is not supported; use labels"),
    Case(LABELS, {f"{HEAD}.rayStartParams.labels": ""}, "head: rayStartParams.labels is not supported; use labels"),
    Case(LABELS, {f"{GROUP}.labels": {"ray.io/zone": "a", "b": "", "C_1.x": "Y-z"}}),
    *[
        Case(LABELS, {f"{GROUP}.labels": {key: "x"}}, f"a: '{key}' is no name for a label")
        for key in ("", "-a", "a b", "a/b/c", "A.test/b", "/b", "a/", "x" * 64)
    ],
    *[
        Case(LABELS, {f"{HEAD}.labels": {"k": value}}, f"head: '{value}' is no value for the label k")
        for value in ("-a", "a b", "a/b", "x" * 64)
    ],
    Case(IDLE, {f"{GROUP}.idleTimeoutSeconds": -1}, "a: idleTimeoutSeconds must not be negative"),
    Case(IDLE, {f"{GROUP}.idleTimeoutSeconds": 0}),
    Case(IDLE, {f"{CLUSTER}.autoscalerOptions.version": "v1"}, "a: idleTimeoutSeconds needs autoscaler v2"),
    Case(IDLE, {f"{CLUSTER}.autoscalerOptions": ABSENT}, "a: idleTimeoutSeconds needs autoscaler v2"),
    Case(IDLE, {f"{CLUSTER}.autoscalerOptions": ABSENT, f"{ENV}+": {"name": V2, "value": "true"}}),
    Case(
        IDLE, {f"{CLUSTER}.autoscalerOptions": ABSENT, f"{ENV}+": {"name": V2, "value": "yes"}}, "needs autoscaler v2"
    ),
    Case(CLUSTER_SPEC, {f"{ENV}+": {"name": V2, "value": "0"}}, f"head: {V2} is set beside autoscalerOptions.version"),
    Case(
        CLUSTER_SPEC,
        {
            UPGRADE: ABSENT,
            f"{CLUSTER}.enableInTreeAutoscaling": False,
            f"{ENV}+": {"name": V2, "value": "1"},
        },
        f"head: {V2} is set, but enableInTreeAutoscaling is not",
    ),
    Case(CLUSTER_SPEC, {UPGRADE: ABSENT, f"{CLUSTER}.enableInTreeAutoscaling": False}),
    Case(
        CLUSTER_SPEC,
        {UPGRADE: ABSENT, f"{CLUSTER}.enableInTreeAutoscaling": ABSENT, f"{GROUP}.maxReplicas": ABSENT},
        "a: minReplicas and maxReplicas are needed without autoscaling",
    ),
    *[
        Case(CLUSTER_SPEC, {f"{where}.template.spec.restartPolicy": "Always"}, "restartPolicy must be Never with")
        for where in (HEAD, GROUP)
    ],
    Case(CLUSTER_SPEC, {f"{HEAD}.template.spec.restartPolicy": ""}),
    Case(CLUSTER_SPEC, {f"{HEAD}.template.spec.restartPolicy": "Never"}),
    Case(CLUSTER_SPEC, {f"{CLUSTER}.autoscalerOptions.idleTimeoutSeconds": -1}, "autoscalerOptions.idleTimeoutSeconds"),
    Case(CLUSTER_SPEC, {f"{ENV}+": {"name": "RAY_REDIS_ADDRESS", "value": "r:1"}}, "RAY_REDIS_ADDRESS needs gcsFault"),
    Case(CLUSTER_SPEC, {f"{ENV}+": {"name": "RAY_REDIS_ADDRESS", "value": "r:1"}, FT_ENABLED: "True"}),
    Case(
        CLUSTER_SPEC,
        {f"{ENV}+": {"name": "RAY_REDIS_ADDRESS", "value": "r:1"}, FT_ENABLED: "no"},
        "RAY_REDIS_ADDRESS needs gcsFaultToleranceOptions",
    ),
    Case(CLUSTER_SPEC, {FAULT_TOLERANCE: REDIS}),
    Case(CLUSTER_SPEC, {FAULT_TOLERANCE: {}}),
    *[
        Case(
            CLUSTER_SPEC,
            {FAULT_TOLERANCE: REDIS, f"{ENV}+": {"name": name, "value": "x"}},
            f"head: {name} must not be set beside gcsFaultToleranceOptions",
        )
        for name in ("RAY_REDIS_ADDRESS", "REDIS_PASSWORD")
    ],
    Case(
        CLUSTER_SPEC,
        {FAULT_TOLERANCE: REDIS, f"{HEAD}.rayStartParams.redis-password": "x"},
        "rayStartParams.redis-password must not be set beside gcsFaultToleranceOptions",
    ),
    *[
        Case(
            CLUSTER_SPEC,
            {FAULT_TOLERANCE: REDIS, f"metadata.annotations.{name}": "true"},
            f"annotation {name} must not be set beside gcsFaultToleranceOptions",
        )
        for name in ("ray.io/ft-enabled", "ray.io/external-storage-namespace")
    ],
    Case(
        CLUSTER_SPEC, {f"{ENV}+": {"name": "REDIS_USERNAME", "value": "x"}}, "head: a Redis user name can be given in"
    ),
    Case(CLUSTER_SPEC, {f"{HEAD}.rayStartParams.redis-username": "x"}, "head: a Redis user name can be given in"),
    Case(CLUSTER_SPEC, {f"{CLUSTER}.rayVersion": ABSENT}, "authOptions.mode token needs rayVersion"),
    Case(
        CLUSTER_SPEC, {f"{CLUSTER}.rayVersion": "2.51.1"}, "authOptions.mode token needs Ray 2.52, rayVersion is 2.51.1"
    ),
    Case(CLUSTER_SPEC, {f"{CLUSTER}.rayVersion": "2.9.0"}, "needs Ray 2.52, rayVersion is 2.9.0"),
    Case(CLUSTER_SPEC, {f"{CLUSTER}.rayVersion": "nightly"}, "needs Ray 2.52, rayVersion is nightly"),
    Case(CLUSTER_SPEC, {f"{CLUSTER}.rayVersion": "3"}, "needs Ray 2.52, rayVersion is 3"),
    *[
        Case(CLUSTER_SPEC, {f"{CLUSTER}.rayVersion": good})
        for good in ("2.52", "2.52.0", "v3.0", "2.60.0.dev0", "10.1")
    ],
    Case(CLUSTER_SPEC, {f"{CLUSTER}.rayVersion": "nightly", f"{CLUSTER}.authOptions": {"mode": "disabled"}}),
    Case(CLUSTER_SPEC, {f"{CLUSTER}.rayVersion": "nightly", f"{CLUSTER}.authOptions": {}}),
    Case(CLUSTER_SPEC, {f"{CLUSTER}.rayVersion": ABSENT, f"{CLUSTER}.authOptions": ABSENT}),
]
