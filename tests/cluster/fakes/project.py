"""The state of a fake project, its clock, its faults, and the journal of everything it was asked."""

from __future__ import annotations

import fnmatch
import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

PROJECT = "my-project"
NUMBER = "123456789"


class Fault(Exception):
    """An error answer: an HTTP status, a gRPC code of the same meaning, a message and Google's reason."""

    GRPC = {  # noqa: RUF012
        400: "INVALID_ARGUMENT",
        401: "UNAUTHENTICATED",
        403: "PERMISSION_DENIED",
        404: "NOT_FOUND",
        409: "ALREADY_EXISTS",
        412: "FAILED_PRECONDITION",
        429: "RESOURCE_EXHAUSTED",
        500: "INTERNAL",
        503: "UNAVAILABLE",
    }

    def __init__(self, status: int, message: str, reason: str = "", grpc: str = "", **metadata: str) -> None:
        super().__init__(message)
        self.status, self.message, self.reason = status, message, reason
        self.code = grpc or self.GRPC[status]
        self.metadata = metadata


def Fault429() -> Fault:
    return Fault(429, "Quota exceeded for quota metric 'Requests'", "RATE_LIMIT_EXCEEDED")


def Fault503() -> Fault:
    return Fault(503, "The service is currently unavailable")


class FakeClock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.time = 1_000_000.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


@dataclass
class Entry:
    """One request."""

    method: str
    write: bool
    request: dict[str, Any]


@dataclass
class Running:
    """A long-running operation: done when its time has come, and then ``finish`` has changed the state."""

    name: str
    done_at: float
    finish: Callable[[], None]
    target: str = ""
    error: tuple[int, str, str] | None = None
    over: bool = False


@dataclass
class Planned:
    """A fault to be thrown: by method pattern, so many times; before the work is done or after."""

    pattern: str
    fault: Fault
    times: int
    after: bool = False


