"""A service file as Kubernetes objects. Pure, and the same text in gives the same objects out.

What changes when is decided here:

* ``serveConfigV2`` says nothing of the model. A release's configuration reaches the pods as a ConfigMap named by its
  content, which the pod templates mount, so a new model is a new RayCluster and never an in-place change, and KubeRay
  cannot hand one release's configuration to the other's cluster while both run.
* Scaling is in ``serveConfigV2``, as an override of the deployment's: Serve applies that without restarting a replica.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from decimal import Decimal
from typing import Any, cast

import yaml

from kuberay.config import Service
from kuberay.manifests.muting import muted
from kuberay.manifests.pods import (
    SECURITY_CONTEXT,
    WORKER_PORTS,
    head_group,
    longest_request_s,
    worker_groups,
)
from kuberay.manifests.rayservice import (
    AuthOptions,
    AutoscalerOptions,
    ClusterUpgradeOptions,
    GcsFaultToleranceOptions,
    Json,
    RayClusterSpec,
    RayService,
    RayServiceSpec,
    UpgradeStrategy,
)
from kuberay.manifests.surroundings import (
    disruption_budgets,
    gate_rights,
    metadata,
    network_policy,
    pod_monitoring,
    service_account,
)
from kuberay.names import GATE, INCREMENTAL, RELEASE
from kuberay.release import API_KEYS_FILE, CONFIG_KEY, Release
from serve_app.environment import KEEP_ALIVE_S

RAY_VERSION = "2.60.0"
APPLICATION = "llm"
DEPLOYMENT = "LLM"
DELETION_MARGIN_S = 60

_YAML_HEADER = "# Rendered by `switchyard render`; `switchyard deploy` applies the same objects."


def objects(service: Service) -> list[Json]:
    """Every object of a service, in the order they are to be applied: what others refer to comes first."""
    release = release_of(service)
    found = [
        None if service.kubernetes.service_account else service_account(service),
        *gate_rights(service),
        _config_map(service, release),
        network_policy(service) if service.kubernetes.network_policy.enabled else None,
        *disruption_budgets(service),
        *(pod_monitoring(service) if service.kubernetes.pod_monitoring else ()),
        ray_service(service, release).to_object(),
    ]
    return [item for item in found if item is not None]


def release_of(service: Service) -> Release:
    """The release that a service file describes.

    Its id is made of the configuration and of all of the RayCluster that KubeRay's hash covers: whatever brings a new
    cluster is a new release, and what changes in place is none. The one exception is a worker group added behind the
    others, which KubeRay would let join the running cluster; here it is a new release too, as a name made of content
    alone cannot tell a group that was added from one that was changed.
    """
    data: dict[str, Any] = service.config.model_dump(mode="json", exclude={"scaling": True, "serving": {"port"}})
    if service.kubernetes.api_keys is not None:
        data["serving"]["api_keys_file"] = API_KEYS_FILE
    # The pod templates carry the id; it is made of them as they are without one.
    unnamed = Release("", yaml.safe_dump(data, sort_keys=True), service.kubernetes.image or "")
    cluster = muted(_ray_cluster(service, unnamed).to_object())
    text = json.dumps({"config": data, "cluster": cluster}, sort_keys=True, default=_plainly)
    return replace(unnamed, id=hashlib.sha256(text.encode()).hexdigest()[:12])


def _plainly(amount: Decimal) -> str:
    """500m and 0.5 are the same to KubeRay."""
    return f"{amount.normalize():f}"


def to_yaml(items: list[Json]) -> str:
    """The objects as one YAML stream for ``kubectl apply -f -``."""
    parts = [yaml.dump(item, Dumper=_Readable, sort_keys=False, width=120) for item in items]
    return "\n---\n".join([_YAML_HEADER, *parts]).replace("\n\n---", "\n---")


def token_secret(service: Service) -> str:
    """Name of the Secret with Ray's token. `deploy` makes it once, and it stays the same over releases."""
    return f"{service.name}-ray-token"


def ray_service(service: Service, release: Release) -> RayService:
    """The RayService itself."""
    config, kubernetes, _ = service
    upgrade = kubernetes.upgrade
    options = None
    if upgrade.strategy == INCREMENTAL and upgrade.gateway_class:
        options = ClusterUpgradeOptions(
            max_surge_percent=upgrade.max_surge_percent,
            step_size_percent=upgrade.step_size_percent,
            interval_seconds=upgrade.interval_s,
            gateway_class_name=upgrade.gateway_class,
        )
    return RayService(
        metadata={
            **metadata(service, service.name),
            "annotations": {RELEASE: release.id},
        },
        spec=RayServiceSpec(
            upgrade_strategy=UpgradeStrategy(type=upgrade.strategy, cluster_upgrade_options=options),
            ray_cluster_deletion_delay_seconds=deletion_delay_s(service),
            # The head has no replica, and its proxy is ready before any replica is. With no replica at all
            # it must answer, or nothing could wake the service.
            exclude_head_pod_from_serve_svc=config.scaling.min_replicas > 0,
            serve_config_v2=serve_config(service),
            ray_cluster_config=_ray_cluster(service, release),
        ),
    )


