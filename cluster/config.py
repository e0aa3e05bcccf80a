"""The service file's ``cluster`` section, typed. Pure.

Everything but ``project`` and ``region`` has a default; the names of what is made come from ``name``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, field_validator, model_validator
from pydantic_core import CoreSchema, core_schema

from cluster.gpus import GPU_MACHINES, SYSTEM_MACHINES, Machine, machine
from service_file import Section


def _range(value: str) -> str:
    if "/" not in value:
        raise ValueError("is no range of addresses: it needs its size, as in 10.10.0.0/20")
    try:
        IPv4Network(value)
    except ValueError as error:
        raise ValueError(f"is no range of addresses: {error}") from error
    return value


@dataclass(frozen=True)
class _Like:
    """Metadata of a text: its pattern, and the words for it that an error has."""

    pattern: str
    words: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "pattern": self.pattern}

    def _check(self, value: str) -> str:
        if not re.search(self.pattern, value) or value.endswith("\n"):
            raise ValueError(f"is not {self.words}")
        return value


_PLAIN = "small letters, digits and hyphens, a letter first and no hyphen last"
Name = Annotated[str, _Like(r"^[a-z]([-a-z0-9]{0,22}[a-z0-9])?$", f"a name of 1 to 24 characters: {_PLAIN}")]
"""With ``-nodes`` a service account may have 30."""
PoolName = Annotated[str, _Like(r"^[a-z]([-a-z0-9]{0,28}[a-z0-9])?$", f"a name of 1 to 30 characters: {_PLAIN}")]
ObjectName = Annotated[
    str,
    _Like(
        r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$",
        "a name in Kubernetes: 1 to 63 small letters, digits and hyphens, no hyphen first or last",
    ),
]
"""Of a namespace or a service account."""
SecretName = Annotated[
    str,
    _Like(
        r"^[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$",
        "the name of a Kubernetes secret: small letters, digits, hyphens and dots, a letter or digit first and last",
    ),
]
SecretKey = Annotated[
    str, _Like(r"^[-._a-zA-Z0-9]{1,253}$", "a key of a Kubernetes secret: letters, digits, hyphens, dots, underscores")
]
Cidr = Annotated[str, AfterValidator(_range)]
Region = Annotated[str, _Like(r"^[a-z]+-[a-z]+\d{1,2}$", "a region such as us-central1")]
Zone = Annotated[str, _Like(r"^[a-z]+-[a-z]+\d{1,2}-[a-z]$", "a zone such as us-central1-a")]
BucketName = Annotated[
    str,
    _Like(
        r"^[a-z0-9][-_.a-z0-9]{1,61}[a-z0-9]$",
        "a bucket's name: 3 to 63 small letters, digits, hyphens, underscores and dots, a letter or digit first and "
        "last",
    ),
]
Email = Annotated[str, _Like(r"^[^@\s]+@[^@\s]+\.[^@\s]+$", "an e-mail address")]
ProjectId = Annotated[
    str,
    _Like(r"^[a-z][-a-z0-9]{4,28}[a-z0-9]$", f"a project's id (neither its name nor its number): 6 to 30 {_PLAIN}"),
]
Version = Annotated[str, _Like(r"^\d+\.\d+\.\d+$", "a version such as 1.7.0, in quotes")]


class PoolConfig(Section):
    """A pool of GPU nodes."""

    machine: str = Field(description="Machine type; it decides the GPU and their number: g2-standard-8, a3-highgpu-8g.")
    min_nodes: int = Field(default=0, ge=0, le=1000, description="Nodes that are always there, over all zones.")
    max_nodes: int = Field(default=1, ge=1, le=1000, description="Nodes the autoscaler may make, over all zones.")
    spot: Literal["no", "only", "beside"] = Field(
        default="no", description="Spot machines: none, nothing else, or a second pool NAME-spot beside this one."
    )
    spot_grace_s: Literal[0, 30, 120] = Field(
        default=120, description="Seconds a spot node's pods have to end, where GKE offers a choice (0: GKE's default)."
    )
    zones: list[Zone] = Field(
        default_factory=list[Zone], description="Default: every zone of the region that has the accelerator."
    )
    local_ssds: int = Field(default=0, ge=0, le=32, description="Local SSDs for weights, 375 GiB each (emptyDir).")
    disk_gb: int = Field(default=100, ge=50, le=10_000, description="Boot disk of a node, GiB; images live there.")
    compact: bool = Field(default=False, description="Nodes close together, in one zone: for models over two nodes.")

    @field_validator("spot", mode="before")
    @classmethod
    def _spot(cls, value: object) -> object:
        return "no" if value is False else value  # YAML takes a bare no for false

    @field_validator("machine")
    @classmethod
    def _machine(cls, value: str) -> str:
        if value not in GPU_MACHINES:
            raise ValueError(f"is not a GPU machine type known here; known: {', '.join(GPU_MACHINES)}")
        return value

    @model_validator(mode="after")
    def _fits(self) -> PoolConfig:
        shape = self.shape
        if self.min_nodes > self.max_nodes:
            raise ValueError(f"min_nodes ({self.min_nodes}) is above max_nodes ({self.max_nodes})")
        if self.local_ssds and shape.local_ssds:
            raise ValueError(f"{self.machine} comes with {shape.local_ssds} local SSDs; leave local_ssds out")
        if self.local_ssds and self.local_ssds not in shape.optional_ssds:
            allowed = ", ".join(map(str, shape.optional_ssds))
            raise ValueError(f"{self.machine} takes {allowed} local SSDs, not {self.local_ssds}")
        if twice := sorted({zone for zone in self.zones if self.zones.count(zone) > 1}):
            raise ValueError(f"{twice[0]} is in zones more than once")
        if self.compact and len(self.zones) != 1:
            raise ValueError("compact needs exactly one zone in zones: nodes close together are in one")
        return self

    @property
    def shape(self) -> Machine:
        return machine(self.machine)


class SystemPoolConfig(Section):
    """The nodes that KubeRay, the Ray heads and GKE's own pods run on."""

    machine: str = "e2-standard-4"
    min_nodes: int = Field(default=1, ge=1, le=20)
    max_nodes: int = Field(default=3, ge=1, le=20)

    @field_validator("machine")
    @classmethod
    def _machine(cls, value: str) -> str:
        if value not in SYSTEM_MACHINES:
            raise ValueError(f"is not a machine type known here; known: {', '.join(SYSTEM_MACHINES)}")
        return value

    @model_validator(mode="after")
    def _ordered(self) -> SystemPoolConfig:
        if self.min_nodes > self.max_nodes:
            raise ValueError(f"min_nodes ({self.min_nodes}) is above max_nodes ({self.max_nodes})")
        return self


