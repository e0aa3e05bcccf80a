"""The planner: (wanted, observed) -> ordered actions. Pure.

Laws:
1. A plan after a carried-out plan is empty.
2. What does not bear our marks is never changed or deleted; if it stands in the way, the plan refuses.
3. A field that cannot change in place is refused with the reason, or the resource is replaced when asked for by name.
4. What an earlier, killed run left (an operation under way, a resource that never came up) is waited for or made anew.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace as with_
from typing import Any

from cluster.model import (
    PARKED_LABEL,
    PROTECTED_LABEL,
    Action,
    Change,
    Found,
    Key,
    Observed,
    Plan,
    Status,
    Verb,
    Wanted,
)
from cluster.wanted.kinds import KINDS, differences

CLUSTER = "cluster"
POOL = "node-pool"
_OUT = "no longer in the service file"
_GONE = {POOL: f"{_OUT}; its nodes go, and the pods on them"}
_ASLEEP = "the cluster is scaled to zero"
_WAKE = "Wake it with: switchyard cluster scale --resume"


def plan(wanted: Sequence[Wanted], observed: Observed, *, replace: Collection[str] = ()) -> Plan:
    """What must be done so that what is wanted is there.

    Args:
        wanted: each after those it needs.
        observed: what was read.
        replace: resources (``node-pool/l4``) that may be deleted and made anew where a field cannot change in place.
    """
    actions: dict[Key, Action] = {}
    notes: list[str] = []
    unknown = set(replace) - {str(item.key) for item in wanted}
    for name in sorted(unknown):
        actions[Key(*_split(name))] = Action(
            Verb.REFUSE, Key(*_split(name)), reason="--replace names something that the service file does not want"
        )
    for item in wanted:
        action = _one(item, observed, actions, replace)
        if action is not None:
            actions[item.key] = action
    for found in _unwanted(wanted, observed):
        if KINDS[found.key.kind].keeps_data:
            notes.append(f"{found.key} is no longer in the service file; it is kept. `destroy` removes it.")
        else:
            actions[found.key] = Action(Verb.DELETE, found.key, reason=_GONE.get(found.key.kind, _OUT), found=found)
    if observed.parked:
        awake = [str(found.key) for found in awake_when_parked(observed)]
        if awake:
            notes.append(
                f"Scaling to zero was not finished ({', '.join(awake)}): go on with "
                "switchyard cluster scale --to-zero, or back with switchyard cluster scale --resume"
            )
        else:
            notes.append(f"{_ASLEEP.capitalize()}; until it wakes, the sizes of its pools are not compared. {_WAKE}")
    # An action waits for those of this plan only: what needs nothing done is there already.
    ordered = tuple(with_(action, after=_pending(action.after, actions)) for action in actions.values())
    return Plan(ordered, notes=tuple(notes))


def awake_when_parked(observed: Observed) -> list[Found]:
    """What ``scale --to-zero`` has not come to yet: it was killed after it had set its label."""
    return [
        found
        for key, found in sorted(observed.found.items())
        if observed.parked
        and found.ours
        and (key.kind == "router" or (key.kind == POOL and found.spec.get("autoscaling", {}).get("enabled")))
    ]


def _one(item: Wanted, observed: Observed, planned: Mapping[Key, Action], replace: Collection[str]) -> Action | None:
    found = observed.found.get(item.key)
    parent = planned.get(_cluster_of(item)) if item.key.kind == POOL else None
    if parent is not None and parent.verb in (Verb.CREATE, Verb.REPLACE):
        # The pools of a cluster that is yet to be made do not exist, whatever was read.
        found = None
        if item.within:
            return None
    if found is None:
        if observed.parked and item.key.kind == "router":
            return None  # `scale --to-zero` took it away; `--resume` brings it back
        if observed.parked and item.key.kind == POOL:
            return Action(
                Verb.REFUSE, item.key, item.spec, reason=f"{_ASLEEP}, and this pool would have nodes. {_WAKE}"
            )
        return Action(Verb.CREATE, item.key, item.spec, after=item.after)
    if not found.ours:
        return Action(Verb.REFUSE, item.key, item.spec, reason=_stranger(item.key), found=found)
    if found.status is Status.BUSY:
        return Action(Verb.WAIT, item.key, item.spec, reason=found.note or "an operation is under way", found=found)
    if found.status is Status.DELETING:
        return Action(Verb.REPLACE, item.key, item.spec, reason="it is being deleted", after=item.after, found=found)
    if found.status is Status.FAILED:
        why = f"it never came up: {found.note}" if found.note else "it never came up"
        return Action(Verb.REPLACE, item.key, item.spec, reason=why, after=item.after, found=found)
    changes = tuple(
        change
        for change in differences(item.key.kind, item.spec, found.spec)
        if not (observed.parked and _parked(item.key, change))
    )
    changes += _unprotected(item, found)
    if not changes:
        return None
    return _change(item, found, changes, replace)


def _change(item: Wanted, found: Found, changes: tuple[Change, ...], replace: Collection[str]) -> Action:
    rules = KINDS[item.key.kind]
    fixed = [change for change in changes if not rules.may_change(change.path)]
    if not fixed:
        return Action(Verb.UPDATE, item.key, item.spec, changes=changes, after=item.after, found=found)
    for change in fixed:
        if item.key.kind == CLUSTER and change.path == "location" and _region(change.have) != _region(change.want):
            return Action(Verb.REFUSE, item.key, item.spec, changes, _elsewhere(change), (), found)
    reasons = "; ".join(
        f"{change.path} is {_show(change.have)}, wanted {_show(change.want)}: {rules.why_fixed(change.path)}"
        for change in fixed
    )
    if not rules.replaceable:
        return Action(Verb.REFUSE, item.key, item.spec, changes, f"{reasons}. Put the old value back.", (), found)
    if str(item.key) in replace:
        return Action(Verb.REPLACE, item.key, item.spec, changes, reasons, item.after, found)
    hint = f"Put the old value back, or delete and make it anew with --replace {item.key}"
    if item.key.kind == CLUSTER:
        hint += " (every pod stops)"
    return Action(Verb.REFUSE, item.key, item.spec, changes, f"{reasons}. {hint}.", (), found)


def _region(location: Any) -> str:
    """Of a zone or a region."""
    return "-".join(str(location).split("-")[:2])


def _elsewhere(change: Change) -> str:
    return (
        f"it is in {change.have}, and the service file says {change.want}: neither a cluster nor its network, "
        "bucket and images can move to another region. Put the region back; or make a second cluster, under another "
        "cluster.name (and cluster.bucket.name); or destroy this one first, with a file that says "
        f"{_region(change.have)}"
    )


def _unprotected(item: Wanted, found: Found) -> tuple[Change, ...]:
    """The one label of ours that must go when it is not wanted: a label too many is no difference otherwise."""
    labels: dict[str, str] = found.spec.get("resourceLabels") or {}
    have = labels.get(PROTECTED_LABEL)
    if item.key.kind != CLUSTER or have is None or PROTECTED_LABEL in item.spec["resourceLabels"]:
        return ()
    return (Change(f"resourceLabels.{PROTECTED_LABEL}", have, None),)


def _stranger(key: Key) -> str:
    setting = {
        "bucket": "cluster.bucket.name",
        "node-pool": "the pool's name",
    }.get(key.kind, "cluster.name")
    return (
        f"a {key.kind.replace('-', ' ')} called {key.name} exists, and Switchyard did not make it for this cluster "
        f"(its marks are missing); it is left alone. Set {setting} to another name"
    )


def _parked(key: Key, change: Change) -> bool:
    """Differences that ``scale --to-zero`` makes on purpose."""
    return (key.kind == POOL and change.path.startswith("autoscaling.")) or PARKED_LABEL in change.path


def _unwanted(wanted: Sequence[Wanted], observed: Observed) -> list[Found]:
    known = {item.key for item in wanted}
    without_cluster = not any(key.kind == CLUSTER for key in observed.found)
    return [
        found
        for key, found in sorted(observed.found.items(), key=lambda pair: _rank(pair[0]), reverse=True)
        if key not in known
        and found.ours
        and key.kind not in ("apis", "secret-version")
        and found.status is not Status.DELETING
        and not (key.kind == POOL and without_cluster)
    ]


def _cluster_of(item: Wanted) -> Key:
    return next(key for key in item.after if key.kind == CLUSTER)


def _pending(after: Sequence[Key], actions: Mapping[Key, Action]) -> tuple[Key, ...]:
    return tuple(dict.fromkeys(key for key in after if key in actions))


def _rank(key: Key) -> tuple[int, str]:
    return list(KINDS).index(key.kind), key.name


def _split(name: str) -> tuple[str, str]:
    kind, named, rest = name.partition("/")
    return (kind, rest) if named else ("resource", name)


def _show(value: Any) -> str:
    return "not set" if value in (None, "", [], {}) else str(value)
