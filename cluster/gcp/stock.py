"""What the project could make where: zones of accelerators, quotas, GKE versions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cluster.config import ClusterConfig
from cluster.gcp.clients import Clients
from cluster.gcp.compute import Compute
from cluster.gcp.container import Container
from cluster.gpus import quota_family, quota_metric
from cluster.model import Stock

FAMILY_QUOTA = "GPUS-PER-GPU-FAMILY-per-project-region"
"""Cloud Quotas' id for accelerators that have no metric of their own in Compute Engine (H100, H200 and newer)."""


def read_stock(
    config: ClusterConfig,
    clients: Clients,
    compute: Compute,
    container: Container,
    together: Callable[[Sequence[Callable[[], Any]]], list[Any]],
) -> Stock:
    """Read it, in four or five calls."""
    zones, quotas, everywhere, version = together(
        [compute.zones_by_accelerator, compute.quotas, compute.all_regions_gpus, container.version_of_channel]
    )
    here = quotas.get(config.region, {})
    unnamed = {
        quota_family(pool.shape.accelerator)
        for _, pool, spot in config.all_pools()
        if quota_metric(pool.shape.accelerator, spot=spot) not in here
    }
    families = _families(config, clients) if unnamed else {}
    return Stock(zones, quotas, everywhere, families, version)


def _families(config: ClusterConfig, clients: Clients) -> dict[tuple[str, str], float]:
    api = clients.grpc("google.cloud.cloudquotas_v1", "CloudQuotasClient")
    name = f"projects/{config.project}/locations/global/services/compute.googleapis.com/quotaInfos/{FAMILY_QUOTA}"
    info = clients.call.maybe("cloudquotas.GetQuotaInfo", api.get_quota_info, {"name": name})
    found: dict[tuple[str, str], float] = {}
    for item in info.dimensions_infos if info else ():
        family, region = item.dimensions.get("gpu_family", ""), item.dimensions.get("region", "")
        for place in [region] if region else list(item.applicable_locations):
            found[family, place] = float(item.details.value)
    return found