@dataclass
class FakeGoogle:
    """One project.

    Attributes:
        slow: factor on how long operations take; 1 is roughly as Google does, in seconds.
        lag_s: how long a new service account, or an API that was just enabled, is unknown to others.
        journal: every request, in order.
    """

    clock: Any = field(default_factory=FakeClock)
    slow: float = 1.0
    lag_s: float = 0.0
    project: str = PROJECT
    billing: bool = True
    journal: list[Entry] = field(default_factory=list)
    faults: list[Planned] = field(default_factory=list)
    services: dict[str, float] = field(default_factory=dict)  # enabled API -> when it is known everywhere
    operations: dict[str, Running] = field(default_factory=dict)
    compute: dict[str, dict[str, Any]] = field(default_factory=dict)  # "networks/x", "us-central1/subnetworks/x"
    clusters: dict[str, Any] = field(default_factory=dict)  # location/name -> container_v1.Cluster
    missing_zones: list[str] = field(default_factory=list)  # of which GKE gets no answer
    buckets: dict[str, dict[str, Any]] = field(default_factory=dict)
    foreign_buckets: set[str] = field(default_factory=set)
    accounts: dict[str, Any] = field(default_factory=dict)  # email -> iam_admin_v1.ServiceAccount
    accounts_since: dict[str, float] = field(default_factory=dict)
    policies: dict[str, Any] = field(default_factory=dict)  # resource -> google.iam.v1.Policy
    repositories: dict[str, Any] = field(default_factory=dict)
    secrets: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, list[bytes]] = field(default_factory=dict)
    disabled_secrets: set[str] = field(default_factory=set)  # secrets whose newest version is disabled
    monitoring: dict[str, Any] = field(default_factory=dict)  # name -> AlertPolicy | NotificationChannel | Dashboard
    budgets: dict[str, Any] = field(default_factory=dict)
    quotas: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict)
    all_regions_gpus: tuple[float, float] = (16, 0)
    families: dict[tuple[str, str], int] = field(default_factory=dict)
    accelerators: dict[str, list[str]] = field(default_factory=dict)
    stockouts: set[str] = field(default_factory=set)  # accelerator types of which there are none
    gke_version: str = "1.35.2-gke.1842000"
    kube: str = ""  # where the cluster's API server is
    dead: bool = False

    def __post_init__(self) -> None:
        self._ids = itertools.count(1)
        self.lock = threading.RLock()
        if not self.quotas:
            metrics = {"NVIDIA_L4_GPUS": (16.0, 0.0), "PREEMPTIBLE_NVIDIA_L4_GPUS": (16.0, 0.0)}
            none = {"NVIDIA_L4_GPUS": (0.0, 0.0), "NVIDIA_A100_GPUS": (0.0, 0.0)}
            self.quotas = {
                "us-central1": {**metrics, "NVIDIA_A100_GPUS": (0.0, 0.0)},
                "europe-west4": metrics,
                "europe-west9": none,
            }
        if not self.accelerators:
            self.accelerators = {
                "nvidia-l4": ["us-central1-a", "us-central1-b", "us-central1-c", "europe-west4-a", "europe-west4-b"],
                "nvidia-tesla-a100": ["us-central1-a", "europe-west4-a"],
                "nvidia-h100-80gb": ["us-central1-a"],
            }

    # Requests

    def begin(self, method: str, write: bool, request: dict[str, Any]) -> None:
        """Every fake's handler begins with this."""
        self.journal.append(Entry(method, write, request))
        for operation in list(self.operations.values()):
            if not operation.over and self.clock.now() >= operation.done_at:
                operation.over = True
                operation.finish()
        self._fail(method, after=False)

    def end(self, method: str) -> None:
        """... and ends with this, when the work is done."""
        self._fail(method, after=True)

    def fail(self, pattern: str, fault: Fault, *, times: int = 1, after: bool = False) -> None:
        """Answer the next requests that match with an error, though with ``after`` the work is done."""
        self.faults.append(Planned(pattern, fault, times, after))

    def _fail(self, method: str, *, after: bool) -> None:
        for planned in self.faults:
            if planned.times and planned.after == after and fnmatch.fnmatch(method, planned.pattern):
                planned.times -= 1
                raise planned.fault

    def need_api(self, api: str) -> None:
        """403 as Google says it, when the API is not enabled, or was so lately."""
        since = self.services.get(api)
        if since is None or self.clock.now() < since:
            raise Fault(
                403,
                f"{api} has not been used in project {self.project} before or it is disabled.",
                "SERVICE_DISABLED",
                service=api,
                consumer=f"projects/{self.project}",
            )

    @property
    def writes(self) -> list[Entry]:
        return [entry for entry in self.journal if entry.write]

    # Operations

    def start(
        self, seconds: float, finish: Callable[[], None], target: str = "", error: tuple[int, str, str] | None = None
    ) -> Running:
        """A new operation."""
        name = f"operation-{next(self._ids)}"
        running = Running(name, self.clock.now() + seconds * self.slow, finish, target, error)
        self.operations[name] = running
        return running

    def settle(self) -> None:
        """Let every operation end."""
        for operation in self.operations.values():
            if not operation.over:
                operation.over = True
                operation.finish()

    def new_id(self) -> int:
        return next(self._ids)

    def known(self, member: str) -> bool:
        """Whether a service account is known to the policies yet."""
        email = member.removeprefix("serviceAccount:")
        if ".svc.id.goog[" in email or not member.startswith("serviceAccount:"):
            return True
        since = self.accounts_since.get(email)
        return since is not None and self.clock.now() >= since + self.lag_s

    # What is left

    def billable(self) -> list[str]:
        """Everything that costs money while it exists."""
        routers = [name for name, item in self.compute.items() if "/routers/" in name and item.get("nats")]
        disks = [name for name in self.compute if "/disks/" in name]
        return sorted(
            [*self.clusters, *self.buckets, *self.repositories, *routers, *disks]
            + [name for name, versions in self.versions.items() if versions]
        )

    def everything(self) -> list[str]:
        """Every resource there is, by name: to see twins and orphans."""
        pools = [f"{name}/{pool.name}" for name, cluster in self.clusters.items() for pool in cluster.node_pools]
        titles = [getattr(item, "display_name", "") for item in self.monitoring.values()]
        bindings = [
            f"{resource}:{binding.role}:{member}"
            for resource, policy in self.policies.items()
            for binding in policy.bindings
            for member in binding.members
        ]
        budgets = [budget.display_name for budget in self.budgets.values()]
        return sorted(
            [*self.compute, *self.clusters, *pools, *self.buckets, *self.accounts, *self.repositories, *self.secrets]
            + [f"{name}#{number}" for name, all_ in self.versions.items() for number in range(len(all_))]
            + titles
            + bindings
            + budgets
        )
