"""Checks a cluster from outside in, and names what to do about each finding. Pure: judges what was read."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cluster.config import ClusterConfig
from cluster.inside.kubeconfig import PLUGIN
from cluster.inside.kuberay_release import DEFAULT_VERSION, Installed
from cluster.model import Key, Observed, Plan, Status, Verb, Wanted
from cluster.plan.plan import awake_when_parked
from cluster.plan.quota import Finding
from cluster.prices import Prices, components, cost

STALE_PRICES_DAYS = 90
REMOVE_OPERATOR = "kubectl delete deployment kuberay-operator -n kuberay-operator, while no rollout runs"


class Check(NamedTuple):
    """One check: ``ok``, ``warn`` or ``fail``, what was found, and the next step."""

    state: str
    what: str
    found: str
    next: str = ""


@dataclass(frozen=True)
class Inside:
    """What was read inside the cluster; ``error`` says why it could not be."""

    error: str = ""
    operator: Installed | None = None
    operator_ready: bool = False
    secret: bool = False
    account: bool = False
    suspend: bool = False


def diagnose(
    config: ClusterConfig,
    observed: Observed,
    planned: Plan,
    findings: Sequence[Finding],
    prices: Prices,
    *,
    wanted: Sequence[Wanted],
    price_file: str,
    today: datetime.date,
    inside: Inside | None,
    plugin: bool,
) -> list[Check]:
    """All checks, outermost first.

    Args:
        findings: quota checks of every pool.
        wanted: what is paid for.
        price_file: where rates can be written by hand.
        inside: None where there is no cluster to look into.
        plugin: gke-gcloud-auth-plugin is on the PATH.
    """
    checks = [Check("ok", "project", f"{config.project} can be read")]
    checks.append(_apis(config, observed))
    checks.append(_drift(planned))
    checks += _cluster(config, observed)
    checks += [Check("ok" if item.ok else "fail", f"quota of pool {item.pool}", item.text) for item in findings]
    checks.append(_bucket(config, observed))
    if inside is not None:
        checks += _inside(config, inside)
        checks.append(
            Check("ok", "kubectl", f"{PLUGIN} is installed")
            if plugin
            else Check("warn", "kubectl", f"{PLUGIN} is not on the PATH", f"gcloud components install {PLUGIN}")
        )
    checks.append(_prices(config, wanted, prices, price_file, today))
    return checks


def _prices(
    config: ClusterConfig, wanted: Sequence[Wanted], prices: Prices, price_file: str, today: datetime.date
) -> Check:
    """Only rates that this cluster is billed by count, and a refresh is advised only where it can change something."""
    used = components(cost(prices, config.region, [(item.key, item.spec) for item in wanted]))
    estimates = prices.estimates(config.region, used)
    age = (today - datetime.date.fromisoformat(prices.date)).days
    if age > STALE_PRICES_DAYS or set(estimates) - set(prices.absent.get(config.region, ())):
        step = "switchyard cluster prices refresh"
    elif estimates:
        step = f"the Billing Catalog has none of these: write their rates into {price_file}, regions.{config.region}"
    else:
        step = ""
    return Check("warn" if step else "ok", "prices", prices.label(config.region, used), step)


def _apis(config: ClusterConfig, observed: Observed) -> Check:
    missing = sorted(observed.disabled_apis)
    if not missing:
        return Check("ok", "APIs", "enabled")
    command = f"gcloud services enable {' '.join(missing)} --project={config.project}"
    return Check("fail", "APIs", f"not enabled: {', '.join(missing)}", f"switchyard cluster apply, or: {command}")


def _drift(planned: Plan) -> Check:
    if planned.empty:
        return Check("ok", "resources", "as the service file wants them")
    refused = [action for action in planned.actions if action.verb is Verb.REFUSE]
    text = f"{len(planned.actions)} differ: {', '.join(str(action.key) for action in planned.actions[:4])}"
    text += " ..." if len(planned.actions) > 4 else ""
    if refused:
        return Check("fail", "resources", f"{refused[0].key}: {refused[0].reason}", "switchyard cluster plan")
    return Check("warn", "resources", text, "switchyard cluster plan, then apply")


def _cluster(config: ClusterConfig, observed: Observed) -> list[Check]:
    cluster = observed.found.get(Key("cluster", config.name))
    if cluster is None:
        return [Check("fail", "cluster", f"there is no cluster {config.name}", "switchyard cluster apply")]
    text = f"{cluster.status}, GKE {cluster.facts.get('version')}, {cluster.facts.get('nodes')} nodes"
    state = {Status.READY: "ok", Status.BUSY: "warn"}.get(cluster.status, "fail")
    checks = [Check(state, "cluster", f"{text}. {cluster.note}".rstrip(". "))]
    for key, found in sorted(observed.found.items()):
        if key.kind != "node-pool":
            continue
        if found.note or found.status in (Status.FAILED, Status.DELETING):
            codes = found.facts.get("codes", [])
            checks.append(Check("fail", f"pool {key.name}", f"{found.status}: {found.note}", _pool_advice(codes)))
        else:
            checks.append(Check("ok", f"pool {key.name}", str(found.status)))
    if awake_when_parked(observed):
        text = "scaling to zero was not finished: there may be nodes"
        checks.append(Check("fail", "scale", text, "switchyard cluster scale --to-zero, or --resume"))
    elif observed.parked:
        checks.append(Check("warn", "scale", "scaled to zero", "switchyard cluster scale --resume"))
    return checks


def _pool_advice(codes: Sequence[str]) -> str:
    if "GCE_STOCKOUT" in codes or "RESOURCE_EXHAUSTED" in codes:
        return "no stock: other zones (cluster.pools.NAME.zones), another machine, spot: beside, or later"
    if "GCE_QUOTA_EXCEEDED" in codes:
        return "no quota: switchyard cluster plan shows how to ask for more"
    return "switchyard cluster apply makes a failed pool anew"


def _bucket(config: ClusterConfig, observed: Observed) -> Check:
    bucket = observed.found.get(Key("bucket", config.bucket_name))
    if bucket is None:
        return Check("fail", "bucket", f"there is no {config.bucket_name}", "switchyard cluster apply")
    if not bucket.ours:
        return Check("fail", "bucket", f"{config.bucket_name} is somebody else's", "set cluster.bucket.name")
    return Check("ok", "bucket", f"gs://{config.bucket_name}")


def _inside(config: ClusterConfig, inside: Inside) -> list[Check]:
    if inside.error:
        return [Check("fail", "API server", inside.error, "switchyard cluster status")]
    checks = [Check("ok", "API server", "answers")]
    operator = inside.operator or Installed()
    install = "switchyard cluster install-operator"
    if config.ray_operator == "addon" and operator.version:
        text = f"{operator.version} is installed beside Google's add-on: both write the same RayServices"
        checks.append(Check("fail", "KubeRay", text, REMOVE_OPERATOR))
    elif config.ray_operator == "addon":
        checks.append(Check("ok", "KubeRay", "Google's add-on looks after it"))
    elif not operator.version:
        checks.append(Check("fail", "KubeRay", "not installed", install))
    elif not inside.operator_ready:
        checks.append(
            Check("warn", "KubeRay", f"{operator.version} is not ready", "kubectl -n kuberay-operator get pods")
        )
    elif operator.version != config.kuberay_version:
        text = f"{operator.version}, and the service file says {config.kuberay_version}"
        checks.append(Check("warn", "KubeRay", text, install))
    else:
        checks.append(Check("ok", "KubeRay", operator.version))
    if operator.version and not inside.suspend:
        checks.append(
            Check("warn", "off-hours", "this KubeRay cannot suspend", f"{install} --version {DEFAULT_VERSION}")
        )
    name = f"{config.namespace}/{config.service_account}"
    checks.append(
        Check("ok", "identity", f"service account {name} acts as {config.workload_email}")
        if inside.account
        else Check("fail", "identity", f"service account {name} is missing or not bound", "switchyard cluster apply")
    )
    checks.append(
        Check("ok", "token", f"secret {config.hf_secret}")
        if inside.secret
        else Check("warn", "token", f"no secret {config.hf_secret}", "HF_TOKEN=... switchyard cluster apply")
    )
    return checks
