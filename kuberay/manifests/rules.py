"""KubeRay's own rules for a RayService, applied before anything is sent. Pure.

The operator accepts any object the CustomResourceDefinition allows and complains later, in an event. Each rule here
names the function of ``ray-operator/controllers/ray/utils/validation.go`` (1.6.1) that it repeats. Three go further:
``stepSizePercent`` above ``maxSurgePercent`` (refused from 1.7 on), two worker groups of one name, and an
``upgradeStrategy`` without a type, on which the operator's own code breaks off. A test asks both about
the same objects.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from kuberay.manifests.rayservice import Json
from kuberay.names import INCREMENTAL
from kuberay.snapshot import dig

MAX_NAME = 47
STRATEGIES = ("NewCluster", INCREMENTAL, "None")
_DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_QUALIFIED = re.compile(r"(?=.{1,63}$)[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_SECONDS_OR_DURATION = re.compile(r"\+?([0-9]+|(([0-9]+\.?[0-9]*|\.[0-9]+)(h|m|s|ms|us|µs|μs|ns))+)")
_V2 = "RAY_enable_autoscaler_v2"


def violations(service: Json) -> list[str]:
    """What KubeRay would refuse in a RayService, one sentence each; empty when it would accept it."""
    cluster = dig(service, "spec", "rayClusterConfig", default={})
    annotations = dig(service, "metadata", "annotations", default={})
    return [
        *_metadata(service),
        *_service(service),
        *_groups(cluster),
        *_fault_tolerance(cluster, annotations),
        *_autoscaling(cluster),
        *_auth(cluster),
    ]


def _metadata(service: Json) -> Iterator[str]:
    """ValidateRayServiceMetadata, validateInitializingTimeout."""
    name = str(dig(service, "metadata", "name", default=""))
    if len(name) > MAX_NAME:
        yield f"metadata.name has {len(name)} characters, at most {MAX_NAME} are allowed"
    if not _DNS_1035.fullmatch(name):
        yield f"metadata.name '{name}' must begin with a letter and consist of a-z, 0-9 and '-'"
    timeout = str(dig(service, "metadata", "annotations", "ray.io/initializing-timeout", default=""))
    if timeout and not (_SECONDS_OR_DURATION.fullmatch(timeout) and re.search("[1-9]", timeout)):
        yield f"annotation ray.io/initializing-timeout '{timeout}' must be seconds or a Go duration such as 10m"


def _service(service: Json) -> Iterator[str]:
    """ValidateRayServiceSpec, ValidateClusterUpgradeOptions."""
    spec = service.get("spec", {})
    if dig(spec, "rayClusterConfig", "headGroupSpec", "headService", "metadata", "name"):
        yield "headGroupSpec.headService.metadata.name must not be set: every upgrade needs a head service of its own"
    strategy = dig(spec, "upgradeStrategy", "type")
    if strategy is None and spec.get("upgradeStrategy") is not None:
        yield f"upgradeStrategy.type is missing; it can be {', '.join(STRATEGIES)}"
    if strategy is not None and strategy not in STRATEGIES:
        yield f"upgradeStrategy.type '{strategy}' must be one of {', '.join(STRATEGIES)}"
    if dig(spec, "rayClusterDeletionDelaySeconds", default=0) < 0:
        yield "rayClusterDeletionDelaySeconds must not be negative"
    if strategy != INCREMENTAL:
        return
    options = dig(spec, "upgradeStrategy", "clusterUpgradeOptions")
    if not dig(spec, "rayClusterConfig", "enableInTreeAutoscaling"):
        yield "an incremental upgrade needs enableInTreeAutoscaling"
    if options is None:
        yield "an incremental upgrade needs clusterUpgradeOptions"
        return
    surge, step = dig(options, "maxSurgePercent", default=100), options.get("stepSizePercent")
    if not 0 <= surge <= 100:
        yield f"maxSurgePercent ({surge}) must be between 0 and 100"
    if step is None or not 0 <= step <= min(surge, 100):
        yield f"stepSizePercent ({step}) must be between 0 and maxSurgePercent ({surge})"
    if (options.get("intervalSeconds") or 0) <= 0:
        yield "intervalSeconds must be above 0"
    if not options.get("gatewayClassName"):
        yield "gatewayClassName is missing"


def _groups(cluster: Json) -> Iterator[str]:
    """The groups' part of ValidateRayClusterSpec, validateRayGroupResources, validateRayGroupLabels,
    validateWorkerGroupIdleTimeout."""
    head = cluster.get("headGroupSpec", {})
    groups = cluster.get("workerGroupSpecs", [])
    autoscaling = bool(cluster.get("enableInTreeAutoscaling"))
    for name, group in [("head", head), *((group.get("groupName", "?"), group) for group in groups)]:
        params = group.get("rayStartParams", {})
        if not dig(group, "template", "spec", "containers", default=[]):
            yield f"{name}: the pod template has no container"
        if group.get("resources") and any(params.get(key) for key in ("num-cpus", "num-gpus", "memory", "resources")):
            yield f"{name}: resources are given twice, in rayStartParams and in resources"
        if "labels" in params:
            yield f"{name}: rayStartParams.labels is not supported; use labels"
        for key, value in group.get("labels", {}).items():
            prefix, _, last = key.rpartition("/")
            if not _QUALIFIED.fullmatch(last) or ("/" in key and not _is_dns_1123(prefix)):
                yield f"{name}: '{key}' is no name for a label"
            if value and not _QUALIFIED.fullmatch(value):
                yield f"{name}: '{value}' is no value for the label {key}"
    for group in groups:
        name, low, high = group.get("groupName", "?"), group.get("minReplicas"), group.get("maxReplicas")
        if not autoscaling and (low is None or high is None):
            yield f"{name}: minReplicas and maxReplicas are needed without autoscaling"
        if (low or 0) < 0 or (high or 0) < 0:
            yield f"{name}: minReplicas and maxReplicas must not be negative"
        if low is not None and high is not None and low > high:
            yield f"{name}: minReplicas ({low}) is above maxReplicas ({high})"
        if autoscaling and group.get("suspend"):
            yield f"{name}: a worker group cannot be suspended with autoscaling"
        if (group.get("idleTimeoutSeconds") or 0) < 0:
            yield f"{name}: idleTimeoutSeconds must not be negative"
        by_variable = _env(head).get(_V2) in ("1", "true")
        if group.get("idleTimeoutSeconds") is not None and not _is_v2(cluster) and not by_variable:
            yield f"{name}: idleTimeoutSeconds needs autoscaler v2"
    names = [group.get("groupName") for group in groups]
    if len(set(names)) < len(names):
        yield "worker groups must have names of their own"


def _fault_tolerance(cluster: Json, annotations: Json) -> Iterator[str]:
    """The fault-tolerance part of ValidateRayClusterSpec."""
    head = cluster.get("headGroupSpec", {})
    environ, params = _env(head), head.get("rayStartParams", {})
    if cluster.get("gcsFaultToleranceOptions") is not None:
        for variable in ("REDIS_PASSWORD", "RAY_REDIS_ADDRESS"):
            if variable in environ:
                yield f"head: {variable} must not be set beside gcsFaultToleranceOptions"
        if params.get("redis-password"):
            yield "head: rayStartParams.redis-password must not be set beside gcsFaultToleranceOptions"
        for annotation in ("ray.io/ft-enabled", "ray.io/external-storage-namespace"):
            if annotations.get(annotation):
                yield f"annotation {annotation} must not be set beside gcsFaultToleranceOptions"
    elif "RAY_REDIS_ADDRESS" in environ and str(annotations.get("ray.io/ft-enabled")).lower() != "true":
        yield "head: RAY_REDIS_ADDRESS needs gcsFaultToleranceOptions"
    if "REDIS_USERNAME" in environ or params.get("redis-username"):
        yield "head: a Redis user name can be given in gcsFaultToleranceOptions.redisUsername only"


def _autoscaling(cluster: Json) -> Iterator[str]:
    """The autoscaler's part of ValidateRayClusterSpec."""
    environ = _env(cluster.get("headGroupSpec", {}))
    if not cluster.get("enableInTreeAutoscaling"):
        if environ.get(_V2) in ("1", "true"):
            yield f"head: {_V2} is set, but enableInTreeAutoscaling is not"
        return
    if dig(cluster, "autoscalerOptions", "version") and _V2 in environ:
        yield f"head: {_V2} is set beside autoscalerOptions.version"
    if dig(cluster, "autoscalerOptions", "idleTimeoutSeconds", default=0) < 0:
        yield "autoscalerOptions.idleTimeoutSeconds must not be negative"
    if _is_v2(cluster):
        for group in [cluster.get("headGroupSpec", {}), *cluster.get("workerGroupSpecs", [])]:
            if dig(group, "template", "spec", "restartPolicy") not in (None, "", "Never"):
                yield f"{group.get('groupName', 'head')}: restartPolicy must be Never with autoscaler v2"


