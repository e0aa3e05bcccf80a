"""The pod templates of a RayCluster: one for the head, one a worker group. Pure.

Facts about KubeRay and Ray behind the choices are in docs/decisions.md, under Kubernetes.
"""

from __future__ import annotations

import json
import math
from typing import Any

from kuberay.accelerators import (
    ACCELERATORS,
    GKE_ACCELERATOR_LABEL,
    GKE_SPOT_LABEL,
    GPU_RESOURCE,
    Accelerator,
)
from kuberay.config import SecretKey, Service, WorkerGroup
from kuberay.errors import ConfigError
from kuberay.manifests.rayservice import HeadGroupSpec, Json, WorkerGroupSpec
from kuberay.names import DASHBOARD_PORT, RELEASE, SERVE_PORT, ours
from kuberay.release import API_KEYS_FILE, CONFIG_KEY, Release
from serve_app.environment import ENGINE_ENV, RELEASE_VARIABLE, SERVE_ENV, haproxy_env

CONFIG_FOLDER = "/etc/switchyard"
MODELS_FOLDER = "/models"
USER = 1000
"""The image's user and group (Dockerfile)."""

HEAD_PORTS = {
    "gcs": 6379,
    "dashboard": DASHBOARD_PORT,
    "client": 10001,
    "serve": SERVE_PORT,
    "metrics": 8080,
    "haproxy": 9101,
}
WORKER_PORTS = {"serve": SERVE_PORT, "metrics": 8080, "haproxy": 9101}
AGENT_PORT = 52365
DRAIN = ("python", "-m", "serve_app.drain")
DRAIN_MARGIN_S = 30
"""What is left of a pod's grace period after its longest stream, for Ray to end in order."""

OBJECT_STORE_BYTES = 512 * 2**20
"""Ray would keep 30 % of a pod's memory for objects; requests and answers need little."""

WORKER_ENV = {"HF_HOME": f"{MODELS_FOLDER}/huggingface", "XDG_CACHE_HOME": f"{MODELS_FOLDER}/cache"}

SECURITY_CONTEXT: Json = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def labels(service: Service) -> dict[str, str]:
    """Labels that stay the same over releases and clusters."""
    return {"app.kubernetes.io/name": "switchyard", **ours(service.name)}


def head_group(service: Service, release: Release) -> HeadGroupSpec:
    """The head: no CPUs for Ray to give away, so that no replica lands there."""
    head = service.kubernetes.head
    container = _container(service, release, "head", HEAD_PORTS) | {
        "resources": _resources(head.cpu, head.memory),
        "livenessProbe": _probe(service, "/api/healthz", AGENT_PORT, failures=24, delay=30),
        "readinessProbe": _probe(service, "/api/healthz", AGENT_PORT, failures=10, delay=10),
    }
    return HeadGroupSpec(
        ray_start_params={
            "num-cpus": "0",
            "dashboard-host": "0.0.0.0",
            "object-store-memory": str(OBJECT_STORE_BYTES),
        },
        template=_template(
            service,
            release,
            container,
            role="head",
            node_selector=dict(sorted(head.node_selector.items())),
            tolerations=head.tolerations,
            volumes=[],
        ),
    )


def worker_groups(service: Service, release: Release) -> list[WorkerGroupSpec]:
    """The worker groups, in the file's order, which is the order they are tried in."""
    return [
        _worker_group(service, release, group, place) for place, group in enumerate(service.kubernetes.worker_groups)
    ]


def gpus_per_pod(service: Service) -> int:
    """GPUs of one worker pod: a pipeline stage is a pod of its own."""
    return 0 if service.config.engine.on_cpu else service.config.engine.tensor_parallel_size


def pods_per_replica(service: Service) -> int:
    """Worker pods that one replica spans."""
    return service.config.engine.pipeline_parallel_size


def longest_request_s(service: Service) -> int:
    """The longest a request may take, whole seconds."""
    return math.ceil(service.config.serving.max_request_s)


