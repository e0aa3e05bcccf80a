"""The ``kubernetes`` section of a service file: how the service is laid out on a cluster. Pure.

What is served, and how, is in the other sections (:mod:`serve_app.config`); nothing of it is repeated here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, model_validator

import service_file
from kuberay.accelerators import GPU_RESOURCE
from kuberay.errors import ConfigError
from kuberay.names import INCREMENTAL
from kuberay.rollout_config import Rollout
from kuberay.values import Amount, Cpus, DnsLabel, Env, GroupName, Image, ObjectName, Size
from serve_app.config import ServiceConfig, parse_config
from serve_app.errors import ConfigError as ServiceConfigError
from service_file import Section


class SecretKey(Section):
    """One key of a Secret."""

    name: ObjectName
    key: str = Field(pattern=r"^[-._a-zA-Z0-9]+$")


class Head(Section):
    """The head pod. It runs no replica: Ray's control plane, Serve's controller and the autoscaler only."""

    cpu: Cpus = "2"
    memory: Size = "8Gi"
    node_selector: dict[str, str] = Field(default_factory=dict[str, str])
    tolerations: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])


class WorkerGroup(Section):
    """Worker pods of one kind. A replica fills one pod, or one pod a pipeline stage."""

    name: GroupName = "workers"
    accelerator: str | None = Field(default=None, description="Ray accelerator type, if not engine.accelerator.")
    spot: bool = Field(default=False, description="On spot nodes, which may vanish with 15 s of notice.")
    priority: int | None = Field(
        default=None, ge=0, description="Groups with a higher number are tried first (KubeRay 1.7). Default: in order."
    )
    min_replicas: int | None = Field(
        default=None, ge=0, description="Default: scaling.min_replicas, in the first group."
    )
    max_replicas: int | None = Field(default=None, ge=1, description="Default: scaling.max_replicas.")
    cpu: Cpus | None = Field(default=None, description="CPUs of a pod. Default: by accelerator and GPU count.")
    memory: Size | None = Field(default=None, description="Memory of a pod. Default: by accelerator and GPU count.")
    ephemeral_storage: Size | None = Field(default=None, description="Local disk of a pod, for downloaded weights.")
    extra_resources: dict[str, Amount] = Field(
        default_factory=dict[str, Amount], description="More of what nodes offer, asked for by each pod."
    )
    node_selector: dict[str, str] = Field(default_factory=dict[str, str])
    tolerations: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])

    @model_validator(mode="after")
    def _ordered(self) -> WorkerGroup:
        if self.min_replicas is not None and self.max_replicas is not None and self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas ({self.min_replicas}) is above max_replicas ({self.max_replicas})")
        return self


class Upgrade(Section):
    """How a new release takes over."""

    strategy: Literal["NewCluster", "NewClusterWithIncrementalUpgrade", "None"] = "NewCluster"
    keep_old_s: int = Field(
        default=600,
        ge=0,
        le=86_400,
        description="How long the old cluster stays after a switch, for a warm rollback. Not incremental.",
    )
    gateway_class: str | None = Field(default=None, description="Incremental: the GatewayClass.")
    max_surge_percent: int = Field(default=100, ge=1, le=100)
    step_size_percent: int = Field(default=10, ge=0, le=100)
    interval_s: int = Field(default=120, ge=1)

    @model_validator(mode="after")
    def _incremental(self) -> Upgrade:
        if self.strategy == INCREMENTAL:
            if not self.gateway_class:
                raise ValueError(f"strategy {INCREMENTAL} needs gateway_class")
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
        if self.redis_password is not None and self.backend != "redis":
            raise ValueError("redis_password belongs to backend redis")
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
    image: Image | None = Field(default=None, description="The image built from the Dockerfile, by tag or digest.")
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
    env: Env = Field(default_factory=dict[str, str], description="More environment of the Ray containers.")
    probe_timeout_s: int = Field(default=5, ge=1, le=60)

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
    rollout: Rollout = Rollout()

    @property
    def name(self) -> str:
        """Of the RayService, and the label ``app.kubernetes.io/instance``."""
        return self.config.name


def load(path: str | Path, environ: Mapping[str, str]) -> Service:
    """Read a service file.

    Raises:
        ConfigError: it cannot be read, or asks for what cannot be.
    """
    try:
        text = service_file.read(Path(path))
    except service_file.ServiceFileError as error:
        raise ConfigError(str(error)) from None
    return parse(text, source=str(path), environ=environ)


def parse(text: str, *, source: str, environ: Mapping[str, str]) -> Service:
    """Turn a service file's text into a service, overrides applied. ``source`` is the file's name, for messages.

    Raises:
        ConfigError: it asks for what cannot be.
    """
    try:
        config = parse_config(text, source=source, environ=environ)
        file = service_file.override(service_file.parse(text, source), service_file.overrides_in(environ))
        kubernetes, rollout = file.section("kubernetes", KubernetesConfig), file.section("rollout", Rollout)
        return check(Service(config, kubernetes, rollout))
    except (service_file.ServiceFileError, ServiceConfigError) as error:
        raise ConfigError(str(error)) from None


def check(service: Service) -> Service:
    """What one section alone cannot tell.

    Raises:
        ConfigError: the sections contradict each other.
    """
    config, kubernetes, _ = service
    if kubernetes.image is None:
        raise ConfigError(
            "kubernetes.image is missing: the image the pods run. Build it with `make image`, push it to a registry "
            "the cluster can pull from, and name it here."
        )
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
    if most < config.scaling.max_replicas:
        raise ConfigError(
            f"kubernetes.worker_groups allow {most} replicas in all, scaling.max_replicas is "
            f"{config.scaling.max_replicas}: Serve would wait for pods that cannot come. Raise a group's max_replicas, "
            "or lower scaling.max_replicas."
        )
    _check_placement(service)
    return service


def _check_placement(service: Service) -> None:
    """Whether Ray could ever find room for a replica in these groups."""
    engine = service.config.engine
    if engine.on_cpu and engine.cpus_per_worker == 0:
        raise ConfigError(
            "engine.cpus_per_worker is 0 on CPUs: a replica that asks for nothing would be put on the head, and no "
            "worker pod be made for it. Set it to 1 or more."
        )
    for group in service.kubernetes.worker_groups:
        if group.accelerator is not None and engine.on_cpu:
            raise ConfigError(
                f"Worker group '{group.name}' has accelerator {group.accelerator}, but engine.accelerator is cpu. Set "
                "engine.accelerator, or leave the group's out."
            )
        if group.accelerator is not None and engine.accelerator not in ("gpu", group.accelerator):
            raise ConfigError(
                f"Worker group '{group.name}' has accelerator {group.accelerator}, but engine.accelerator is "
                f"{engine.accelerator}: no replica would fit there. Set engine.accelerator to gpu (any), or leave the "
                "group's out."
            )
        if GPU_RESOURCE in group.extra_resources and not engine.on_cpu:
            raise ConfigError(
                f"Worker group '{group.name}' asks for {GPU_RESOURCE} in extra_resources; a pod's GPUs come from "
                "engine.tensor_parallel_size. Leave it out."
            )
