"""The GKE cluster and its node pools as the service file wants them. Pure."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

from cluster.config import ClusterConfig, MaintenanceConfig, PoolConfig
from cluster.gpus import GPU_TAINT
from cluster.model import PROTECTED_LABEL, Key, Stock, Wanted, labels_of, mark_of

SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]
"""Rights come from the service account's roles; the scope must not narrow them."""

GRACE_SINCE = (1, 35, 0, 1171000)
"""First GKE version in which a pool may set a spot node's shutdown grace period (1.35.0-gke.1171000)."""


def gke(config: ClusterConfig, stock: Stock | None) -> list[Wanted]:
    """The cluster, the system pool that is made with it, and the GPU pools."""
    cluster = Key("cluster", config.name)
    base = (
        Key("subnetwork", config.name),
        Key("router", config.name),  # private nodes pull images through NAT
        Key("service-account", f"{config.name}-nodes"),
        Key("grant", f"project:container.defaultNodeServiceAccount:{config.name}-nodes"),
    )
    system = {"name": "system", **_system(config)}
    items = [
        Wanted(cluster, {**_cluster(config), "nodePools": [system]}, base),
        Wanted(Key("node-pool", "system"), system, (cluster,), within=cluster),
    ]
    for name, pool, spot in config.all_pools():
        spec = {"name": name, **_gpu(config, pool, spot=spot, stock=stock)}
        items.append(Wanted(Key("node-pool", name), spec, (cluster,)))
    return items


def _cluster(config: ClusterConfig) -> dict[str, Any]:
    labels = labels_of(config.name)
    if config.deletion_protection:
        labels[PROTECTED_LABEL] = "true"
    addons: dict[str, Any] = {
        "gcePersistentDiskCsiDriverConfig": {"enabled": True},
        "gcsFuseCsiDriverConfig": {"enabled": True},
        "rayOperatorConfig": {"enabled": False},  # never beside KubeRay's own: both would write the RayServices
    }
    if config.ray_operator == "addon":
        addons["rayOperatorConfig"] = {
            "enabled": True,
            "rayClusterLoggingConfig": {"enabled": True},
            "rayClusterMonitoringConfig": {"enabled": True},
        }
    maintenance = {"maintenancePolicy": _maintenance(config.maintenance)} if config.maintenance else {}
    return {
        **maintenance,
        "name": config.name,
        "location": config.location,
        "description": mark_of(config.name),
        "resourceLabels": labels,
        "releaseChannel": {"channel": config.release_channel},
        "network": config.name,
        "subnetwork": config.name,
        "ipAllocationPolicy": {
            "useIpAliases": True,
            "clusterSecondaryRangeName": "pods",
            "servicesSecondaryRangeName": "services",
        },
        "networkConfig": {
            "datapathProvider": "ADVANCED_DATAPATH",
            "defaultEnablePrivateNodes": True,
            "gatewayApiConfig": {"channel": "CHANNEL_STANDARD"},
        },
        # The API server answers under a DNS name behind Google's front end: IAM decides who comes in, from
        # anywhere, and there is no address to scan and no list of networks to keep.
        "controlPlaneEndpointsConfig": {
            "dnsEndpointConfig": {"allowExternalTraffic": True},
            "ipEndpointsConfig": {"enabled": False},
        },
        "workloadIdentityConfig": {"workloadPool": f"{config.project}.svc.id.goog"},
        "addonsConfig": addons,
        "monitoringConfig": {
            "componentConfig": {"enableComponents": ["SYSTEM_COMPONENTS", "DCGM"]},
            "managedPrometheusConfig": {"enabled": True},
        },
        "loggingConfig": {"componentConfig": {"enableComponents": ["SYSTEM_COMPONENTS", "WORKLOADS"]}},
        "costManagementConfig": {"enabled": True},
        "shieldedNodes": {"enabled": True},
        "autoscaling": {"autoscalingProfile": "OPTIMIZE_UTILIZATION"},  # an idle GPU node goes sooner
        "nodePoolDefaults": {"nodeConfigDefaults": {"gcfsConfig": {"enabled": True}}},  # image streaming
    }