def deletion_delay_s(service: Service) -> int:
    """Seconds an old cluster is kept after a switch: for its streams to end, and for a warm rollback.

    With the incremental strategy there is none: KubeRay has scaled the old cluster's replicas to nothing.
    """
    upgrade = service.kubernetes.upgrade
    kept = upgrade.keep_old_s if upgrade.strategy != INCREMENTAL else 0
    return max(longest_request_s(service) + DELETION_MARGIN_S, kept)


def serve_config(service: Service) -> str:
    """``serveConfigV2``: the same for every release, but for scaling."""
    scaling = service.config.scaling
    deployment: Json = {
        "name": DEPLOYMENT,
        "autoscaling_config": {
            "min_replicas": scaling.min_replicas,
            "initial_replicas": max(scaling.min_replicas, 1),
            "max_replicas": scaling.max_replicas,
            "target_ongoing_requests": scaling.target_ongoing_requests,
            "upscale_delay_s": scaling.upscale_delay_s,
            "downscale_delay_s": scaling.downscale_delay_s,
        },
    }
    data: Json = {
        "proxy_location": "EveryNode",
        "http_options": {
            "host": "0.0.0.0",
            "port": WORKER_PORTS["serve"],
            "keep_alive_timeout_s": KEEP_ALIVE_S,
        },
        "applications": [
            {
                "name": APPLICATION,
                "route_prefix": "/",
                "import_path": "serve_app:app",
                "deployments": [deployment],
            },
            {"name": GATE, "route_prefix": None, "import_path": "serve_app.gate:build"},
        ],
    }
    return yaml.safe_dump(data, sort_keys=False)


def _ray_cluster(service: Service, release: Release) -> RayClusterSpec:
    kubernetes = service.kubernetes
    tolerance, fault_tolerance = None, kubernetes.gcs_fault_tolerance
    if fault_tolerance.backend == "redis":
        password = fault_tolerance.redis_password
        reference = {"name": password.name, "key": password.key} if password else None
        tolerance = GcsFaultToleranceOptions(
            redis_address=fault_tolerance.redis_address,
            redis_password={"valueFrom": {"secretKeyRef": reference}} if reference else None,
        )
    elif fault_tolerance.backend == "rocksdb":
        tolerance = GcsFaultToleranceOptions(backend="rocksdb")
    return RayClusterSpec(
        ray_version=RAY_VERSION,
        enable_in_tree_autoscaling=True,
        autoscaler_options=AutoscalerOptions(
            version="v2",
            idle_timeout_seconds=kubernetes.idle_timeout_s,
            image_pull_policy="IfNotPresent",
            security_context=SECURITY_CONTEXT,
            resources={"requests": {"cpu": "200m", "memory": "512Mi"}, "limits": {"memory": "1Gi"}},
            # After so long without a node the autoscaler tries the next worker group. Ray's default is an hour.
            env=[{"name": "RAY_AUTOSCALER_RECONCILE_ALLOCATE_STATUS_TIMEOUT_S", "value": "600"}],
        ),
        auth_options=AuthOptions(secret_name=token_secret(service)) if kubernetes.ray_token_auth else None,
        gcs_fault_tolerance_options=tolerance,
        head_group_spec=head_group(service, release),
        worker_group_specs=worker_groups(service, release),
    )


def _config_map(service: Service, release: Release) -> Json:
    about = metadata(service, release.config_map(service.name))
    about["labels"][RELEASE] = release.id
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": about,
        "immutable": True,
        "data": {CONFIG_KEY: release.config},
    }


class _Readable(yaml.SafeDumper):
    """Texts of several lines as blocks; repeated values written out, as kubectl's readers expect."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


# What kubectl's YAML reader takes for a number or a truth value and PyYAML leaves bare: 1e3, 012, 0o17, y.
_AMBIGUOUS = re.compile(r"[-+.]?[0-9][0-9a-fA-FoOxX_.+-]*|[yYnN]")


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else "'" if _AMBIGUOUS.fullmatch(value) else None
    node: yaml.ScalarNode = cast("Any", dumper).represent_scalar("tag:yaml.org,2002:str", value, style=style)
    return node


_Readable.add_representer(str, _text)
