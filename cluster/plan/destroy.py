"""The plan that takes everything away again: (config, observed) -> deletions, and what is kept. Pure."""

from __future__ import annotations

from cluster.config import ClusterConfig
from cluster.model import PROTECTED_LABEL, Action, Found, Key, Observed, Plan, Status, Verb
from cluster.wanted.kinds import KINDS

_NEEDS_GONE: dict[str, tuple[str, ...]] = {
    # What must be deleted before a thing of this kind can be: the cluster's machines use the network and act as the
    # service accounts; a network goes last.
    "disk": ("cluster",),
    "subnetwork": ("cluster",),
    "router": ("cluster",),
    "firewall": ("cluster",),
    "network": ("subnetwork", "router", "firewall", "cluster"),
    "service-account": ("cluster", "grant"),
    "channel": ("alert",),
}

_WITH_ITS_RESOURCE = ("secret-version",)


def plan_destroy(
    config: ClusterConfig, observed: Observed, *, delete_models: bool = False, keep_bucket: bool = False
) -> Plan:
    """Delete all that bears our marks; say what stays, and why.

    Args:
        delete_models: delete the bucket though there are objects in it.
        keep_bucket: leave the bucket, its objects, and with them their cost.
    """
    kept: list[tuple[Key, str]] = []
    actions: dict[Key, Action] = {}
    for key, found in sorted(observed.found.items(), key=lambda item: -list(KINDS).index(item[0].kind)):
        if key.kind == "apis":
            kept.append((key, "enabled APIs cost nothing, and other things in the project may use them"))
        elif not found.ours:
            kept.append((key, "not made by Switchyard for this cluster"))
        elif key.kind == "bucket" and keep_bucket:
            kept.append((key, f"asked for by --keep-bucket; {contents(found)} go on costing"))
        elif refusal := _refusal(config, key, found, delete_models=delete_models):
            actions[key] = Action(Verb.REFUSE, key, reason=refusal, found=found)
        elif not _goes_with_another(key, observed, keep_bucket=keep_bucket):
            actions[key] = Action(Verb.DELETE, key, found=found)
    ordered = [
        Action(
            action.verb,
            key,
            reason=action.reason,
            found=action.found,
            after=tuple(other for other in actions if other.kind in _NEEDS_GONE.get(key.kind, ())),
        )
        for key, action in actions.items()
    ]
    return Plan(tuple(ordered), tuple(kept))


def contents(found: Found) -> str:
    """What is in a bucket, in words."""
    return f"{found.facts.get('objects', 0)} objects ({float(found.facts.get('bytes', 0)) / 2**30:.1f} GiB)"


def _refusal(config: ClusterConfig, key: Key, found: Found, *, delete_models: bool) -> str:
    if key.kind == "cluster" and not str(found.spec.get("location", config.region)).startswith(config.region):
        return (
            f"it is in {found.spec['location']}, and so is what it stands on. Destroy it with a file that says so in "
            "cluster.region: from this one the rest would not be found"
        )
    if key.kind == "network":
        ours = f"/regions/{config.region}/subnetworks/{config.name}"
        others = [url for url in found.spec.get("subnetworks", []) if not url.endswith(ours)]
        if others:
            return (
                f"it has subnetworks that are not this file's: {', '.join(map(_short, others))}. A network goes last: "
                "destroy what is in another region with a file that says so in cluster.region, delete what others made"
            )
    if key.kind == "cluster" and PROTECTED_LABEL in (found.spec.get("resourceLabels") or {}):
        return (
            "deletion protection is on. Set cluster.deletion_protection to false, run `switchyard cluster apply`, "
            "then destroy again"
        )
    if key.kind == "bucket" and found.facts.get("objects") and not delete_models:
        return (
            f"the bucket {config.bucket_name} is not empty: {contents(found)}. Delete them too with --delete-models, "
            "or leave the bucket with --keep-bucket"
        )
    return ""


def _short(url: str) -> str:
    return "/".join(url.split("/")[-4:])


def _goes_with_another(key: Key, observed: Observed, *, keep_bucket: bool) -> bool:
    """Whether it disappears by itself with a resource that is deleted."""
    if key.kind in _WITH_ITS_RESOURCE:
        return True
    if key.kind == "node-pool":
        return any(
            other.kind == "cluster" and found.ours and found.status is not Status.DELETING
            for other, found in observed.found.items()
        )
    if key.kind == "grant":
        on = key.name.split(":")[0]
        # A binding on the project outlives the account it is for, as "deleted:serviceAccount:..."; so does one on a
        # bucket that stays.
        return not (on == "project" or (on == "bucket" and keep_bucket))
    return False