def _worker_group(service: Service, release: Release, group: WorkerGroup, place: int) -> WorkerGroupSpec:
    config, kubernetes, _ = service
    engine = config.engine
    gpus, hosts = gpus_per_pod(service), pods_per_replica(service)
    kind = _accelerator(service, group)
    cpus = engine.cpus_per_worker * engine.tensor_parallel_size
    start: dict[str, str] = {
        "num-cpus": str(math.ceil(cpus)),
        "object-store-memory": str(OBJECT_STORE_BYTES),
    }
    custom: dict[str, int] = {}
    if gpus:
        start["num-gpus"] = str(gpus)
        if engine.accelerator != "gpu":
            # Ray finds this out on the node; the autoscaler has to know it while the group is empty.
            custom[f"accelerator_type:{group.accelerator or engine.accelerator}"] = 1
    elif hosts > 1:
        start["num-gpus"] = str(engine.tensor_parallel_size)  # see serve_app/cpu_platform_class.py
    if custom:
        start["resources"] = json.dumps(json.dumps(custom))
    container = _container(service, release, "worker", WORKER_PORTS, WORKER_ENV)
    container["env"].append(_from_secret("HF_TOKEN", kubernetes.hf_token))
    container["volumeMounts"] += [{"name": "models", "mountPath": MODELS_FOLDER}]
    container |= {
        "resources": _worker_resources(group, kind, gpus, cpus),
        "livenessProbe": _probe(service, "/api/healthz", AGENT_PORT, failures=24, delay=30),
        # HAProxy answers this once a replica behind it does; KubeRay's own probe wants wget in the image.
        "readinessProbe": _probe(service, "/-/healthz", WORKER_PORTS["serve"], failures=2, delay=10),
    }
    selector = dict(sorted(group.node_selector.items()))
    tolerations = list(group.tolerations)
    if kind is not None:
        selector.setdefault(GKE_ACCELERATOR_LABEL, kind.gke)
    if gpus:
        tolerations.append({"key": GPU_RESOURCE, "operator": "Exists", "effect": "NoSchedule"})
    if group.spot:
        selector.setdefault(GKE_SPOT_LABEL, "true")
        tolerations.append({"key": GKE_SPOT_LABEL, "operator": "Equal", "value": "true", "effect": "NoSchedule"})
    low, high = group_bounds(service, place)
    return WorkerGroupSpec(
        group_name=group.name,
        replicas=low,
        min_replicas=low,
        max_replicas=high,
        num_of_hosts=hosts,
        idle_timeout_seconds=kubernetes.idle_timeout_s,
        priority=_priority(service, place),
        ray_start_params=start,
        template=_template(
            service,
            release,
            container,
            role="worker",
            node_selector=selector,
            tolerations=tolerations,
            volumes=[_models_volume(service)],
        ),
    )


def _priority(service: Service, place: int) -> int | None:
    """Ray tries groups with a higher number first (ray/autoscaler/v2/scheduler.py)."""
    groups = service.kubernetes.worker_groups
    given = groups[place].priority
    return given if given is not None or len(groups) == 1 else len(groups) - 1 - place


def group_bounds(service: Service, place: int) -> tuple[int, int]:
    """``minReplicas`` and ``maxReplicas`` of the group at ``place``."""
    group, scaling = service.kubernetes.worker_groups[place], service.config.scaling
    low = group.min_replicas if group.min_replicas is not None else (scaling.min_replicas if place == 0 else 0)
    high = group.max_replicas if group.max_replicas is not None else scaling.max_replicas
    return min(low, high), high


def _accelerator(service: Service, group: WorkerGroup) -> Accelerator | None:
    engine = service.config.engine
    name = group.accelerator or engine.accelerator
    if engine.on_cpu or name == "gpu":
        return None
    if name not in ACCELERATORS:
        if group.node_selector and group.cpu and group.memory:
            return None
        raise ConfigError(
            f"How to place pods on {name} is not known here (known: {', '.join(ACCELERATORS)}). Give worker group "
            f"'{group.name}' a node_selector, cpu and memory of its own."
        )
    kind = ACCELERATORS[name]
    if service.config.engine.tensor_parallel_size > kind.per_node:
        raise ConfigError(
            f"engine.tensor_parallel_size is {engine.tensor_parallel_size}, but a machine has at most {kind.per_node} "
            f"{name}. Split the rest with engine.pipeline_parallel_size."
        )
    return kind


def _worker_resources(group: WorkerGroup, kind: Accelerator | None, gpus: int, cpus: float) -> Json:
    cpu = group.cpu or (str(max(kind.cpu * gpus, math.ceil(cpus))) if kind else f"{math.ceil(cpus * 1000) + 500}m")
    memory = group.memory or f"{kind.memory_gib * gpus if kind else 8 * max(1, gpus)}Gi"
    more: Json = {name: str(amount) for name, amount in sorted(group.extra_resources.items())}
    if gpus:
        more[GPU_RESOURCE] = str(gpus)
    if group.ephemeral_storage:
        more["ephemeral-storage"] = group.ephemeral_storage
    return _resources(cpu, memory, more)


