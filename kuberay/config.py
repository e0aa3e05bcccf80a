"""The ``kubernetes`` section of a service file: how the service is laid out on a cluster. Pure.

What is served, and how, is in the other sections (:mod:`serve_app.config`); nothing of it is repeated here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

import service_file
from kuberay.errors import ConfigError
from serve_app.config import ServiceConfig, parse_config
from serve_app.errors import ConfigError as ServiceConfigError
from service_file import Section

Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$")]
"""An amount in Kubernetes' notation: ``500m`` CPUs, ``24Gi`` of memory."""

DnsLabel = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
ObjectName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")]
GroupName = Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]{0,28}[a-z0-9])?$")]


class SecretKey(Section):
    """One key of a Secret."""

    name: ObjectName
    key: str = Field(pattern=r"^[-._a-zA-Z0-9]+$")


class Head(Section):
    """The head pod. It runs no replica: Ray's control plane, Serve's controller and the autoscaler only."""

    cpu: Quantity = "2"
    memory: Quantity = "8Gi"
    node_selector: dict[str, str] = Field(default_factory=dict[str, str])
    tolerations: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])


class WorkerGroup(Section):
    """Worker pods of one kind. A replica fills one pod, or one pod a pipeline stage."""

    name: GroupName = "workers"
    accelerator: str | None = Field(default=None, description="Ray accelerator type, if not engine.accelerator.")
    spot: bool = Field(default=False, description="On spot nodes, which may vanish with 15 s of notice.")
    priority: int | None = Field(
        default=None, ge=0, description="Groups with a lower number are tried first (KubeRay 1.7). Default: in order."
    )
    min_replicas: int | None = Field(
        default=None, ge=0, description="Default: scaling.min_replicas, in the first group."
    )
    max_replicas: int | None = Field(default=None, ge=1, description="Default: scaling.max_replicas.")
    cpu: Quantity | None = Field(default=None, description="CPUs of a pod. Default: by accelerator and GPU count.")
    memory: Quantity | None = Field(default=None, description="Memory of a pod. Default: by accelerator and GPU count.")
    ephemeral_storage: Quantity | None = Field(default=None, description="Local disk of a pod, for downloaded weights.")
    extra_resources: dict[str, int] = Field(
        default_factory=dict[str, int], description="More of what nodes offer, asked for by each pod."
    )
    node_selector: dict[str, str] = Field(default_factory=dict[str, str])
    tolerations: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])


class Upgrade(Section):
    """How a new release takes over."""

    strategy: Literal["NewCluster", "NewClusterWithIncrementalUpgrade", "None"] = "NewCluster"
    keep_old_s: int = Field(
        default=600, ge=0, le=86_400, description="How long the old cluster stays after a switch, for a warm rollback."
    )
    gateway_class: str | None = Field(default=None, description="Incremental: the GatewayClass.")
    max_surge_percent: int = Field(default=100, ge=0, le=100)
    step_size_percent: int = Field(default=10, ge=0, le=100)
    interval_s: int = Field(default=120, ge=1)

    @model_validator(mode="after")
    def _incremental(self) -> Upgrade:
        if self.strategy == "NewClusterWithIncrementalUpgrade":
            if not self.gateway_class:
                raise ValueError("strategy NewClusterWithIncrementalUpgrade needs gateway_class")
            if self.step_size_percent > self.max_surge_percent:
                raise ValueError(
                    f"step_size_percent ({self.step_size_percent}) is above max_surge_percent "
                    f"({self.max_surge_percent}): traffic would move to capacity that is not there"
                )
        return self


class GcsFaultTolerance(Section):
    """Where the head keeps its state, so that a head that restarts does not take the replicas with it."""

    backend: Literal["none", "redis", "rocksdb"] = "none"
    redis_address: str | None = Field(default=None, description="host:port of a Redis that outlives the head.")
    redis_password: SecretKey | None = None

    @model_validator(mode="after")
    def _complete(self) -> GcsFaultTolerance:
        if (self.backend == "redis") != (self.redis_address is not None):
            raise ValueError("redis_address belongs to backend redis, which needs it")
        return self


class NetworkPolicy(Section):
    """Who may reach the pods. Pods of the service reach each other in any case."""

    enabled: bool = True
    client_namespaces: list[DnsLabel] | None = Field(
        default=None, description="Namespaces whose pods may call the service. Default: all, and load balancers."
    )
    operator_namespace: DnsLabel = "kuberay-system"
    monitoring_namespaces: tuple[DnsLabel, ...] = Field(default=("gmp-system", "monitoring"), strict=False)


