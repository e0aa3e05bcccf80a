"""Network, router, firewall, and what the project could make where, through google-cloud-compute (REST)."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from cluster.config import ClusterConfig
from cluster.errors import NotFound
from cluster.gcp.calls import failed_operation
from cluster.gcp.clients import Clients
from cluster.gcp.messages import Pending, Steps, message, spec_of
from cluster.model import Action, Found, Key, Quota, Spec, mark_of

_CLIENTS = {
    "network": ("networks", "NetworksClient", "Network", False),
    "subnetwork": ("subnetworks", "SubnetworksClient", "Subnetwork", True),
    "router": ("routers", "RoutersClient", "Router", True),
    "firewall": ("firewalls", "FirewallsClient", "Firewall", False),
}
"""Kind -> module, client, message, whether it belongs to a region."""


class Compute:
    """Reads and changes the network; lists disks that a destroyed cluster left."""

    kinds = (*_CLIENTS, "disk")

    def __init__(self, config: ClusterConfig, clients: Clients) -> None:
        self._config = config
        self._clients = clients
        self._call = clients.call

    def read(self, key: Key) -> Found | None:
        """One of them as it is now."""
        if key.kind == "disk":
            return next((found for found in self.disks() if found.key == key), None)
        client, place = self._client(key.kind), self._place(key.kind)
        got = self._call.maybe(f"compute.{key.kind}s.get", client.get, {**place, key.kind: key.name})
        if got is None:
            return None
        spec = spec_of(got)
        return Found(key, spec, ours=spec.get("description") == mark_of(self._config.name))

    def disks(self) -> list[Found]:
        """Persistent disks that volumes of this cluster left behind; GKE labels them with the cluster's name."""
        client = self._clients.compute("disks", "DisksClient")
        wanted = f'labels.goog-k8s-cluster-name="{self._config.name}"'
        pages = self._call.read(
            "compute.disks.aggregatedList",
            client.aggregated_list,
            {"project": self._config.project, "filter": wanted},
        )
        return [
            Found(Key("disk", disk.name), {"zone": disk.zone.rsplit("/", 1)[-1], "sizeGb": str(disk.size_gb)})
            for _, scope in pages
            for disk in scope.disks
            if disk.labels.get("goog-k8s-cluster-location", self._config.location) == self._config.location
        ]

    def create(self, key: Key, spec: Spec) -> Steps:
        client = self._client(key.kind)
        kind = self._message(key.kind)
        body = message(kind, {"name": key.name, **spec})
        request = {**self._place(key.kind), f"{key.kind}_resource": body, "request_id": str(uuid.uuid4())}
        yield self._followed(self._call.write(f"compute.{key.kind}s.insert", client.insert, request), key)

    def update(self, action: Action) -> Steps:
        kind, name = action.key
        client = self._client(kind)
        changed = {change.path.split(".")[0] for change in action.changes}
        spec: dict[str, Any] = {part: action.spec[part] for part in changed}
        request: dict[str, Any] = {**self._place(kind), kind: name, "request_id": str(uuid.uuid4())}
        if kind == "subnetwork":
            request["subnetworks_set_private_ip_google_access_request_resource"] = {
                "private_ip_google_access": spec["privateIpGoogleAccess"]
            }
            method = client.set_private_ip_google_access
        else:
            request[f"{kind}_resource"] = message(self._message(kind), spec)
            method = client.patch
        yield self._followed(self._call.write(f"compute.{kind}s.patch", method, request), action.key)

    def delete(self, key: Key, found: Found | None) -> Steps:
        request: dict[str, Any] = {"request_id": str(uuid.uuid4())}
        if key.kind == "disk":
            client = self._clients.compute("disks", "DisksClient")
            zone = found.spec["zone"] if found else self._config.location
            request |= {"project": self._config.project, "zone": zone, "disk": key.name}
        else:
            client = self._client(key.kind)
            request |= {**self._place(key.kind), key.kind: key.name}
        try:
            done = self._call.write(f"compute.{key.kind}s.delete", client.delete, request)
        except NotFound:
            return
        yield self._followed(done, key)

    def zones_by_accelerator(self) -> dict[str, tuple[str, ...]]:
        """Accelerator type -> all zones that have it: one call."""
        client = self._clients.compute("accelerator_types", "AcceleratorTypesClient")
        pages = self._call.read(
            "compute.acceleratorTypes.aggregatedList", client.aggregated_list, {"project": self._config.project}
        )
        zones: dict[str, list[str]] = {}
        for place, scope in pages:
            for item in scope.accelerator_types:
                zones.setdefault(item.name, []).append(place.rsplit("/", 1)[-1])
        return {name: tuple(sorted(places)) for name, places in zones.items()}

    def quotas(self) -> dict[str, dict[str, Quota]]:
        """Region -> metric -> limit and usage, for all regions: one call."""
        client = self._clients.compute("regions", "RegionsClient")
        regions = self._call.read("compute.regions.list", client.list, {"project": self._config.project})
        return {region.name: {q.metric: Quota(q.limit, q.usage) for q in region.quotas} for region in regions}

    def all_regions_gpus(self) -> Quota | None:
        """The project's quota of GPUs everywhere together."""
        client = self._clients.compute("projects", "ProjectsClient")
        project = self._call.read("compute.projects.get", client.get, {"project": self._config.project})
        return next((Quota(q.limit, q.usage) for q in project.quotas if q.metric == "GPUS_ALL_REGIONS"), None)

    def _client(self, kind: str) -> Any:
        service, name, _, _ = _CLIENTS[kind]
        return self._clients.compute(service, name)

    def _message(self, kind: str) -> Any:
        from google.cloud.compute_v1.types import compute

        return getattr(compute, _CLIENTS[kind][2])

    def _place(self, kind: str) -> dict[str, str]:
        regional = _CLIENTS[kind][3]
        return {"project": self._config.project, **({"region": self._config.region} if regional else {})}

    def _followed(self, started: Any, key: Key) -> Pending:
        # Compute's ExtendedOperation sleeps for real when it polls; so the operation is asked for here.
        operation, place = _operation_of(started)
        service = {"zone": "zone_operations", "region": "region_operations", "": "global_operations"}[place[0]]
        name = {"zone": "ZoneOperationsClient", "region": "RegionOperationsClient", "": "GlobalOperationsClient"}
        client = self._clients.compute(service, name[place[0]])
        request = {"project": self._config.project, "operation": operation}
        if place[0]:
            request[place[0]] = place[1]
        return Pending(str(key), self._poll(client.get, request, key))

    def _poll(self, get: Callable[..., Any], request: dict[str, str], key: Key) -> Callable[[], bool | None]:
        def poll() -> bool | None:
            found = self._call.read("compute.operations.get", get, request)
            if str(getattr(found.status, "name", found.status)) != "DONE":
                return None
            if errors := list(found.error.errors):
                text = "; ".join(error.message for error in errors)
                raise failed_operation(str(key), text, [error.code for error in errors])
            return True

        return poll


def _operation_of(started: Any) -> tuple[str, tuple[str, str]]:
    """The operation's name and its place: ("zone", name), ("region", name) or ("", "")."""
    if zone := getattr(started, "zone", ""):
        return started.name, ("zone", zone.rsplit("/", 1)[-1])
    if region := getattr(started, "region", ""):
        return started.name, ("region", region.rsplit("/", 1)[-1])
    return started.name, ("", "")