def _auth(cluster: Json) -> Iterator[str]:
    """The authentication part of ValidateRayClusterSpec."""
    options = cluster.get("authOptions")
    if options is None:
        return
    if options.get("enableK8sTokenAuth"):
        yield "authOptions.enableK8sTokenAuth is not supported for a RayService"
    if options.get("mode") != "token":
        return
    version = cluster.get("rayVersion")
    if not version:
        yield "authOptions.mode token needs rayVersion"
    elif _number(version) < (2, 52):
        yield f"authOptions.mode token needs Ray 2.52, rayVersion is {version}"


def _is_v2(cluster: Json) -> bool:
    return dig(cluster, "autoscalerOptions", "version") == "v2"


def _number(version: str) -> tuple[int, ...]:
    found = re.match(r"\s*v?((?:0|[1-9][0-9]*)(?:\.[0-9]+)+)", version)
    return tuple(int(part) for part in found[1].split(".")) if found else ()


def _is_dns_1123(name: str) -> bool:
    part = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
    return len(name) <= 253 and re.fullmatch(rf"{part}(\.{part})*", name) is not None


def _env(group: Json) -> dict[str, Any]:
    """Of several of one name KubeRay looks at the first (``EnvVarByName``)."""
    found = dig(group, "template", "spec", "containers", 0, "env", default=[])
    return {item["name"]: item.get("value") for item in reversed(found)}
