"""GKE: the cluster and its node pools, through google-cloud-container."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cluster.config import ClusterConfig
from cluster.errors import NotFound, Unavailable
from cluster.gcp.calls import failed_operation
from cluster.gcp.clients import Clients
from cluster.gcp.messages import Pending, Steps, message, spec_of
from cluster.model import PARKED_LABEL, Action, Found, Key, Spec, Status, bears_labels, labels_of

_STATUS = {
    "PROVISIONING": Status.BUSY,
    "RUNNING": Status.READY,
    "RECONCILING": Status.BUSY,
    "STOPPING": Status.DELETING,
    "ERROR": Status.FAILED,
    "DEGRADED": Status.READY,
    "RUNNING_WITH_ERROR": Status.READY,
}


class Container:
    """Reads and changes clusters and node pools. A pool's key is its name; there is one cluster."""

    kinds = ("cluster", "node-pool")

    def __init__(self, config: ClusterConfig, clients: Clients) -> None:
        self._config = config
        self._clients = clients
        self._call = clients.call
        self._parent = _place(config, config.location)
        self._cluster = f"{self._parent}/clusters/{config.name}"

    def observe(self, *, lag: bool = True) -> Iterable[Found]:
        """The cluster with all its pools: one call. Where there is none, ours of that name in another location.

        Args:
            lag: as for :meth:`cluster.gcp.calls.Caller.read`.

        Raises:
            Unavailable: it was not found, and GKE did not get an answer from all of the region.
        """
        request = {"parent": _place(self._config, "-")}
        got = self._call.read("container.ListClusters", self._api.list_clusters, request, lag=lag)
        named = [one for one in got.clusters if one.name == self._config.name]
        here = [one for one in named if one.location == self._config.location]
        cluster = next(iter(here or [one for one in named if self._ours(one)]), None)
        silent = sorted(zone for zone in got.missing_zones if zone.startswith(self._config.region))
        if cluster is None and silent:
            raise Unavailable(
                f"container.ListClusters: GKE cannot say now what there is in {', '.join(silent)}, so that the cluster "
                f"{self._config.name} may be there or not. Try again in some minutes"
            )
        return [] if cluster is None else list(self._found(cluster))

    def read(self, key: Key) -> Found | None:
        """One of them as it is now."""
        return next((found for found in self.observe() if found.key == key), None)

    def version_of_channel(self) -> str:
        """The version that a new cluster on the release channel gets."""
        config = self._call.read("container.GetServerConfig", self._api.get_server_config, {"name": self._parent})
        for channel in config.channels:
            if channel.channel.name == self._config.release_channel:
                return channel.default_version
        return config.default_cluster_version

    def create(self, key: Key, spec: Spec) -> Steps:
        from google.cloud import container_v1 as gke

        if key.kind == "cluster":
            body = {name: value for name, value in spec.items() if name != "location"}  # the parent says where
            request: Any = gke.CreateClusterRequest(parent=self._parent, cluster=message(gke.Cluster, body))
            yield self._followed(self._call.write("container.CreateCluster", self._api.create_cluster, request), key)
        else:
            request = gke.CreateNodePoolRequest(parent=self._cluster, node_pool=message(gke.NodePool, spec))
            yield self._followed(self._call.write("container.CreateNodePool", self._api.create_node_pool, request), key)

    def delete(self, key: Key, found: Found | None) -> Steps:
        parent = self._parent
        try:
            if key.kind == "cluster":
                # It may be one that was made when the file named another location.
                parent = _place(self._config, found.spec["location"]) if found else parent
                name = f"{parent}/clusters/{self._config.name}"
                done = self._call.write("container.DeleteCluster", self._api.delete_cluster, {"name": name})
            else:
                request = {"name": f"{self._cluster}/nodePools/{key.name}"}
                done = self._call.write("container.DeleteNodePool", self._api.delete_node_pool, request)
        except NotFound:
            return
        yield self._followed(done, key, parent)

    def update(self, action: Action) -> Steps:
        changed = {change.path.split(".")[0] for change in action.changes}
        if action.key.kind == "cluster":
            yield from self._update_cluster(action, changed)
        else:
            yield from self._update_pool(action, changed)

    def _update_cluster(self, action: Action, changed: set[str]) -> Steps:
        from google.cloud import container_v1 as gke

        if "resourceLabels" in changed:
            changed.discard("resourceLabels")
            yield from self.set_labels(action.spec["resourceLabels"])
        if "maintenancePolicy" in changed:
            yield from self._set_maintenance(action.spec["maintenancePolicy"])
        # GKE takes one kind of change a call.
        for desired in _desired(action.spec, changed):
            request = gke.UpdateClusterRequest(name=self._cluster, update=message(gke.ClusterUpdate, desired))
            done = self._call.write("container.UpdateCluster", self._api.update_cluster, request)
            yield self._followed(done, action.key)

    def _update_pool(self, action: Action, changed: set[str]) -> Steps:
        from google.cloud import container_v1 as gke

        name, spec = f"{self._cluster}/nodePools/{action.key.name}", action.spec
        if "autoscaling" in changed:
            yield from self.set_autoscaling(action.key.name, spec["autoscaling"])
        if "size" in changed:
            yield from self.set_size(action.key.name, spec["size"])
        if "management" in changed:
            request: Any = gke.SetNodePoolManagementRequest(
                name=name, management=message(gke.NodeManagement, spec["management"])
            )
            done = self._call.write("container.SetNodePoolManagement", self._api.set_node_pool_management, request)
            yield self._followed(done, action.key)
        below = {change.path.split(".")[1] for change in action.changes if change.path.startswith("config.")}
        for fields in _pool_updates(spec, changed, below):
            request = message(gke.UpdateNodePoolRequest, {"name": name, **fields})
            done = self._call.write("container.UpdateNodePool", self._api.update_node_pool, request)
            yield self._followed(done, action.key)

    def set_labels(self, labels: Mapping[str, str]) -> Steps:
        """Replace the cluster's own labels; Google's and other people's stay."""
        now = self._call.read("container.GetCluster", self._api.get_cluster, {"name": self._cluster})
        ours = {*labels_of(self._config.name), PARKED_LABEL, "switchyard-protected"}
        rest = {key: value for key, value in dict(now.resource_labels).items() if key not in ours}
        request = {
            "name": self._cluster,
            "resource_labels": {**rest, **labels},
            "label_fingerprint": now.label_fingerprint,
        }
        done = self._call.write("container.SetLabels", self._api.set_labels, request)
        yield self._followed(done, Key("cluster", self._config.name))

    def _set_maintenance(self, wanted: Spec) -> Steps:
        """Set the window; exclusions that people made stay."""
        from google.cloud import container_v1 as gke

        now = self._call.read("container.GetCluster", self._api.get_cluster, {"name": self._cluster})
        policy = message(gke.MaintenancePolicy, wanted)
        policy.resource_version = now.maintenance_policy.resource_version
        for name, window in now.maintenance_policy.window.maintenance_exclusions.items():
            policy.window.maintenance_exclusions[name] = window
        request = gke.SetMaintenancePolicyRequest(name=self._cluster, maintenance_policy=policy)
        done = self._call.write("container.SetMaintenancePolicy", self._api.set_maintenance_policy, request)
        yield self._followed(done, Key("cluster", self._config.name))

    def set_autoscaling(self, pool: str, autoscaling: Mapping[str, Any]) -> Steps:
        """Set a pool's bounds, or switch its autoscaler off."""
        from google.cloud import container_v1 as gke

        request = gke.SetNodePoolAutoscalingRequest(
            name=f"{self._cluster}/nodePools/{pool}", autoscaling=message(gke.NodePoolAutoscaling, autoscaling)
        )
        done = self._call.write("container.SetNodePoolAutoscaling", self._api.set_node_pool_autoscaling, request)
        yield self._followed(done, Key("node-pool", pool))

    def set_size(self, pool: str, nodes: int) -> Steps:
        """Give a pool so many nodes in each of its zones."""
        request = {"name": f"{self._cluster}/nodePools/{pool}", "node_count": nodes}
        done = self._call.write("container.SetNodePoolSize", self._api.set_node_pool_size, request)
        yield self._followed(done, Key("node-pool", pool))

    @property
    def _api(self) -> Any:
        return self._clients.grpc("google.cloud.container_v1", "ClusterManagerClient")

    def _ours(self, cluster: Any) -> bool:
        return bears_labels(cluster.resource_labels, self._config.name)

    def _found(self, cluster: Any) -> Iterable[Found]:
        spec = spec_of(cluster)
        ours = self._ours(cluster)
        busy = cluster.status.name in ("PROVISIONING", "RECONCILING")
        endpoint = cluster.control_plane_endpoints_config.dns_endpoint_config.endpoint
        yield Found(
            Key("cluster", self._config.name),
            {name: value for name, value in spec.items() if name != "nodePools"},
            ours,
            _STATUS.get(cluster.status.name, Status.READY),
            note=cluster.status_message or ("an operation is under way" if busy else ""),
            facts={
                "endpoint": endpoint,
                "version": cluster.current_master_version,
                "nodes": cluster.current_node_count,
            },
        )
        for pool in cluster.node_pools:
            mine = bears_labels(pool.config.resource_labels, self._config.name)
            codes = [condition.canonical_code or condition.code for condition in pool.conditions]
            yield Found(
                Key("node-pool", pool.name),
                spec_of(pool),
                ours and mine,
                _STATUS.get(pool.status.name, Status.READY),
                note=pool.status_message,
                facts={"codes": [getattr(code, "name", str(code)) for code in codes]},
            )

    def _followed(self, started: Any, key: Key, parent: str = "") -> Pending:
        name = f"{parent or self._parent}/operations/{started.name}"

        def poll() -> bool | str | None:
            found = self._call.read("container.GetOperation", self._api.get_operation, {"name": name})
            if found.status.name in ("DONE", "ABORTING"):
                if found.error.code or found.status.name == "ABORTING":
                    conditions = [*found.cluster_conditions, *found.nodepool_conditions]
                    codes = [condition.code.name for condition in conditions]
                    text = found.error.message or found.status_message or "aborted"
                    raise failed_operation(str(key), text, codes)
                return True
            return found.detail or None

        return Pending(str(key), poll)


