"""Look, plan, carry out, look again. Knows the cloud by its protocol only."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from cluster.clock import Clock
from cluster.config import ClusterConfig
from cluster.errors import ClusterError, Refused
from cluster.execute import Cloud as Acting
from cluster.execute import Report, execute, silent
from cluster.model import Action, Key, Observed, Plan, Stock, Verb, Wanted
from cluster.plan.destroy import plan_destroy
from cluster.plan.plan import plan
from cluster.plan.quota import Finding, check
from cluster.wanted.resources import wanted

ROUNDS = 5
"""A round ends with a new look; more than three mean that something changes the project at the same time."""


class Cloud(Acting, Protocol):
    """What a workflow needs of the cloud."""

    clock: Clock

    def observe(self, wanted: Sequence[Wanted], *, sweep: bool = False) -> Observed: ...

    def stock(self) -> Stock: ...


@dataclass(frozen=True)
class Look:
    """A plan, and what it was made from."""

    plan: Plan
    observed: Observed
    wanted: tuple[Wanted, ...]
    findings: tuple[Finding, ...] = ()
    stock: Stock | None = None

    @property
    def first_apis(self) -> bool:
        """APIs must be enabled before the rest can be seen."""
        return bool(self.observed.disabled_apis)


def look(config: ClusterConfig, cloud: Cloud, *, token: bool, replacing: Collection[str] = ()) -> Look:
    """Read the project and plan; zones and quotas are read only when pools are to be made."""
    items = wanted(config, token=token)
    observed = cloud.observe(items)
    cluster = observed.found.get(Key("cluster", config.name))
    if cluster is not None:
        items = wanted(config, stock=Stock(channel_version=cluster.facts.get("version", "")), token=token)
    planned = plan(items, observed, replace=replacing)
    new, grown = _new_pools(planned), _grown_pools(planned)
    if not new | grown or observed.disabled_apis:
        return Look(planned, observed, tuple(items))
    stock = cloud.stock()
    if cluster is not None and cluster.facts.get("version"):
        stock = replace(stock, channel_version=cluster.facts["version"])
    # Pools that are there keep the zones they have; only new ones get the stock's.
    fresh = {item.key: item for item in wanted(config, stock=stock, token=token)}
    items = [fresh[item.key] if item.key.name in new and item.key.kind == "node-pool" else item for item in items]
    findings = check(config, stock, frozenset(new | grown), there=frozenset(grown))
    planned = _with_quota(plan(items, observed, replace=replacing), findings)
    return Look(planned, observed, tuple(items), findings, stock)


def converge(
    config: ClusterConfig,
    cloud: Cloud,
    *,
    token: bool,
    replacing: Collection[str] = (),
    report: Report = silent,
    agree: Callable[[Look], bool] = lambda found: True,
) -> Look:
    """Carry plans out until there is nothing left to do.

    Args:
        agree: asked with what is to be done; False ends it. Asked twice where APIs must be enabled first: zones, quotas
            and so the real plan are known only then.

    Returns:
        The last look: empty, or the first where ``agree`` said no.

    Raises:
        Refused: the plan has refusals; nothing was changed but, perhaps, APIs enabled.
        ClusterError: an action failed.
    """
    agreed, left = False, ""
    for _ in range(ROUNDS):
        found = look(config, cloud, token=token, replacing=replacing)
        refuse(found.plan)
        if found.plan.empty or not (agreed or agree(found)):
            return found
        agreed = not found.first_apis
        if found.first_apis:
            # Quotas and zones cannot be read before: nothing else may be made until they have been.
            apis = tuple(action for action in found.plan.actions if action.key.kind == "apis")
            execute(Plan(apis), cloud, cloud.clock, report)
            continue
        execute(found.plan, cloud, cloud.clock, report)
        replacing, left = (), ", ".join(map(str, found.plan.actions[:3]))
    raise ClusterError(
        f"After {ROUNDS} rounds there is still something to do ({left}): "
        "somebody else changes the project at the same time, or Google corrects what was asked for"
    )


def look_destroy(
    config: ClusterConfig, cloud: Cloud, *, delete_models: bool = False, keep_bucket: bool = False
) -> Look:
    """Read everything that bears our marks, and plan to take it away."""
    items = wanted(config, token=True)
    observed = cloud.observe(items, sweep=True)
    planned = plan_destroy(config, observed, delete_models=delete_models, keep_bucket=keep_bucket)
    return Look(planned, observed, tuple(items))


def tear_down(
    config: ClusterConfig,
    cloud: Cloud,
    *,
    delete_models: bool = False,
    keep_bucket: bool = False,
    report: Report = silent,
    agree: Callable[[Look], bool] = lambda found: True,
) -> Look:
    """Delete until nothing of ours is left.

    Raises:
        Refused: the bucket is not empty, or deletion protection is on; nothing was changed.
        ClusterError: an action failed.
    """
    agreed, left = False, ""
    for _ in range(ROUNDS):
        found = look_destroy(config, cloud, delete_models=delete_models, keep_bucket=keep_bucket)
        refuse(found.plan)
        if found.plan.empty or not (agreed or agree(found)):
            return found
        agreed, left = True, str(found.plan.actions[0].key)
        execute(found.plan, cloud, cloud.clock, report)
    raise ClusterError(f"After {ROUNDS} rounds there was still {left} to delete; run destroy again")


def refuse(planned: Plan) -> None:
    """Raise what a plan refuses.

    Raises:
        Refused: one line a refusal.
    """
    if planned.refusals:
        raise Refused("\n".join(f"{action.key}: {action.reason}" for action in planned.refusals))


def _new_pools(planned: Plan) -> set[str]:
    return {
        action.key.name
        for action in planned.actions
        if action.key.kind == "node-pool" and action.verb in (Verb.CREATE, Verb.REPLACE)
    }


def _grown_pools(planned: Plan) -> set[str]:
    """Pools that get other zones, or may have more nodes than before."""
    return {
        action.key.name
        for action in planned.actions
        if action.key.kind == "node-pool"
        and action.verb is Verb.UPDATE
        and any(change.path in ("locations", "autoscaling.totalMaxNodeCount") for change in action.changes)
    }


def _with_quota(planned: Plan, findings: Sequence[Finding]) -> Plan:
    """The plan with pools refused that could never have a node."""
    bad = {finding.pool: finding.text for finding in findings if not finding.ok}
    actions = tuple(
        Action(Verb.REFUSE, action.key, action.spec, reason=bad[action.key.name], found=action.found)
        if action.key.kind == "node-pool" and action.key.name in bad
        else action
        for action in planned.actions
    )
    return replace(planned, actions=actions)