class NetworkConfig(Section):
    """Address ranges of the VPC that is made."""

    nodes: Cidr = "10.10.0.0/20"
    pods: Cidr = "10.64.0.0/14"
    services: Cidr = "10.11.0.0/20"

    @model_validator(mode="after")
    def _apart(self) -> NetworkConfig:
        for one, other in (("nodes", "pods"), ("nodes", "services"), ("pods", "services")):
            first, second = getattr(self, one), getattr(self, other)
            if IPv4Network(first).overlaps(IPv4Network(second)):
                raise ValueError(f"{one} ({first}) and {other} ({second}) overlap")
        return self


class BucketConfig(Section):
    """The bucket for weights."""

    name: BucketName | None = Field(default=None, description="Bucket names are global. Default: PROJECT-NAME-models.")
    old_versions_days: int = Field(default=30, ge=1, le=3650, description="Overwritten weights are kept for so long.")


class AlertsConfig(Section):
    """What is told to whom."""

    email: Email | None = Field(default=None, description="Where alerts go. Without it they show in the console only.")
    error_rate: float = Field(default=0.01, gt=0, lt=1, description="Share of failed requests over 5 minutes.")
    latency_p95_s: float = Field(default=30, gt=0, description="95th percentile of whole requests over 10 minutes.")
    gpu_idle_minutes: int = Field(default=60, ge=10, le=1380, description="A GPU below 5 % for so long.")
    rollout_minutes: int = Field(default=60, ge=10, le=1380, description="A rollout in progress for so long.")


class MaintenanceConfig(Section):
    """When Google may upgrade the control plane and the nodes, GPU nodes among them."""

    days: list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]] = Field(min_length=1)
    start: Annotated[str, _Like(r"^([01]\d|2[0-3]):[0-5]\d$", "a time such as 02:00")] = Field(description="UTC.")
    hours: int = Field(ge=4, le=24, description="How long a window is.")

    @field_validator("start", mode="before")
    @classmethod
    def _start(cls, value: object) -> object:
        # YAML takes a bare 22:00 for a number of base 60, and a bare 1:00 for the smallest of them.
        if isinstance(value, int) and 60 <= value < 24 * 60:
            return f"{value // 60:02}:{value % 60:02}"
        return value

    @model_validator(mode="after")
    def _enough(self) -> MaintenanceConfig:
        weekly = self.hours * len(set(self.days))
        if weekly < 12:
            raise ValueError(f"GKE wants 48 hours in any 32 days, which are 12 a week; this is {weekly} a week")
        return self


