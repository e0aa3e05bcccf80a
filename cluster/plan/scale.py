"""Scaling to zero and back: the plans of ``switchyard cluster scale``. Pure.

At zero there is the control plane, the bucket, and what is stored: no node, and no NAT gateway with its address. The
label ``switchyard-scaled-to-zero`` is set first and taken off last, so that a run that was killed in between is
recognised, and ``plan`` does not take it for drift.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.errors import NotFound
from cluster.model import PARKED_LABEL, Action, Change, Found, Key, Observed, Plan, Status, Verb, Wanted

OFF = {"enabled": False}


def plan_to_zero(wanted: Sequence[Wanted], observed: Observed) -> Plan:
    """Take every node and the NAT gateway away.

    Raises:
        NotFound: there is no cluster of ours.
    """
    cluster, labels = _cluster(wanted, observed)
    actions: list[Action] = []
    if not observed.parked:
        actions.append(_labels(cluster, {**labels, PARKED_LABEL: "true"}))
    before = tuple(action.key for action in actions)
    pools = [found for key, found in sorted(observed.found.items()) if key.kind == "node-pool" and found.ours]
    for found in pools:
        enabled = bool(found.spec.get("autoscaling", {}).get("enabled"))
        size = int(found.spec.get("initialNodeCount", 0))
        changes = [Change("autoscaling.enabled", True, False)] if enabled else []
        # The autoscaler may have made nodes whatever the initial count was; switched off, the count is the size.
        if enabled or size:
            changes.append(Change("size", "autoscaled" if enabled else size, 0))
        if changes and found.status is not Status.DELETING:
            spec = {"autoscaling": OFF, "size": 0}
            actions.append(Action(Verb.UPDATE, found.key, spec, tuple(changes), after=before, found=found))
    nodes = tuple(action.key for action in actions if action.key.kind == "node-pool")
    for key, found in observed.found.items():
        if key.kind == "router" and found.ours:
            actions.append(Action(Verb.DELETE, key, after=(*before, *nodes), found=found))
    return Plan(tuple(actions))


def plan_resume(wanted: Sequence[Wanted], observed: Observed) -> Plan:
    """Bring NAT and the pools' autoscalers back; nodes follow by themselves.

    Raises:
        NotFound: there is no cluster of ours.
    """
    cluster, labels = _cluster(wanted, observed)
    if not observed.parked:
        return Plan(notes=("The cluster is not scaled to zero.",))
    actions: list[Action] = []
    for item in wanted:
        found = observed.found.get(item.key)
        if item.key.kind == "router" and found is None:
            actions.append(Action(Verb.CREATE, item.key, item.spec))
        elif item.key.kind == "node-pool" and found is not None and found.ours:
            changes = [Change("autoscaling", found.spec.get("autoscaling"), item.spec["autoscaling"])]
            spec = {"autoscaling": item.spec["autoscaling"]}
            if item.key.name == "system":
                # The autoscaler never makes a first node for pods that were deleted with the last one.
                spec["size"] = 1
                changes.append(Change("size", 0, 1))
            if not found.spec.get("autoscaling", {}).get("enabled"):
                actions.append(Action(Verb.UPDATE, item.key, spec, tuple(changes), _why(item.key), (), found))
    before = tuple(action.key for action in actions)
    return Plan((*actions, _labels(cluster, labels, after=before)))


def _why(key: Key) -> str:
    return "the operator and the Ray heads run there" if key.name == "system" else ""


def _labels(cluster: Found, labels: dict[str, str], after: tuple[Key, ...] = ()) -> Action:
    have = cluster.spec.get("resourceLabels", {}).get(PARKED_LABEL)
    change = Change(f"resourceLabels.{PARKED_LABEL}", have, labels.get(PARKED_LABEL))
    return Action(Verb.UPDATE, cluster.key, {"resourceLabels": labels}, (change,), after=after, found=cluster)


def _cluster(wanted: Sequence[Wanted], observed: Observed) -> tuple[Found, dict[str, str]]:
    item = next(item for item in wanted if item.key.kind == "cluster")
    found = observed.found.get(item.key)
    if found is None or not found.ours:
        raise NotFound(f"There is no cluster {item.key.name} of ours; make it with: switchyard cluster apply")
    return found, dict(item.spec["resourceLabels"])
