"""List prices from the Cloud Billing Catalog: which of its SKUs are the components of ``prices.json``."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from typing import Any

from cluster.errors import NotFound
from cluster.gcp.clients import Clients

SERVICES = {
    "Compute Engine": "6F81-5844-456A",
    "Kubernetes Engine": "CCD8-9BF1-090E",
    "Networking": "E505-1604-58F8",
    "Cloud Storage": "95FF-2EF5-5EA1",
    "Artifact Registry": "149C-F9EC-3994",
    "Secret Manager": "EE82-7A5E-871C",
}
"""Service ids in the catalogue (they are the same for everybody)."""

_PATTERNS: list[tuple[str, str]] = [
    # description without "(running) in PLACE" -> component; its ".spot" comes from the usage type
    (r"E2 Instance Core", "e2.core"),
    (r"E2 Instance Ram", "e2.ram"),
    (r"N2 Instance Core", "n2.core"),
    (r"N2 Instance Ram", "n2.ram"),
    (r"G2 Instance Core", "g2.core"),
    (r"G2 Instance Ram", "g2.ram"),
    (r"A2 Instance Core", "a2.core"),
    (r"A2 Instance Ram", "a2.ram"),
    (r"A3 Instance Core", "a3.core"),
    (r"A3 Instance Ram", "a3.ram"),
    (r"A3Ultra Instance Core", "a3ultra.core"),
    (r"A3Ultra Instance Ram", "a3ultra.ram"),
    (r"Nvidia L4 GPU", "gpu.nvidia-l4"),
    (r"Nvidia Tesla A100 GPU", "gpu.nvidia-tesla-a100"),
    (r"Nvidia Tesla A100 80GB GPU", "gpu.nvidia-a100-80gb"),
    (r"Nvidia H100 80GB GPU", "gpu.nvidia-h100-80gb"),
    (r"Nvidia H200 141GB GPU", "gpu.nvidia-h200-141gb"),
    (r"SSD backed Local Storage", "local-ssd.gb-month"),
    (r"Balanced PD Capacity", "pd-balanced.gb-month"),
    (r"Hyperdisk Balanced Capacity", "hyperdisk-balanced.gb-month"),
    (r"(Regional|Zonal) Kubernetes Clusters", "gke.cluster"),
    (r"(Networking )?Cloud Nat Gateway Uptime", "nat.node"),
    (r"(Networking )?Cloud NAT IP Usage", "nat.address"),
    # Here the place has no "in": "Standard Storage US Regional", "Standard Storage Belgium".
    (r"(Regional )?Standard Storage(?!.*(Multi-region|Dual-region|Autoclass|Operation|\bOps\b)).*", "storage.gb-month"),
    (r"Artifact Registry Storage", "registry.gb-month"),
    (r"Secret version replica storage", "secret.version-month"),
]

_SPOT = ("Preemptible", "Spot")


def rates_of_region(clients: Clients, region: str) -> dict[str, float]:
    """Component -> USD of one region, from the catalogue's public list prices."""
    api = clients.grpc("google.cloud.billing_v1", "CloudCatalogClient")
    found: dict[str, float] = {}
    for service in SERVICES.values():
        request = {"parent": f"services/{service}", "currency_code": "USD", "page_size": 5000}
        with contextlib.suppress(NotFound):  # a service whose id Google changed: its rates stay estimates
            found |= rates(clients.call.read("cloudbilling.ListSkus", api.list_skus, request, lag=False), region)
    return found


def rates(skus: Iterable[Any], region: str) -> dict[str, float]:
    """The components among SKUs; what has no place in the table is passed over."""
    everywhere: dict[str, float] = {}
    here: dict[str, float] = {}
    for sku in skus:
        if (component := _component(sku)) and (price := _unit_price(sku)):
            if region in sku.service_regions:
                here[component] = price
            elif "global" in sku.service_regions:
                everywhere[component] = price
    return everywhere | here


def _component(sku: Any) -> str:
    usage = sku.category.usage_type
    if usage != "OnDemand" and usage not in _SPOT:
        return ""  # commitments and reservations
    text = re.sub(r" (running )?in .*$", "", sku.description)
    text = text.removeprefix("Spot Preemptible ").removesuffix(" attached to Spot Preemptible VMs")
    for pattern, component in _PATTERNS:
        if re.fullmatch(pattern, text, re.IGNORECASE):
            return f"{component}.spot" if usage in _SPOT else component
    return ""


def _unit_price(sku: Any) -> float:
    """USD of a unit beyond any free tier."""
    if not sku.pricing_info:
        return 0.0
    tiers = sku.pricing_info[-1].pricing_expression.tiered_rates
    return max((tier.unit_price.units + tier.unit_price.nanos / 1e9 for tier in tiers), default=0.0)
