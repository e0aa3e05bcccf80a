"""What it costs: rates by component, and the monthly sum of what is wanted or found. Pure.

A machine's price is the sum of its parts (cores, memory, GPUs, local SSDs), which is also how Google bills it and how
its Billing Catalog lists it. Traffic, load balancers and metrics samples depend on use and are left out; the plan says
so. The rates are in ``prices.json``, dated; nothing here is measured.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

from cluster.gpus import Machine, machine
from cluster.model import Key, Spec

SHIPPED = Path(__file__).with_name("prices.json")
LOCAL_SSD_GB = 375
NAT_CAP_NODES = 0.044 / 0.0014
"""Cloud NAT costs by the node up to a price for all of them: that of so many (31.4, so it is flat from 32 on)."""
LEFT_OUT = "Traffic, load balancers and metrics samples are billed by use and not in this sum."


class Line(NamedTuple):
    """One resource's cost.

    Attributes:
        idle: USD a month at its smallest (pools at min_nodes).
        full: USD a month at its largest (pools at max_nodes, all month).
        rates: the components whose rates are in it.
    """

    key: Key
    idle: float
    full: float
    note: str
    rates: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prices:
    """A dated list of rates.

    Attributes:
        rates: region -> component -> USD an hour (``...-month``: a month), as the catalogue has them.
        base: estimates for the base region; multiplied by ``factors`` elsewhere.
        absent: region -> components that a refresh asked the catalogue for in vain.
        trouble: why a refreshed list could not be used; empty where there is none, or it is used.
    """

    date: str
    source: str
    hours: float
    base: Mapping[str, float]
    factors: Mapping[str, float]
    rates: Mapping[str, Mapping[str, float]]
    absent: Mapping[str, Collection[str]]
    trouble: str = ""

    def rate(self, region: str, component: str) -> float:
        """USD an hour, or a month where the name says so. Unknown regions get 15 % on top of the base region's."""
        exact = self.rates.get(region, {}).get(component)
        return self.base[component] * self.factors.get(region, 1.15) if exact is None else exact

    def of(self, region: str, parts: Mapping[str, float]) -> float:
        """The sum of components times their quantities."""
        return sum(self.rate(region, component) * quantity for component, quantity in parts.items())

    def of_machine(self, region: str, name: str, *, spot: bool = False, local_ssds: int = 0) -> float:
        """USD an hour of a machine type, its boot disk apart."""
        return self.of(region, self.machine_parts(name, spot=spot, local_ssds=local_ssds))

    def machine_parts(self, name: str, *, spot: bool = False, local_ssds: int = 0) -> dict[str, float]:
        """Components of a machine type -> their quantities in an hour.

        Raises:
            KeyError: nothing is known of the machine.
        """
        shape: Machine = machine(name)
        end = ".spot" if spot else ""
        parts = {
            f"{shape.family}.core{end}": float(shape.vcpus),
            f"{shape.family}.ram{end}": float(shape.memory_gb),
        }
        if shape.gpus:
            parts[f"gpu.{shape.accelerator}{end}"] = float(shape.gpus)
        if ssds := shape.local_ssds or local_ssds:
            parts[f"local-ssd.gb-month{end}"] = ssds * LOCAL_SSD_GB / self.hours
        return parts

    def estimates(self, region: str, components: Iterable[str]) -> tuple[str, ...]:
        """Those of them whose rates are not the catalogue's."""
        return tuple(sorted(set(components) - set(self.rates.get(region, {}))))

    def label(self, region: str, components: Iterable[str]) -> str:
        """For under a table of sums of these components: what the numbers are."""
        if not self.rates.get(region):
            return f"unverified estimates of list prices, {self.date}" + (f"; {self.trouble}" if self.trouble else "")
        text = f"list prices from Google's Billing Catalog, {self.date}"
        estimates = self.estimates(region, components)
        return f"{text}; still estimates: {', '.join(estimates)}" if estimates else text