def _maintenance(wanted: MaintenanceConfig) -> dict[str, Any]:
    start = datetime.fromisoformat(f"2026-01-01T{wanted.start}:00")  # any day that is over: the recurrence has the days
    end = start + timedelta(hours=wanted.hours)
    days = [name for name in ("mon", "tue", "wed", "thu", "fri", "sat", "sun") if name in wanted.days]
    return {
        "window": {
            "recurringWindow": {
                "window": {"startTime": f"{start.isoformat()}Z", "endTime": f"{end.isoformat()}Z"},
                "recurrence": f"FREQ=WEEKLY;BYDAY={','.join(day[:2].upper() for day in days)}",
            }
        }
    }


def _node_config(config: ClusterConfig, machine: str, disk_type: str, disk_gb: int) -> dict[str, Any]:
    return {
        "machineType": machine,
        "diskType": disk_type,
        "diskSizeGb": disk_gb,
        "imageType": "COS_CONTAINERD",
        "serviceAccount": config.nodes_email,
        "oauthScopes": SCOPES,
        "resourceLabels": labels_of(config.name),
        "tags": [config.name],
        "gcfsConfig": {"enabled": True},
        "gvnic": {"enabled": True},
        "shieldedInstanceConfig": {"enableSecureBoot": True, "enableIntegrityMonitoring": True},
        "workloadMetadataConfig": {"mode": "GKE_METADATA"},
        "kubeletConfig": {"insecureKubeletReadonlyPortEnabled": False},
    }


def _system(config: ClusterConfig) -> dict[str, Any]:
    return {
        "initialNodeCount": 1,
        "autoscaling": {
            "enabled": True,
            "totalMinNodeCount": config.system.min_nodes,
            "totalMaxNodeCount": config.system.max_nodes,
            "locationPolicy": "BALANCED",
        },
        "management": {"autoRepair": True, "autoUpgrade": True},
        "config": _node_config(config, config.system.machine, "pd-balanced", 100),
    }


def _gpu(config: ClusterConfig, pool: PoolConfig, *, spot: bool, stock: Stock | None) -> dict[str, Any]:
    shape = pool.shape
    node = _node_config(config, pool.machine, shape.boot_disk, pool.disk_gb)
    # Secure Boot refuses kernel modules that GKE's GPU driver installer does not sign on every image.
    node["shieldedInstanceConfig"] = {"enableIntegrityMonitoring": True}
    node["accelerators"] = [
        {
            "acceleratorType": shape.accelerator,
            "acceleratorCount": shape.gpus,
            "gpuDriverInstallationConfig": {"gpuDriverVersion": "LATEST"},
        }
    ]
    node["taints"] = [GPU_TAINT]
    if spot:
        node["spot"] = True
        if pool.spot_grace_s and grace_offered(stock.channel_version if stock else ""):
            node["kubeletConfig"] |= {
                "shutdownGracePeriodSeconds": pool.spot_grace_s,
                "shutdownGracePeriodCriticalPodsSeconds": 15,
            }
    if ssds := shape.local_ssds or pool.local_ssds:
        node["ephemeralStorageLocalSsdConfig"] = {"localSsdCount": ssds}
    spec: dict[str, Any] = {
        "initialNodeCount": 0,
        "autoscaling": {
            "enabled": True,
            "totalMinNodeCount": pool.min_nodes,
            "totalMaxNodeCount": pool.max_nodes,
            "locationPolicy": "ANY",  # wherever there is stock
        },
        "management": {"autoRepair": True, "autoUpgrade": True},
        # A surge node would be one more GPU to find; the pods of a GPU node are moved by a rollout anyway.
        "upgradeSettings": {"maxSurge": 0, "maxUnavailable": 1},
        "config": node,
    }
    if zones := pool_zones(config, pool, stock):
        spec["locations"] = zones
    if pool.compact:
        spec["placementPolicy"] = {"type": "COMPACT"}
    if shape.rdma:
        spec["networkConfig"] = {"acceleratorNetworkProfile": "auto"}
    return spec


def pool_zones(config: ClusterConfig, pool: PoolConfig, stock: Stock | None) -> list[str]:
    """Zones of a pool: the file's, else those of the region that have its accelerator; empty: as they are."""
    if pool.zones:
        return sorted(pool.zones)
    if stock is None:
        return []
    return sorted(zone for zone in stock.zones.get(pool.shape.accelerator, ()) if zone.startswith(f"{config.region}-"))


def grace_offered(version: str) -> bool:
    """Whether this GKE version lets a pool set the shutdown grace period; unknown versions do not."""
    numbers = tuple(int(part) for part in re.findall(r"\d+", version))
    return len(numbers) == 4 and numbers >= GRACE_SINCE