class KubernetesConfig(Section):
    """The whole section."""

    namespace: DnsLabel = "default"
    image: str | None = Field(default=None, description="The image built from the Dockerfile, by tag or digest.")
    image_pull_secrets: list[ObjectName] = Field(default_factory=list[ObjectName])
    service_account: DnsLabel | None = Field(
        default=None, description="Kubernetes service account of the pods, e.g. bound to a Google one. Default: ours."
    )
    hf_token: SecretKey = SecretKey(name="hf-secret", key="hf_api_token")
    api_keys: SecretKey | None = Field(default=None, description="The file of serving.api_keys_file, from a Secret.")
    ray_token_auth: bool = Field(default=True, description="Ray's dashboard and GCS want a token.")
    head: Head = Head()
    worker_groups: list[WorkerGroup] = Field(default_factory=lambda: [WorkerGroup()], min_length=1)
    idle_timeout_s: int = Field(default=120, ge=1, description="How long a worker pod may idle before it goes.")
    upgrade: Upgrade = Upgrade()
    gcs_fault_tolerance: GcsFaultTolerance = GcsFaultTolerance()
    network_policy: NetworkPolicy = NetworkPolicy()
    pod_monitoring: bool = Field(default=False, description="PodMonitoring objects for Google managed Prometheus.")
    model_cache_claim: ObjectName | None = Field(
        default=None, description="PersistentVolumeClaim for downloaded weights. Default: the pod's local disk."
    )
    env: dict[str, str] = Field(default_factory=dict[str, str], description="More environment of the Ray containers.")
    probe_timeout_s: int = Field(default=5, ge=1, le=60)

    @field_validator("image")
    @classmethod
    def _image(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not re.fullmatch(r"[\w./:-]+(@sha256:[0-9a-f]{64})?", value):
            raise ValueError("must be an image reference such as HOST/PROJECT/switchyard:1.0 or ...@sha256:DIGEST")
        last = value.rsplit("/", 1)[-1]
        if "@" not in value and (":" not in last or last.endswith(":latest")):
            raise ValueError("must have a tag other than latest, or a digest: what runs has to be known")
        return value

    @field_validator("env")
    @classmethod
    def _env(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if re.search(r"TOKEN|PASSWORD|SECRET|API_KEY", name):
                raise ValueError(f"{name} looks like a secret; put it into a Secret (hf_token, api_keys)")
        return value

    @model_validator(mode="after")
    def _groups(self) -> KubernetesConfig:
        names = [group.name for group in self.worker_groups]
        if len(set(names)) < len(names):
            raise ValueError(f"worker_groups: each needs a name of its own, not {', '.join(names)}")
        return self


class Service(NamedTuple):
    """A service file as this package sees it."""

    config: ServiceConfig
    kubernetes: KubernetesConfig

    @property
    def name(self) -> str:
        """Of the RayService, and the label ``app.kubernetes.io/instance``."""
        return self.config.name


def load(path: str | Path, environ: Mapping[str, str]) -> Service:
    """Read a service file.

    Raises:
        ConfigError: it cannot be read, or asks for what cannot be.
    """
    file = Path(path)
    try:
        text = service_file.read(file)
        overrides = service_file.overrides_in(environ)
        parsed = service_file.override(service_file.parse(text, str(file)), overrides)
        config = parse_config(text, source=str(file), environ=environ)
        return check(Service(config, parsed.section("kubernetes", KubernetesConfig)))
    except (service_file.ServiceFileError, ServiceConfigError) as error:
        raise ConfigError(str(error)) from None


def check(service: Service) -> Service:
    """What one section alone cannot tell.

    Raises:
        ConfigError: the sections contradict each other.
    """
    config, kubernetes = service
    if kubernetes.image is None:
        raise ConfigError(
            "kubernetes.image is missing: the image the pods run. Build it with `make image`, push it to a registry "
            "the cluster can pull from, and name it here."
        )
    if len(config.name) > MAX_NAME:
        raise ConfigError(f"name: KubeRay allows {MAX_NAME} characters, '{config.name}' has {len(config.name)}.")
    if config.serving.api_keys_file is not None and kubernetes.api_keys is None:
        raise ConfigError(
            "serving.api_keys_file names a file of this machine. On Kubernetes put it into a Secret and name that in "
            "kubernetes.api_keys (name, key)."
        )
    if config.model.id.startswith(("/", ".", "~")) and kubernetes.model_cache_claim is None:
        raise ConfigError(
            f"model.id is the folder {config.model.id}, which pods do not have. Upload the model to a bucket "
            "(gs://bucket/path), or name a volume that holds it in kubernetes.model_cache_claim."
        )
    most = sum(group.max_replicas or config.scaling.max_replicas for group in kubernetes.worker_groups)
    if most < config.scaling.min_replicas:
        raise ConfigError(
            f"kubernetes.worker_groups allow {most} replicas in all, scaling.min_replicas is "
            f"{config.scaling.min_replicas}."
        )
    return service


MAX_NAME = 47
"""KubeRay's bound for RayService names (ray-operator/controllers/ray/utils/constant.go, MaxRayServiceNameLength)."""