def parse(text: str) -> Prices:
    """A price file's content."""
    data = cast("dict[str, Any]", json.loads(text))
    return Prices(
        date=data["date"],
        source=data["source"],
        hours=data["hours_per_month"],
        base=data["components"],
        factors=data["region_factors"],
        rates=data["regions"],
        absent=data.get("absent", {}),
    )


def cost(prices: Prices, region: str, specs: Iterable[tuple[Key, Spec]]) -> tuple[Line, ...]:
    """The monthly cost of these resources; those that cost nothing are left out."""
    specs = list(specs)
    pools = [_nodes(spec) for key, spec in specs if key.kind == "node-pool"]
    nodes = sum(least for least, _ in pools), sum(most for _, most in pools)
    lines = [_line(prices, region, key, spec, nodes) for key, spec in specs]
    return tuple(line for line in lines if line is not None)


def total(lines: Iterable[Line]) -> tuple[float, float]:
    """(idle, full)."""
    lines = list(lines)
    return sum(line.idle for line in lines), sum(line.full for line in lines)


def components(lines: Iterable[Line]) -> set[str]:
    """Whose rates are in these lines."""
    return {component for line in lines for component in line.rates}


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


def _line(prices: Prices, region: str, key: Key, spec: Spec, nodes: tuple[int, int]) -> Line | None:
    """The cost of one resource.

    Args:
        nodes: of all pools together, at their smallest and at their largest; NAT is paid by the node.
    """
    hours = prices.hours

    def line(idle: Mapping[str, float], full: Mapping[str, float], note: str) -> Line:
        return Line(key, prices.of(region, idle), prices.of(region, full), note, tuple(full))

    match key.kind:
        case "node-pool":
            return _pool(prices, region, key, spec)
        case "cluster":
            parts = {"gke.cluster": hours}
            return line(parts, parts, "control plane; Google's free tier may cover one zonal cluster")
        case "router":
            idle, full = (
                {"nat.node": min(number, NAT_CAP_NODES) * hours, "nat.address": hours if number else 0.0}
                for number in nodes
            )
            return line(idle, full, f"NAT for {nodes[0]} to {nodes[1]} nodes and one address; traffic comes on top")
        case "bucket":
            return line({}, {"storage.gb-month": 100}, "nothing when empty; here 100 GB of weights")
        case "repository":
            return line({}, {"registry.gb-month": 20}, "nothing when empty; here 20 GB of images")
        case "secret-version":
            parts = {"secret.version-month": 1.0}
            return line(parts, parts, "")
        case "disk":
            parts = {"pd-balanced.gb-month": float(spec.get("sizeGb", 0))}
            return line(parts, parts, "left by a volume")
        case _:
            return None


def _pool(prices: Prices, region: str, key: Key, spec: Spec) -> Line:
    config = spec["config"]
    name, spot = config["machineType"], bool(config.get("spot"))
    ssds = int(config.get("ephemeralStorageLocalSsdConfig", {}).get("localSsdCount", 0))
    try:
        machine_parts = prices.machine_parts(name, spot=spot, local_ssds=ssds)
        hourly = prices.of(region, machine_parts)
    except KeyError:
        return Line(key, 0.0, 0.0, f"no price known for {name}")
    disk = {f"{config.get('diskType', 'pd-balanced')}.gb-month": float(config.get("diskSizeGb", 100))}
    least, most = _nodes(spec)
    each = hourly * prices.hours + prices.of(region, disk)
    note = f"{least} to {most} x {name}{' spot' if spot else ''} at ${hourly:.2f} an hour"
    return Line(key, least * each, most * each, note, (*machine_parts, *disk))


def _nodes(spec: Spec) -> tuple[int, int]:
    bounds = spec.get("autoscaling", {})
    if not bounds.get("enabled"):
        # No autoscaler: the size is what was set, zero after `scale --to-zero`.
        nodes = int(spec.get("initialNodeCount", 0))
        return nodes, nodes
    return int(bounds.get("totalMinNodeCount", 0)), int(bounds.get("totalMaxNodeCount", 0))
