"""Google Cloud as one thing to read from and act on: which file looks after which kind of resource."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from cluster.config import ClusterConfig
from cluster.errors import ConfigError
from cluster.gcp.clients import GRPC_VARIABLE, REST_VARIABLE, Clients, Endpoints
from cluster.gcp.compute import Compute
from cluster.gcp.container import Container
from cluster.gcp.iam import Grants, Iam
from cluster.gcp.messages import Steps
from cluster.gcp.monitoring import Budgets, Dashboards, Monitoring
from cluster.gcp.services import Apis, Registry, Secrets
from cluster.gcp.stock import read_stock
from cluster.gcp.storage import Storage
from cluster.model import Action, Found, Key, Observed, Spec, Wanted
from cluster.wanted.resources import api_of, apis

POLL_S = 5.0
READERS = 8
"""Reads in flight together: each takes Google a tenth of a second or more, and a plan needs a score of them."""


def open_cloud(config: ClusterConfig, token: str, environ: Mapping[str, str]) -> Cloud:
    """The cloud that the environment points at: Google, or a stand-in.

    Raises:
        ConfigError: it points at half of a stand-in.
    """
    endpoints = Endpoints(environ.get(GRPC_VARIABLE, ""), environ.get(REST_VARIABLE, ""))
    if bool(endpoints.grpc) != bool(endpoints.rest):
        raise ConfigError(
            f"Only one of {GRPC_VARIABLE} and {REST_VARIABLE} is set, so that half of the calls would go to Google; "
            "set both or neither."
        )
    poll_s = 0.1 if endpoints.stand_in else POLL_S
    return Cloud(config, Clients(config.project, endpoints), token=token, poll_s=poll_s)


class Cloud:
    """One project, as far as one cluster is concerned.

    Args:
        token: the Hugging Face token, where there is one at hand.
        readers: reads in flight together.
        poll_s: seconds between two questions about an operation.
    """

    def __init__(
        self,
        config: ClusterConfig,
        clients: Clients,
        *,
        token: str = "",
        readers: int = READERS,
        poll_s: float = POLL_S,
    ) -> None:
        self.config = config
        self.clients = clients
        self.clock = clients.call.clock
        self.poll_s = poll_s
        self.container = Container(config, clients)
        self.secrets = Secrets(config, clients, token)
        self.compute = Compute(config, clients)
        self.storage = Storage(config, clients)
        self._apis = Apis(config, clients)
        self._iam = Iam(config, clients)
        self._grants = Grants(config, clients)
        self._registry = Registry(config, clients)
        self._monitoring = Monitoring(config, clients)
        self._dashboards = Dashboards(config, clients)
        self._budgets = Budgets(config, clients)
        self._readers = readers
        parts: tuple[Any, ...] = (
            self.container,
            self.secrets,
            self.compute,
            self.storage,
            self._apis,
            self._iam,
            self._grants,
            self._registry,
            self._monitoring,
            self._dashboards,
            self._budgets,
        )
        self._of = {kind: part for part in parts for kind in part.kinds}

    def observe(self, wanted: Sequence[Wanted], *, sweep: bool = False) -> Observed:
        """Read everything that is wanted, in parallel.

        Args:
            sweep: also count the bucket's objects, and find a budget and channels that are no longer wanted, and the
                disks that the cluster's volumes left: what ``destroy`` must know.
        """
        enabled = self._apis.observe(apis(self.config))
        disabled = frozenset(apis(self.config)) - frozenset(enabled.spec["services"])
        specs = {item.key: item.spec for item in wanted}
        keys = [key for key in specs if key.kind != "apis" and api_of(key.kind) not in disabled]
        jobs = self._jobs(keys, specs, disabled, sweep=sweep)
        if sweep and api_of("disk") not in disabled:
            jobs.append(self.compute.disks)
        found = [item for items in self._together(jobs) for item in items]
        everything = {item.key: item for item in [enabled, *found]} if enabled.spec["services"] else {}
        return Observed(everything, disabled)

    def stock(self) -> Any:
        """Zones, quotas and versions, for pools that are yet to be made."""
        return read_stock(self.config, self.clients, self.compute, self.container, self._together)

    def read(self, key: Key, spec: Spec) -> Found | None:
        """One resource as it is now."""
        part = self._of[key.kind]
        return part.read(key, spec) if key.kind in ("apis", "grant") else part.read(key)

    def create(self, key: Key, spec: Spec) -> Steps:
        """Make it; yields the operations to follow."""
        return self._of[key.kind].create(key, spec)

    def update(self, action: Action) -> Steps:
        """Change it in place."""
        return self._of[action.key.kind].update(action)

    def delete(self, key: Key, found: Found | None) -> Steps:
        """Delete it; a thing that is gone already is no error."""
        return self._of[key.kind].delete(key, found)

    def _jobs(
        self, keys: Sequence[Key], specs: dict[Key, Spec], disabled: frozenset[str], *, sweep: bool
    ) -> list[Callable[[], Iterable[Found]]]:
        def one(key: Key) -> Callable[[], list[Found]]:
            def job() -> list[Found]:
                found = self.read(key, {})
                return [found] if found else []

            return job

        kinds = {key.kind for key in keys}
        single = ("network", "subnetwork", "router", "firewall", "secret-version", "dashboard", "budget")
        jobs: list[Callable[[], Iterable[Found]]] = [one(key) for key in keys if key.kind in single]
        if "cluster" in kinds:
            jobs.append(self.container.observe)
        if "service-account" in kinds:
            jobs.append(self._iam.observe)
        buckets = [key.name for key in keys if key.kind == "bucket"]
        listed: tuple[tuple[str, Callable[[], list[Found]]], ...] = (
            ("bucket", lambda: self.storage.observe(buckets, contents=sweep)),
            ("repository", self._registry.observe),
            ("secret", self.secrets.observe),
        )
        for kind, observe in listed:
            if api_of(kind) not in disabled:  # what is no longer wanted is found as well
                jobs.append(partial(_ours_or_wanted, observe, frozenset(keys)))
        if api_of("alert") not in disabled:
            # Channels of ours are looked for where the file wants one, and when everything is to go.
            channels = "channel" in kinds or sweep
            jobs.append(lambda: self._monitoring.observe(channels=channels))
        if sweep and "budget" not in kinds:
            jobs.append(self._budgets.leftover)
        grants: dict[tuple[str, str], dict[Key, Spec]] = {}
        for key in keys:
            if key.kind == "grant":
                spec = specs[key]
                grants.setdefault((spec["on"], spec["resource"]), {})[key] = spec
        jobs += [partial(self._grants.observe, group) for group in grants.values()]
        return jobs

    def _together(self, jobs: Sequence[Callable[[], Any]]) -> list[Any]:
        if self._readers == 1:
            return [job() for job in jobs]
        with ThreadPoolExecutor(self._readers) as pool:
            return [future.result() for future in [pool.submit(job) for job in jobs]]


def _ours_or_wanted(observe: Callable[[], list[Found]], wanted: Collection[Key]) -> list[Found]:
    return [found for found in observe() if found.ours or found.key in wanted]
