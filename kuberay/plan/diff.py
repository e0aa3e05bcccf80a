"""What applying a service would do, before it is done: nothing, a change in place, or a new RayCluster. Pure.

KubeRay starts a new RayCluster when a hash over ``rayClusterConfig`` differs from the pending, else the active,
cluster's (``shouldPrepareNewCluster``). What the hash leaves out reaches nobody by itself, and is carried to the
running cluster by a patch of ours where that works. The rules are those of KubeRay 1.6.1 and 1.7.0,
``controllers/ray/rayservice_controller.go`` and ``utils/util.go`` (GenerateHashWithoutReplicasAndWorkersToDelete).

=============================================  ==================================================================
field                                          effect
=============================================  ==================================================================
rayClusterConfig, but for what follows         NEW CLUSTER (with strategy None: nobody receives it)
  worker groups added behind the others        in place (never from a file: their release has another id)
  suspend                                      in place
  a group's replicas, minReplicas, maxReplicas carried: patched on the running RayCluster
  tolerations, schedulingGates                 carried: for pods that start later
serveConfigV2                                  in place: Serve applies it; with a new cluster, only that gets it
upgradeStrategy, deletion delay, excludeHead   in place: the operator reads them each time
metadata; other objects                        in place
=============================================  ==================================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from kuberay.fields import Difference, differences, same
from kuberay.manifests.muting import MUTED, muted
from kuberay.manifests.rayservice import Json
from kuberay.plan.traps import Trap, traps
from kuberay.snapshot import Object, Snapshot, dig


class Effect(StrEnum):
    """What becomes of a change, from least to most."""

    NOTHING = "no-op"
    IN_PLACE = "in place"
    CARRIED = "carried over"
    STRANDED = "reaches nobody"
    CREATE = "create"
    NEW_CLUSTER = "NEW CLUSTER"


@dataclass(frozen=True)
class Change:
    """One field, and what its change does."""

    object: str
    difference: Difference
    effect: Effect
    note: str = ""


@dataclass(frozen=True)
class Patch:
    """A JSON patch (RFC 6902) on a RayCluster, for what KubeRay does not carry over itself."""

    cluster: str
    operations: tuple[Json, ...]


@dataclass(frozen=True)
class Plan:
    """What applying would do.

    Attributes:
        effect: the strongest of the changes' effects.
        changes: field by field.
        patches: to be sent after the objects.
        traps: why it should not be applied as it is; empty when it may.
    """

    effect: Effect
    changes: tuple[Change, ...]
    patches: tuple[Patch, ...]
    traps: tuple[Trap, ...]


def plan(snapshot: Snapshot, after: Sequence[Json]) -> Plan:
    """Compare what is there with what would be.

    Args:
        snapshot: what is there.
        after: the service's objects as the API server would store them: its answer to a dry run, which has its
            defaults and other managers' fields in it.
    """
    changes: list[Change] = []
    wanted: Json = {}
    for item in after:
        before = snapshot.named(item["kind"], item["metadata"]["name"])
        if item["kind"] == "RayService":
            wanted = item
        elif before is None:
            changes.append(_creation(item))
        else:
            changes += _plain(before, item)
    service = snapshot.service
    patches: list[Patch] = []
    if service is None:
        changes.append(_creation(wanted))
    else:
        changes += _service_changes(snapshot, service, wanted)
        if not any(change.effect is Effect.NEW_CLUSTER for change in changes):
            patches = [patch for which in ("active", "pending") if (patch := _patch(snapshot, which, wanted))]
    ranks = list(Effect)
    effect = max((change.effect for change in changes), key=ranks.index, default=Effect.NOTHING)
    if patches:
        effect = max(effect, Effect.CARRIED, key=ranks.index)
    new_cluster = effect is Effect.NEW_CLUSTER
    return Plan(effect, tuple(changes), tuple(patches), tuple(traps(snapshot, wanted, new_cluster=new_cluster)))


def running_spec(snapshot: Snapshot) -> Json | None:
    """The spec KubeRay compares with: the pending RayCluster's, else the active one's; None where there is neither."""
    cluster = snapshot.cluster("pending") or snapshot.cluster("active")
    return dig(cluster, "spec") if cluster else None


def _service_changes(snapshot: Snapshot, before: Object, after: Json) -> Iterator[Change]:
    name = f"RayService/{after['metadata']['name']}"
    strategy = dig(after, "spec", "upgradeStrategy", "type", default="NewCluster")
    running = running_spec(snapshot)
    wanted: Json = dig(after, "spec", "rayClusterConfig", default={})
    new_cluster = _needs_new_cluster(running, wanted)
    for difference in differences(_spec_and_labels(before), _spec_and_labels(after)):
        if difference.path[:2] != ("spec", "rayClusterConfig"):
            yield Change(name, difference, Effect.IN_PLACE, _note(difference, new_cluster))
    if running is None:
        # The operator has made no cluster yet: whatever is applied now is what the first one gets.
        for difference in differences(dig(before, "spec", "rayClusterConfig", default={}), wanted):
            yield Change(name, _below_config(difference), Effect.IN_PLACE, "there is no cluster yet")
        return
    for difference in differences(muted(running), muted(wanted)):
        effect, note = Effect.NEW_CLUSTER, ""
        if not new_cluster:
            effect, note = Effect.IN_PLACE, "a worker group behind the others joins the running cluster"
        elif strategy == "None":
            effect, note = Effect.STRANDED, "upgradeStrategy is None: KubeRay starts no new cluster"
        yield Change(name, _below_config(difference), effect, note)
    for difference in _mutable(running, wanted):
        if new_cluster and strategy != "None":
            yield Change(name, _below_config(difference), Effect.NEW_CLUSTER, "comes with the new cluster")
        elif difference.path[-1] == "suspend":
            yield Change(name, _below_config(difference), Effect.IN_PLACE)
        else:
            later = "" if difference.path[-1] in MUTED else "for pods that start from now on"
            yield Change(name, _below_config(difference), Effect.CARRIED, later)


def _needs_new_cluster(running: Json | None, wanted: Json) -> bool:
    if running is None:
        return False
    before, after = muted(running), muted(wanted)
    groups = before.get("workerGroupSpecs", [])
    after["workerGroupSpecs"] = after.get("workerGroupSpecs", [])[: len(groups)]
    return any(True for _ in differences(before, after))


def _mutable(running: Json, wanted: Json) -> Iterator[Difference]:
    """Differences in what the hash leaves out, but for ``replicas``, which is the autoscaler's."""
    if not same(running.get("suspend") or None, wanted.get("suspend") or None):
        yield Difference(("suspend",), running.get("suspend"), wanted.get("suspend"))
    groups = {group["groupName"]: group for group in running.get("workerGroupSpecs", [])}
    for group in wanted.get("workerGroupSpecs", []):
        path = ("workerGroupSpecs", f"[{group['groupName']}]")
        if (old := groups.get(group["groupName"])) is None:
            continue
        for key in ("minReplicas", "maxReplicas"):
            yield from differences(old.get(key), group.get(key), (*path, key))
        yield from _tolerations(old, group, path)
    yield from _tolerations(running.get("headGroupSpec", {}), wanted.get("headGroupSpec", {}), ("headGroupSpec",))