def _place(config: ClusterConfig, location: str) -> str:
    return f"projects/{config.project}/locations/{location}"


def _desired(spec: Spec, changed: set[str]) -> list[dict[str, Any]]:
    """The bodies of UpdateCluster, one a changed part."""
    bodies: list[dict[str, Any]] = []
    for part, name in (
        ("releaseChannel", "desiredReleaseChannel"),
        ("addonsConfig", "desiredAddonsConfig"),
        ("monitoringConfig", "desiredMonitoringConfig"),
        ("loggingConfig", "desiredLoggingConfig"),
        ("costManagementConfig", "desiredCostManagementConfig"),
        ("controlPlaneEndpointsConfig", "desiredControlPlaneEndpointsConfig"),
        ("workloadIdentityConfig", "desiredWorkloadIdentityConfig"),
        ("shieldedNodes", "desiredShieldedNodes"),
        ("autoscaling", "desiredClusterAutoscaling"),
    ):
        if part in changed:
            bodies.append({name: spec[part]})
    if "networkConfig" in changed:
        network = spec["networkConfig"]
        bodies.append({"desiredGatewayApiConfig": network["gatewayApiConfig"]})
        bodies.append({"desiredDefaultEnablePrivateNodes": network["defaultEnablePrivateNodes"]})
    if "nodePoolDefaults" in changed:
        bodies.append({"desiredGcfsConfig": spec["nodePoolDefaults"]["nodeConfigDefaults"]["gcfsConfig"]})
    return bodies


def _pool_updates(spec: Spec, changed: set[str], below: set[str]) -> list[dict[str, Any]]:
    """The bodies of UpdateNodePool."""
    config = spec.get("config", {})
    bodies: list[dict[str, Any]] = []
    if "locations" in changed:
        bodies.append({"locations": spec["locations"]})
    if "upgradeSettings" in changed:
        bodies.append({"upgradeSettings": spec["upgradeSettings"]})
    for part, wrapped in (
        ("labels", "labels"),
        ("taints", "taints"),
        ("resourceLabels", "labels"),
        ("tags", "tags"),
        ("gcfsConfig", ""),
        ("gvnic", ""),
        ("kubeletConfig", ""),
        ("workloadMetadataConfig", ""),
    ):
        if part in below:
            bodies.append({part: {wrapped: config[part]} if wrapped else config[part]})
    return bodies
