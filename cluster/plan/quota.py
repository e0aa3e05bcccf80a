"""Whether the project may have the GPUs that the pools want, and where it could, if not here. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from cluster.config import ClusterConfig, PoolConfig
from cluster.gpus import machines_with, quota_family, quota_metric
from cluster.model import Quota, Stock


@dataclass(frozen=True)
class Finding:
    """What a pool's check came to.

    Attributes:
        pool: its name.
        ok: it can be made, and grow to at least one node.
        text: what was found, with the way out where it falls short.
        metric: the quota; empty where zones were the trouble.
        needed: GPUs at ``max_nodes``.
        free: GPUs that the quota leaves.
    """

    pool: str
    ok: bool
    text: str
    metric: str = ""
    needed: int = 0
    free: float = 0


def check(
    config: ClusterConfig, stock: Stock, pools: frozenset[str], *, there: frozenset[str] = frozenset()
) -> tuple[Finding, ...]:
    """Check pools: zones first, then the regional quota, then the project's.

    Args:
        pools: those to check.
        there: those of them that exist: what is in use may be their own nodes, so that only the limit counts.
    """
    found = [
        _pool(config, _unused(stock) if name in there else stock, name, pool, spot=spot, there=name in there)
        for name, pool, spot in config.all_pools()
        if name in pools
    ]
    wanted: Counter[str] = Counter()
    for item in found:
        wanted[item.metric] += item.needed
    return tuple(_together(item, wanted[item.metric]) for item in found)


def _unused(stock: Stock) -> Stock:
    everywhere = stock.all_regions_gpus
    return replace(
        stock,
        quotas={
            region: {name: quota._replace(usage=0) for name, quota in quotas.items()}
            for region, quotas in stock.quotas.items()
        },
        all_regions_gpus=everywhere and everywhere._replace(usage=0),
    )


def _together(item: Finding, wanted: int) -> Finding:
    """Says so where pools that share a quota each fit, but not all of them at their largest."""
    if not item.ok or wanted == item.needed or wanted <= item.free:
        return item
    return replace(item, text=f"{item.text}. The pools on this quota want {wanted} together, {item.free:g} are free")


def _pool(config: ClusterConfig, stock: Stock, name: str, pool: PoolConfig, *, spot: bool, there: bool) -> Finding:
    accelerator, gpus = pool.shape.accelerator, pool.shape.gpus
    here = [zone for zone in stock.zones.get(accelerator, ()) if zone.startswith(f"{config.region}-")]
    if not here:
        return Finding(
            name, False, f"{config.region} has no {accelerator}. {_regions(config, stock, pool, spot=spot)}".rstrip()
        )
    wrong = [zone for zone in pool.zones if zone not in here]
    if wrong:
        return Finding(
            name, False, f"{wrong[0]} has no {accelerator}; in {config.region} these have it: {', '.join(here)}."
        )
    metric, quota = _quota(stock, config.region, accelerator, spot=spot)
    everywhere = stock.all_regions_gpus
    free = min(quota.free, everywhere.free if everywhere else quota.free)
    needed = pool.max_nodes * gpus
    short = "GPUS_ALL_REGIONS" if everywhere and everywhere.free < quota.free else f"{metric} in {config.region}"
    limit = everywhere if everywhere and everywhere.free < quota.free else quota
    told = f"{short}: limit {limit.limit:g}" + ("" if there else f", in use {limit.usage:g}")
    at_least = max(gpus, pool.min_nodes * gpus)
    if free < at_least:
        way_out = _way_out(config, stock, pool, short.split(maxsplit=1)[0], at_least=at_least, needed=needed, spot=spot)
        return Finding(name, False, f"{told}; {pool.machine} needs {at_least}. {way_out}", metric, needed, free)
    if free < needed:
        nodes = int(free // gpus)
        request = request_text(config, short.split(maxsplit=1)[0], accelerator, needed)
        text = f"{told}; enough for {nodes} of max_nodes {pool.max_nodes}. {request}"
        return Finding(name, True, text, metric, needed, free)
    return Finding(
        name, True, f"{told}; needs {needed} at most, in {', '.join(pool.zones or here)}", metric, needed, free
    )


def _quota(stock: Stock, region: str, accelerator: str, *, spot: bool) -> tuple[str, Quota]:
    metric = quota_metric(accelerator, spot=spot)
    found = stock.quotas.get(region, {}).get(metric)
    if found is not None:
        return metric, found
    family = quota_family(accelerator)
    return f"GPUS_PER_GPU_FAMILY ({family})", Quota(stock.families.get((family, region), 0.0), 0.0)


def _way_out(
    config: ClusterConfig, stock: Stock, pool: PoolConfig, metric: str, *, at_least: int, needed: int, spot: bool
) -> str:
    parts: list[str] = []
    if metric != "GPUS_ALL_REGIONS":
        other = _quota(stock, config.region, pool.shape.accelerator, spot=not spot)[1]
        if other.free >= at_least:
            parts.append(f"Here there is quota for spot: {'no' if spot else 'only'}.")
        parts += _other_machines(config, stock, pool, at_least, spot=spot)
        parts.append(_regions(config, stock, pool, spot=spot))
    parts.append(request_text(config, metric, pool.shape.accelerator, needed))
    return " ".join(part for part in parts if part)


def _other_machines(config: ClusterConfig, stock: Stock, pool: PoolConfig, at_least: int, *, spot: bool) -> list[str]:
    for accelerator in sorted(stock.zones):
        here = any(zone.startswith(f"{config.region}-") for zone in stock.zones[accelerator])
        if accelerator == pool.shape.accelerator or not here:
            continue
        machines = machines_with(accelerator, pool.shape.gpus)
        if machines and _quota(stock, config.region, accelerator, spot=spot)[1].free >= at_least:
            return [f"Another machine that would do in {config.region}: {machines[0]} ({accelerator})."]
    return []


def _regions(config: ClusterConfig, stock: Stock, pool: PoolConfig, *, spot: bool) -> str:
    """Regions that have the accelerator, those with quota first."""
    accelerator, gpus = pool.shape.accelerator, pool.shape.gpus
    regions = sorted({zone.rsplit("-", 1)[0] for zone in stock.zones.get(accelerator, ())} - {config.region})
    ready = [name for name in regions if _quota(stock, name, accelerator, spot=spot)[1].free >= gpus]
    if ready:
        return f"Regions with the GPU and quota for it: {', '.join(ready)}."
    return f"Regions that have it (quota to be asked for): {', '.join(regions)}." if regions else ""


def request_text(config: ClusterConfig, metric: str, accelerator: str, gpus: int) -> str:
    """The request to file, as a command."""
    if metric == "GPUS_ALL_REGIONS":
        quota, dimensions = "GPUS-ALL-REGIONS-per-project", ""
    elif metric == "GPUS_PER_GPU_FAMILY":
        quota = "GPUS-PER-GPU-FAMILY-per-project-region"
        dimensions = f" --dimensions=region={config.region},gpu_family={quota_family(accelerator)}"
    else:
        quota = f"{metric.replace('_', '-')}-per-project-region"
        dimensions = f" --dimensions=region={config.region}"
    return (
        "Ask for more: gcloud beta quotas preferences create --service=compute.googleapis.com "
        f"--project={config.project} --quota-id={quota}{dimensions} --preferred-value={gpus}"
    )
