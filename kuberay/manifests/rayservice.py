"""RayService as typed values: the fields this project sets, under KubeRay's names. Pure.

Fields that are not named here pass through untouched, so that an object read from a cluster survives a round trip. A
test holds every name and type against the CustomResourceDefinition.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

API_VERSION = "ray.io/v1"

Json = dict[str, Any]


class Part(BaseModel):
    """A part of the object, in camelCase on the wire."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="allow", protected_namespaces=())

    def to_object(self) -> Json:
        """As JSON for the API server; what is not set is left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class AuthOptions(Part):
    mode: Literal["disabled", "token"] = "token"
    secret_name: str | None = None


class GcsFaultToleranceOptions(Part):
    backend: str | None = None  # KubeRay 1.7
    redis_address: str | None = None
    redis_password: Json | None = None


class AutoscalerOptions(Part):
    version: Literal["v1", "v2"] | None = None
    idle_timeout_seconds: int | None = None
    upscaling_mode: Literal["Default", "Aggressive", "Conservative"] | None = None
    image_pull_policy: str | None = None
    resources: Json | None = None
    security_context: Json | None = None
    env: list[Json] | None = None


class HeadGroupSpec(Part):
    ray_start_params: dict[str, str] | None = None
    template: Json


class WorkerGroupSpec(Part):
    group_name: str
    replicas: int | None = None
    min_replicas: int
    max_replicas: int
    num_of_hosts: int | None = None
    idle_timeout_seconds: int | None = None
    priority: int | None = None  # KubeRay 1.7
    ray_start_params: dict[str, str] | None = None
    template: Json


class RayClusterSpec(Part):
    ray_version: str | None = None
    enable_in_tree_autoscaling: bool | None = None
    autoscaler_options: AutoscalerOptions | None = None
    auth_options: AuthOptions | None = None
    gcs_fault_tolerance_options: GcsFaultToleranceOptions | None = None
    head_group_spec: HeadGroupSpec
    worker_group_specs: list[WorkerGroupSpec] = Field(default_factory=list[WorkerGroupSpec])


class ClusterUpgradeOptions(Part):
    max_surge_percent: int | None = None
    step_size_percent: int
    interval_seconds: int
    gateway_class_name: str


class UpgradeStrategy(Part):
    type: str | None = None
    cluster_upgrade_options: ClusterUpgradeOptions | None = None


class RayServiceSpec(Part):
    serve_config_v2: str | None = None
    ray_cluster_config: RayClusterSpec
    upgrade_strategy: UpgradeStrategy | None = None
    ray_cluster_deletion_delay_seconds: int | None = None
    exclude_head_pod_from_serve_svc: bool | None = None
    suspend: bool | None = None  # KubeRay 1.7


class RayService(Part):
    api_version: str = API_VERSION
    kind: str = "RayService"
    metadata: Json
    spec: RayServiceSpec


def owned_by(cluster: str, uid: str) -> Json:
    """The owner reference of what belongs to a RayCluster, and goes with it."""
    return {"apiVersion": API_VERSION, "kind": "RayCluster", "name": cluster, "uid": uid}


def group_pods(group: Json, bound: str = "minReplicas") -> int:
    """Pods of a worker group's JSON at its ``minReplicas`` or ``maxReplicas``: each replica has ``numOfHosts``."""
    return (group.get(bound) or 0) * (group.get("numOfHosts") or 1)