class ClusterConfig(Section):
    """The whole section."""

    project: ProjectId = Field(description="Google Cloud project id (not its number).")
    region: Region
    zone: Zone | None = Field(
        default=None,
        description="A zonal control plane (one replica; cheaper where the free tier covers it). Default: regional.",
    )
    name: Name = Field(default="switchyard", description="Of the cluster; other names begin with it.")
    release_channel: Literal["RAPID", "REGULAR", "STABLE", "EXTENDED"] = "REGULAR"
    ray_operator: Literal["kuberay", "addon"] = Field(
        default="kuberay",
        description="kuberay: the released operator at a version we pin and freeze during rollouts; "
        "addon: GKE's own, upgraded by Google with the cluster.",
    )
    kuberay_version: Version = Field(
        default="1.7.0",
        description="Of the operator that `apply` installs; known ones: cluster/inside/kuberay_release.py.",
    )
    maintenance: MaintenanceConfig | None = Field(
        default=None, description="Google's upgrades happen then only. Default: any time, or what the console says."
    )
    system: SystemPoolConfig = SystemPoolConfig()
    pools: dict[PoolName, PoolConfig] = Field(default_factory=dict[PoolName, PoolConfig])
    network: NetworkConfig = NetworkConfig()
    bucket: BucketConfig = BucketConfig()
    hyperdisk_ml: bool = Field(default=False, description="A StorageClass for weights on Hyperdisk ML volumes.")
    registry: bool = Field(default=True, description="An Artifact Registry repository for the service's image.")
    namespace: ObjectName = "default"
    service_account: ObjectName = Field(default="switchyard", description="Kubernetes service account of the Ray pods.")
    hf_secret: SecretName = Field(default="hf-secret", description="Kubernetes secret with the Hugging Face token.")
    hf_secret_key: SecretKey = "hf_api_token"
    alerts: AlertsConfig = AlertsConfig()
    budget_usd: int | None = Field(default=None, ge=1, description="Monthly budget; mails at 50, 90 and 100 %.")
    deletion_protection: bool = Field(default=False, description="`destroy` refuses while this is true.")

    @model_validator(mode="after")
    def _consistent(self) -> ClusterConfig:
        zones = [zone for pool in self.pools.values() for zone in pool.zones] + ([self.zone] if self.zone else [])
        for zone in zones:
            if not zone.startswith(self.region + "-"):
                raise ValueError(f"zone {zone} is not in region {self.region}")
        names = [pool for pool, _, _ in self.all_pools()]
        clash = sorted({name for name in names if names.count(name) > 1} | ({"system"} & set(names)))
        if clash:
            raise ValueError(f"two pools would be called {clash[0]}; rename one")
        too_long = [name for name in names if len(name) > 35]
        if too_long:
            raise ValueError(f"the pool name {too_long[0]} is longer than 35 characters")
        if self.bucket_name.startswith("goog") or "google" in self.bucket_name:
            raise ValueError(
                f"bucket.name {self.bucket_name!r}: names with 'goog' at the start, or 'google', are taken"
            )
        if ".." in self.bucket_name or re.fullmatch(r"\d+(\.\d+){3}", self.bucket_name):
            raise ValueError(
                f"bucket.name {self.bucket_name!r}: an address, or two dots together, are no bucket's name"
            )
        return self

    @property
    def location(self) -> str:
        """Where the control plane is: a zone or the region."""
        return self.zone or self.region

    @property
    def bucket_name(self) -> str:
        return self.bucket.name or f"{self.project}-{self.name}-models"

    @property
    def workload_email(self) -> str:
        """Google service account of the Ray pods."""
        return f"{self.name}-serve@{self.project}.iam.gserviceaccount.com"

    @property
    def nodes_email(self) -> str:
        """Google service account of the nodes."""
        return f"{self.name}-nodes@{self.project}.iam.gserviceaccount.com"

    def all_pools(self) -> list[tuple[str, PoolConfig, bool]]:
        """(name, settings, spot) of each GPU pool; ``spot: beside`` makes two of one entry."""
        found: list[tuple[str, PoolConfig, bool]] = []
        for name, pool in self.pools.items():
            if pool.spot != "only":
                found.append((name, pool, False))
            if pool.spot != "no":
                found.append((name if pool.spot == "only" else f"{name}-spot", pool, True))
        return found