def _tolerations(old: Json, new: Json, path: tuple[str, ...]) -> Iterator[Difference]:
    where = ("template", "spec", "tolerations")
    before, after = dig(old, *where, default=[]), dig(new, *where, default=[])
    if not same(before, after):
        yield Difference((*path, *where), before, after)


def _patch(snapshot: Snapshot, which: str, wanted: Json) -> Patch | None:
    """What carries the muted fields to a running cluster. Only by position, as JSON patch knows no names."""
    cluster = snapshot.cluster(which)
    if cluster is None:
        return None
    groups = {
        group["groupName"]: group for group in dig(wanted, "spec", "rayClusterConfig", "workerGroupSpecs", default=[])
    }
    operations: list[Json] = []
    for place, group in enumerate(dig(cluster, "spec", "workerGroupSpecs", default=[])):
        new = groups.get(group["groupName"])
        if new is None:
            continue
        at = f"/spec/workerGroupSpecs/{place}"
        found = [
            {"op": "add", "path": f"{at}/{key}", "value": new[key]}
            for key in ("minReplicas", "maxReplicas")
            if key in new and new[key] != group.get(key)
        ]
        if any(_tolerations(group, new, ())):
            value = dig(new, "template", "spec", "tolerations", default=[])
            found.append({"op": "add", "path": f"{at}/template/spec/tolerations", "value": value})
        if found:
            operations += [{"op": "test", "path": f"{at}/groupName", "value": group["groupName"]}, *found]
    return Patch(cluster["metadata"]["name"], tuple(operations)) if operations else None


def _note(difference: Difference, new_cluster: bool) -> str:
    if difference.path == ("spec", "serveConfigV2"):
        return "goes to the new cluster only" if new_cluster else "Serve applies it to the running replicas"
    return ""


def _plain(before: Object, after: Json) -> Iterator[Change]:
    name = f"{after['kind']}/{after['metadata']['name']}"
    for difference in differences(dict(before) | {"status": None}, after | {"status": None}):
        yield Change(name, difference, Effect.IN_PLACE)


def _creation(item: Json) -> Change:
    effect = Effect.CREATE if item["kind"] == "RayService" else Effect.IN_PLACE
    return Change(f"{item['kind']}/{item['metadata']['name']}", Difference((), None, item["kind"]), effect, "is made")


def _spec_and_labels(item: Object) -> Json:
    metadata = {key: dig(item, "metadata", key, default={}) for key in ("labels", "annotations")}
    return {"metadata": metadata, "spec": dig(item, "spec", default={})}


def _below_config(difference: Difference) -> Difference:
    return Difference(
        ("spec", "rayClusterConfig", *difference.path), _plainly(difference.before), _plainly(difference.after)
    )


def _plainly(value: Any) -> Any:
    plain: Any = value
    return plain if isinstance(value, str | int | float | bool | list | dict | None) else str(value)
