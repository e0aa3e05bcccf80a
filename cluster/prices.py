"""What it costs: rates by component, and the monthly sum of what is wanted or found. Pure.

A machine's price is the sum of its parts (cores, memory, GPUs, local SSDs), which is also how Google bills it and how
its Billing Catalog lists it. Traffic, load balancers and metrics samples depend on use and are left out; the plan says
so. The rates are in ``prices.json``, dated; nothing here is measured.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

from cluster.gpus import Machine, machine
from cluster.model import Key, Spec

SHIPPED = Path(__file__).with_name("prices.json")
LOCAL_SSD_GB = 375
LEFT_OUT = "Traffic, load balancers and metrics samples are billed by use and not in this sum."


class Line(NamedTuple):
    """One resource's cost.

    Attributes:
        idle: USD a month at its smallest (pools at min_nodes).
        full: USD a month at its largest (pools at max_nodes, all month).
    """

    key: Key
    idle: float
    full: float
    note: str


@dataclass(frozen=True)
class Prices:
    """A dated list of rates.

    Attributes:
        rates: region -> component -> USD an hour (``...-month``: a month), as the catalogue has them.
        base: estimates for the base region; multiplied by ``factors`` elsewhere.
    """

    date: str
    source: str
    verified: bool
    hours: float
    base: Mapping[str, float]
    factors: Mapping[str, float]
    rates: Mapping[str, Mapping[str, float]]

    def rate(self, region: str, component: str) -> float:
        """USD an hour, or a month where the name says so. Unknown regions get 15 % on top of the base region's."""
        exact = self.rates.get(region, {}).get(component)
        return self.base[component] * self.factors.get(region, 1.15) if exact is None else exact

    def of_machine(self, region: str, name: str, *, spot: bool = False, local_ssds: int = 0) -> float:
        """USD an hour of a machine type, its boot disk apart."""
        shape: Machine = machine(name)
        end = ".spot" if spot else ""
        sum_ = shape.vcpus * self.rate(region, f"{shape.family}.core{end}")
        sum_ += shape.memory_gb * self.rate(region, f"{shape.family}.ram{end}")
        if shape.gpus:
            sum_ += shape.gpus * self.rate(region, f"gpu.{shape.accelerator}{end}")
        ssds = shape.local_ssds or local_ssds
        return sum_ + ssds * LOCAL_SSD_GB * self.rate(region, f"local-ssd.gb-month{end}") / self.hours

    @property
    def label(self) -> str:
        """For under a table: what these numbers are."""
        kind = "list prices from Google's Billing Catalog" if self.verified else "unverified estimates of list prices"
        return f"{kind}, {self.date}"


def parse(text: str) -> Prices:
    """A price file's content."""
    data = cast("dict[str, Any]", json.loads(text))
    return Prices(
        date=data["date"],
        source=data["source"],
        verified=data["verified"],
        hours=data["hours_per_month"],
        base=data["components"],
        factors=data["region_factors"],
        rates=data["regions"],
    )


def cost(prices: Prices, region: str, specs: Iterable[tuple[Key, Spec]]) -> tuple[Line, ...]:
    """The monthly cost of these resources; those that cost nothing are left out."""
    lines = [_line(prices, region, key, spec) for key, spec in specs]
    return tuple(line for line in lines if line is not None)


def total(lines: Iterable[Line]) -> tuple[float, float]:
    """(idle, full)."""
    lines = list(lines)
    return sum(line.idle for line in lines), sum(line.full for line in lines)


def spot_saving(prices: Prices, region: str, pools: Iterable[tuple[Key, Spec]]) -> float:
    """USD a month that spot pools at max_nodes save against the same machines on demand."""
    saved = 0.0
    for _, spec in pools:
        if spec.get("config", {}).get("spot"):
            name, nodes = spec["config"]["machineType"], _nodes(spec)[1]
            both = [prices.of_machine(region, name, spot=spot) for spot in (False, True)]
            saved += (both[0] - both[1]) * prices.hours * nodes
    return saved


def hours_off_saving(prices: Prices, region: str, pools: Iterable[tuple[Key, Spec]], share_on: float) -> float:
    """USD a month that a schedule saves, if the GPU pools would be at max_nodes all month otherwise."""
    full = sum(line.full for line in cost(prices, region, pools))
    return full * (1 - share_on)


def _line(prices: Prices, region: str, key: Key, spec: Spec) -> Line | None:
    hours = prices.hours
    if key.kind == "node-pool":
        return _pool(prices, region, key, spec)
    if key.kind == "cluster":
        usd = prices.rate(region, "gke.cluster") * hours
        return Line(key, usd, usd, "control plane; Google's free tier may cover one zonal cluster")
    if key.kind == "router":
        usd = (prices.rate(region, "nat.gateway") + prices.rate(region, "nat.address")) * hours
        return Line(key, usd, usd, "NAT gateway and one address; traffic comes on top")
    if key.kind == "bucket":
        usd = prices.rate(region, "storage.gb-month") * 100
        return Line(key, 0.0, usd, "nothing when empty; here 100 GB of weights")
    if key.kind == "repository":
        usd = prices.rate(region, "registry.gb-month") * 20
        return Line(key, 0.0, usd, "nothing when empty; here 20 GB of images")
    if key.kind == "secret-version":
        usd = prices.rate(region, "secret.version-month")
        return Line(key, usd, usd, "")
    if key.kind == "disk":
        usd = prices.rate(region, "pd-balanced.gb-month") * float(spec.get("sizeGb", 0))
        return Line(key, usd, usd, "left by a volume")
    return None


def _pool(prices: Prices, region: str, key: Key, spec: Spec) -> Line:
    config = spec["config"]
    name, spot = config["machineType"], bool(config.get("spot"))
    try:
        ssds = int(config.get("ephemeralStorageLocalSsdConfig", {}).get("localSsdCount", 0))
        hourly = prices.of_machine(region, name, spot=spot, local_ssds=ssds)
    except KeyError:
        return Line(key, 0.0, 0.0, f"no price known for {name}")
    disk = prices.rate(region, f"{config.get('diskType', 'pd-balanced')}.gb-month") * int(config.get("diskSizeGb", 100))
    least, most = _nodes(spec)
    each = hourly * prices.hours + disk
    kind = " spot" if spot else ""
    return Line(key, least * each, most * each, f"{least} to {most} x {name}{kind} at ${hourly:.2f} an hour")


def _nodes(spec: Spec) -> tuple[int, int]:
    bounds = spec.get("autoscaling", {})
    if not bounds.get("enabled"):
        # No autoscaler: the size is what was set, zero after `scale --to-zero`.
        nodes = int(spec.get("initialNodeCount", 0))
        return nodes, nodes
    return int(bounds.get("totalMinNodeCount", 0)), int(bounds.get("totalMaxNodeCount", 0))