def _resources(cpu: str, memory: str, more: Json | None = None) -> Json:
    # No limit on CPU: it would throttle a replica beside idle cores. Memory is reserved: what is over is killed.
    fixed = {"memory": memory, **(more or {})}
    return {"requests": {"cpu": cpu, **fixed}, "limits": fixed}


def _container(
    service: Service, release: Release, role: str, ports: dict[str, int], more: dict[str, str] | None = None
) -> dict[str, Any]:
    kubernetes = service.kubernetes
    environ = {
        **SERVE_ENV,
        **ENGINE_ENV,
        "SWITCHYARD_CONFIG": f"{CONFIG_FOLDER}/{CONFIG_KEY}",
        RELEASE_VARIABLE: release.id,
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",  # see serve_app/drain.py
        **haproxy_env(service.config.serving.max_request_s),
        **(more or {}),
        # In one order: the order of variables is part of what KubeRay's hash is made of.
        **dict(sorted(kubernetes.env.items())),
    }
    container: dict[str, Any] = {
        "name": f"ray-{role}",
        "image": release.image,
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": key, "value": value} for key, value in environ.items()],
        "ports": [{"name": key, "containerPort": port} for key, port in ports.items()],
        "volumeMounts": [{"name": "release", "mountPath": CONFIG_FOLDER, "readOnly": True}],
        "securityContext": SECURITY_CONTEXT,
        "lifecycle": {"preStop": {"exec": {"command": [*DRAIN, role, "--within", str(longest_request_s(service))]}}},
    }
    if kubernetes.api_keys is not None:
        folder = API_KEYS_FILE.rsplit("/", 1)[0]
        container["volumeMounts"].append({"name": "api-keys", "mountPath": folder, "readOnly": True})
    return container


def _from_secret(variable: str, secret: SecretKey) -> Json:
    reference = {"name": secret.name, "key": secret.key, "optional": True}
    return {"name": variable, "valueFrom": {"secretKeyRef": reference}}


def _models_volume(service: Service) -> Json:
    claim = service.kubernetes.model_cache_claim
    if claim is None:
        return {"name": "models", "emptyDir": {}}
    return {"name": "models", "persistentVolumeClaim": {"claimName": claim}}


def _probe(service: Service, path: str, port: int, *, failures: int, delay: int) -> Json:
    return {
        "httpGet": {"path": path, "port": port},
        "initialDelaySeconds": delay,
        "periodSeconds": 5,
        "timeoutSeconds": service.kubernetes.probe_timeout_s,
        "failureThreshold": failures,
    }


def _template(
    service: Service,
    release: Release,
    container: dict[str, Any],
    *,
    role: str,
    node_selector: dict[str, str],
    tolerations: list[dict[str, Any]],
    volumes: list[Json],
) -> Json:
    kubernetes = service.kubernetes
    config_map = {"name": release.config_map(service.name)}
    volumes = [{"name": "release", "configMap": config_map}, *volumes]
    if kubernetes.api_keys is not None:
        name, key = kubernetes.api_keys.name, kubernetes.api_keys.key
        items = [{"key": key, "path": API_KEYS_FILE.rsplit("/", 1)[1]}]
        volumes.append({"name": "api-keys", "secret": {"secretName": name, "items": items}})
    spec: Json = {
        # KubeRay's autoscaler container ignores SIGTERM as process 1, and the head would last its whole grace period.
        "shareProcessNamespace": role == "head",
        "serviceAccountName": kubernetes.service_account or service.name,
        # Only the autoscaler, which is in the head pod, talks to the API server.
        "automountServiceAccountToken": role == "head",
        "terminationGracePeriodSeconds": longest_request_s(service) + DRAIN_MARGIN_S,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": volumes,
    }
    if kubernetes.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in kubernetes.image_pull_secrets]
    if node_selector:
        spec["nodeSelector"] = node_selector
    if tolerations:
        spec["tolerations"] = [dict(sorted(one.items())) for one in tolerations]
    pod_labels = labels(service) | {RELEASE: release.id, "switchyard.dev/role": role}
    return {"metadata": {"labels": pod_labels}, "spec": spec}
