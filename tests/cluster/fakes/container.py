"""google.container.v1.ClusterManager: clusters and node pools with operations that take minutes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.cloud import container_v1 as gke
from google.protobuf import empty_pb2

from tests.cluster.fakes.project import FakeGoogle, Fault, Running

API = "container.googleapis.com"
SECONDS = {"create": 360, "pool": 90, "delete": 240, "update": 60}
_Done = gke.Operation.Status.DONE


def container(fake: FakeGoogle) -> dict[str, Any]:
    """The methods."""
    service = "/google.container.v1.ClusterManager/"
    made = _Container(fake)
    return {
        f"{service}GetCluster": (gke.GetClusterRequest, made.get),
        f"{service}ListClusters": (gke.ListClustersRequest, made.every),
        f"{service}CreateCluster": (gke.CreateClusterRequest, made.create),
        f"{service}DeleteCluster": (gke.DeleteClusterRequest, made.delete),
        f"{service}UpdateCluster": (gke.UpdateClusterRequest, made.update),
        f"{service}SetLabels": (gke.SetLabelsRequest, made.set_labels),
        f"{service}SetMaintenancePolicy": (gke.SetMaintenancePolicyRequest, made.set_maintenance),
        f"{service}CreateNodePool": (gke.CreateNodePoolRequest, made.create_pool),
        f"{service}DeleteNodePool": (gke.DeleteNodePoolRequest, made.delete_pool),
        f"{service}UpdateNodePool": (gke.UpdateNodePoolRequest, made.update_pool),
        f"{service}SetNodePoolAutoscaling": (gke.SetNodePoolAutoscalingRequest, made.set_autoscaling),
        f"{service}SetNodePoolManagement": (gke.SetNodePoolManagementRequest, made.set_management),
        f"{service}SetNodePoolSize": (gke.SetNodePoolSizeRequest, made.set_size),
        f"{service}GetOperation": (gke.GetOperationRequest, made.operation),
        f"{service}GetServerConfig": (gke.GetServerConfigRequest, made.server_config),
    }


class _Container:
    def __init__(self, fake: FakeGoogle) -> None:
        self._fake = fake

    def get(self, request: Any) -> Any:
        self._fake.need_api(API)
        return self._at(request.name)

    def every(self, request: Any) -> Any:
        self._fake.need_api(API)
        prefix = request.parent.removesuffix("-")
        silent = self._fake.missing_zones
        found = [
            cluster
            for name, cluster in self._fake.clusters.items()
            if name.startswith(prefix) and not any(zone.startswith(cluster.location) for zone in silent)
        ]
        return gke.ListClustersResponse(clusters=found, missing_zones=silent)

    def create(self, request: Any) -> Any:
        fake = self._fake
        fake.need_api(API)
        self._location(request.parent)
        name = f"{request.parent}/clusters/{request.cluster.name}"
        if name in fake.clusters:
            raise Fault(409, f"Already exists: {name}.")
        network = f"subnetworks/{request.cluster.subnetwork}"
        if not any(path.endswith(network) for path in fake.compute):
            raise Fault(400, f"Subnetwork {request.cluster.subnetwork} does not exist.")
        cluster = gke.Cluster.deserialize(gke.Cluster.serialize(request.cluster))
        cluster.status = gke.Cluster.Status.PROVISIONING
        cluster.location = request.parent.rsplit("/", 1)[-1]
        cluster.current_master_version = fake.gke_version
        cluster.label_fingerprint = "f0"
        cluster.maintenance_policy.resource_version = "m0"
        endpoint = fake.kube or f"gke-{cluster.name}.us-central1.gke.goog"
        cluster.control_plane_endpoints_config.dns_endpoint_config.endpoint = endpoint
        for pool in cluster.node_pools:
            self._prepare(pool, cluster)
        fake.clusters[name] = cluster
        error = self._error(cluster.node_pools)

        def finish() -> None:
            cluster.status = gke.Cluster.Status.ERROR if error else gke.Cluster.Status.RUNNING
            for pool in cluster.node_pools:
                pool.status = gke.NodePool.Status.RUNNING
            if error:
                cluster.status_message = error[1]

        return self._started(name, "create", finish, error)

    def delete(self, request: Any) -> Any:
        fake = self._fake
        cluster = self._idle(request.name)
        cluster.status = gke.Cluster.Status.STOPPING

        def finish() -> None:
            fake.clusters.pop(request.name, None)

        return self._started(request.name, "delete", finish)

    def update(self, request: Any) -> Any:
        cluster = self._idle(request.name)
        update = request.update
        fields = list(gke.ClusterUpdate.to_dict(update, always_print_fields_with_no_presence=False))
        if len(fields) != 1:
            raise Fault(400, f"Must specify exactly one field to update, got {sorted(fields)}.")
        place = {
            "desired_release_channel": "release_channel",
            "desired_addons_config": "addons_config",
            "desired_monitoring_config": "monitoring_config",
            "desired_logging_config": "logging_config",
            "desired_cost_management_config": "cost_management_config",
            "desired_control_plane_endpoints_config": "control_plane_endpoints_config",
            "desired_workload_identity_config": "workload_identity_config",
            "desired_shielded_nodes": "shielded_nodes",
        }[fields[0]]

        def finish() -> None:
            part = getattr(cluster, place)
            wanted = getattr(update, fields[0])
            there = type(wanted).pb(part)
            for field, value in type(wanted).pb(wanted).ListFields():  # what is set, also to false
                if hasattr(value, "ListFields"):
                    getattr(there, field.name).CopyFrom(value)
                else:
                    there.MergeFrom(type(there)(**{field.name: value}))
            setattr(cluster, place, part)
            cluster.status = gke.Cluster.Status.RUNNING

        cluster.status = gke.Cluster.Status.RECONCILING
        return self._started(request.name, "update", finish)

    def set_maintenance(self, request: Any) -> Any:
        cluster = self._idle(request.name)
        if request.maintenance_policy.resource_version != cluster.maintenance_policy.resource_version:
            raise Fault(409, "The maintenance policy's resource version is not the current one.", grpc="ABORTED")

        def finish() -> None:
            cluster.maintenance_policy = request.maintenance_policy
            cluster.maintenance_policy.resource_version = f"m{self._fake.new_id()}"
            cluster.status = gke.Cluster.Status.RUNNING

        cluster.status = gke.Cluster.Status.RECONCILING
        return self._started(request.name, "update", finish)

    def set_labels(self, request: Any) -> Any:
        cluster = self._idle(request.name)
        if request.label_fingerprint != cluster.label_fingerprint:
            raise Fault(412, "Labels fingerprint either invalid or resource labels have changed", "CONDITION_NOT_MET")

        def finish() -> None:
            cluster.resource_labels = dict(request.resource_labels)
            cluster.label_fingerprint = f"f{self._fake.new_id()}"
            cluster.status = gke.Cluster.Status.RUNNING

        cluster.status = gke.Cluster.Status.RECONCILING
        return self._started(request.name, "update", finish)

    def create_pool(self, request: Any) -> Any:
        cluster = self._idle(request.parent)
        if any(pool.name == request.node_pool.name for pool in cluster.node_pools):
            raise Fault(409, f"Already exists: {request.parent}/nodePools/{request.node_pool.name}.")
        fault = self._zones(request.node_pool)
        if fault:
            raise fault
        pool = gke.NodePool.deserialize(gke.NodePool.serialize(request.node_pool))
        self._prepare(pool, cluster)
        cluster.node_pools.append(pool)
        pool = cluster.node_pools[-1]
        error = self._error([pool])
        name = pool.name

        def finish() -> None:
            for found in cluster.node_pools:
                if found.name == name:
                    found.status = gke.NodePool.Status.ERROR if error else gke.NodePool.Status.RUNNING
                    found.status_message = error[1] if error else ""

        return self._started(request.parent, "pool", finish, error)

    def delete_pool(self, request: Any) -> Any:
        cluster, pool = self._pool(request.name)
        pool.status = gke.NodePool.Status.STOPPING
        name = pool.name

        def finish() -> None:
            cluster.node_pools = [found for found in cluster.node_pools if found.name != name]

        return self._started(self._parent(request.name), "pool", finish)

    def update_pool(self, request: Any) -> Any:
        _, pool = self._pool(request.name)

        def finish() -> None:
            if request.locations:
                pool.locations = list(request.locations)
            for part, inner in (("taints", "taints"), ("labels", "labels"), ("tags", "tags")):
                if part in request:
                    setattr(pool.config, part, getattr(getattr(request, part), inner))
            if "resource_labels" in request:
                pool.config.resource_labels = dict(request.resource_labels.labels)
            for part in ("kubelet_config", "gcfs_config", "gvnic", "workload_metadata_config"):
                if part in request:
                    setattr(pool.config, part, getattr(request, part))
            if "upgrade_settings" in request:
                pool.upgrade_settings = request.upgrade_settings

        return self._started(self._parent(request.name), "update", finish)

    def set_autoscaling(self, request: Any) -> Any:
        _, pool = self._pool(request.name)

        def finish() -> None:
            pool.autoscaling = request.autoscaling

        return self._started(self._parent(request.name), "update", finish)

    def set_management(self, request: Any) -> Any:
        _, pool = self._pool(request.name)

        def finish() -> None:
            pool.management = request.management

        return self._started(self._parent(request.name), "update", finish)

    def set_size(self, request: Any) -> Any:
        _, pool = self._pool(request.name)

        def finish() -> None:
            pool.initial_node_count = request.node_count

        return self._started(self._parent(request.name), "update", finish)

    def operation(self, request: Any) -> Any:
        self._fake.need_api(API)
        running = self._fake.operations.get(request.name.rsplit("/", 1)[-1])
        if running is None:
            raise Fault(404, f"Not found: {request.name}.")
        answer = gke.Operation(name=running.name, target_link=running.target)
        if not running.over:
            answer.status = gke.Operation.Status.RUNNING
            return answer
        answer.status = _Done
        if running.error:
            code, text, condition = running.error
            answer.error.code, answer.error.message = code, text  # type: ignore[attr-defined]
            answer.nodepool_conditions = [
                gke.StatusCondition(code=gke.StatusCondition.Code[condition], message=text)  # type: ignore[misc]
            ]
        return answer

    def server_config(self, request: Any) -> Any:
        self._fake.need_api(API)
        self._location(request.name)
        channel = gke.ServerConfig.ReleaseChannelConfig(
            channel=gke.ReleaseChannel.Channel.REGULAR, default_version=self._fake.gke_version
        )
        return gke.ServerConfig(default_cluster_version=self._fake.gke_version, channels=[channel])

    # Helpers

    def _at(self, name: str) -> Any:
        if name not in self._fake.clusters:
            raise Fault(404, f"Not found: {name}.")
        return self._fake.clusters[name]

    def _idle(self, name: str) -> Any:
        """The cluster, if no other operation runs on it."""
        self._fake.need_api(API)
        cluster = self._at(name)
        busy = [item for item in self._fake.operations.values() if item.target == name and not item.over]
        if busy:
            text = f"Cluster is running incompatible operation {busy[0].name}."
            raise Fault(412, text, "CLUSTER_ALREADY_HAS_OPERATION")
        return cluster

    def _pool(self, name: str) -> tuple[Any, Any]:
        cluster = self._idle(self._parent(name))
        for pool in cluster.node_pools:
            if pool.name == name.rsplit("/", 1)[-1]:
                return cluster, pool
        raise Fault(404, f"Not found: {name}.")

    def _parent(self, name: str) -> str:
        return name.split("/nodePools/", maxsplit=1)[0]

    def _location(self, parent: str) -> None:
        location = parent.rsplit("/", 1)[-1]
        if not any(location.startswith(region) for region in self._fake.quotas):
            raise Fault(400, f'Location "{location}" does not exist.')

    def _prepare(self, pool: Any, cluster: Any) -> None:
        pool.status = gke.NodePool.Status.PROVISIONING
        pool.version = self._fake.gke_version
        if not pool.locations:
            pool.locations = ["us-central1-a", "us-central1-b", "us-central1-c"]
        if self._fake.accounts_since.get(pool.config.service_account) is None:
            raise Fault(400, f"The user does not have access to service account {pool.config.service_account!r}.")

    def _zones(self, pool: Any) -> Fault | None:
        for item in pool.config.accelerators:
            for zone in pool.locations:
                if zone not in self._fake.accelerators.get(item.accelerator_type, []):
                    return Fault(400, f'Accelerator type "{item.accelerator_type}" does not exist in zone {zone}.')
        return None

    def _error(self, pools: Any) -> tuple[int, str, str] | None:
        for pool in pools:
            for item in pool.config.accelerators:
                nodes = pool.autoscaling.total_min_node_count or pool.initial_node_count
                if nodes and item.accelerator_type in self._fake.stockouts:
                    return 8, f"The zone does not have enough resources for {pool.config.machine_type}.", "GCE_STOCKOUT"
        return None

    def _started(
        self, target: str, kind: str, finish: Callable[[], None], error: tuple[int, str, str] | None = None
    ) -> Any:
        running: Running = self._fake.start(SECONDS[kind], finish, target, error)
        return gke.Operation(name=running.name, status=gke.Operation.Status.RUNNING, target_link=target)


def empty(_: Any) -> Any:
    """An empty answer."""
    return empty_pb2.Empty()
