"""List prices from the Cloud Billing Catalog: which of its SKUs are the components of ``prices.json``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from cluster.gcp.clients import Clients

COMPUTE = "services/6F81-5844-456A"
"""Compute Engine's service id in the catalogue (it is the same for everybody)."""

_PATTERNS: list[tuple[str, str]] = [
    # description without "running in PLACE" -> component; "{spot}" is filled in from the usage type
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
]

_SPOT = ("Preemptible", "Spot")


def rates_of_region(clients: Clients, region: str) -> dict[str, float]:
    """Component -> USD of one region, from the catalogue's public list prices."""
    api = clients.grpc("google.cloud.billing_v1", "CloudCatalogClient")
    request = {"parent": COMPUTE, "currency_code": "USD", "page_size": 5000}
    skus = clients.call.read("cloudbilling.ListSkus", api.list_skus, request, lag=False)
    return rates(skus, region)


def rates(skus: Iterable[Any], region: str) -> dict[str, float]:
    """The components among SKUs; what has no place in the table is passed over."""
    found: dict[str, float] = {}
    for sku in skus:
        if region in sku.service_regions and (component := _component(sku)):
            price = _unit_price(sku)
            if price:
                found[component] = price
    return found


def _component(sku: Any) -> str:
    usage = sku.category.usage_type
    if usage != "OnDemand" and usage not in _SPOT:
        return ""  # commitments and reservations
    text = re.sub(r" running in .*$", "", sku.description)
    text = text.removeprefix("Spot Preemptible ").removesuffix(" attached to Spot Preemptible VMs")
    for pattern, component in _PATTERNS:
        if re.fullmatch(pattern, text):
            return f"{component}.spot" if usage in _SPOT else component
    return ""


def _unit_price(sku: Any) -> float:
    """USD of a unit beyond any free tier."""
    if not sku.pricing_info:
        return 0.0
    tiers = sku.pricing_info[-1].pricing_expression.tiered_rates
    return max((tier.unit_price.units + tier.unit_price.nanos / 1e9 for tier in tiers), default=0.0)
