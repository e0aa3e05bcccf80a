"""A plan as text for people, and as data for machines. Pure: returns, and never prints."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from typing import Any

from kuberay.fields import Difference, differences
from kuberay.manifests.rayservice import Json
from kuberay.names import release_name
from kuberay.plan.capacity import Switch
from kuberay.plan.diff import Change, Effect
from kuberay.plan.outlook import Outlook
from kuberay.release import CONFIG_KEY, parse
from kuberay.snapshot import dig, release_of

HEADLINES = {
    Effect.NOTHING: "no changes: the cluster is as the file says",
    Effect.IN_PLACE: "in place: the running cluster is kept, no replica restarts",
    Effect.CARRIED: "in place: the running cluster is kept, no replica restarts",
    Effect.STRANDED: "part of it REACHES NOBODY",
    Effect.CREATE: "first install",
    Effect.NEW_CLUSTER: "NEW CLUSTER: a second one is brought up, traffic switches, the old one is deleted later",
}
MARKS = {
    Effect.NEW_CLUSTER: "!",
    Effect.STRANDED: "?",
    Effect.CREATE: "+",
    Effect.CARRIED: "~",
    Effect.IN_PLACE: "~",
}


def lines(outlook: Outlook) -> list[str]:
    """What `switchyard diff` shows, line by line."""
    snapshot, plan = outlook.snapshot, outlook.plan
    found = [f"{snapshot.name} in {snapshot.namespace} ({snapshot.context}): {HEADLINES[plan.effect]}"]
    old, new = releases(outlook)
    if old != new:
        found += ["", f"  release {old or '(none)'} -> {new}"]
        found += [f"    {text}" for text in release_changes(outlook)]
    shown = [change for change in plan.changes if not _is_release_noise(change, old, new)]
    if shown:
        found.append("")
    for change in shown:
        found += _change(change)
    for patch in plan.patches:
        keys = ", ".join(one["path"].rsplit("/", 1)[-1] for one in patch.operations if one["op"] != "test")
        found.append(f"  ~ RayCluster/{patch.cluster}: patched ({keys}), since KubeRay does not pass it on")
    if plan.effect in (Effect.NEW_CLUSTER, Effect.CREATE):
        found += ["", *(f"  {line}" for line in _takes(outlook.takes))]
    found += [f"  note: {note}" for note in outlook.notes]
    for problem in outlook.problems:
        found += ["", f"  {'REFUSED' if problem.refuses else 'WARNING'}: {problem.what}", f"  Next: {problem.next}"]
    for trap in plan.traps:
        found += ["", f"  REFUSED ({trap.id}): {trap.why}", f"  Instead: {trap.instead}"]
    return found


def as_json(outlook: Outlook) -> Json:
    """The same as data."""
    snapshot, plan = outlook.snapshot, outlook.plan
    old, new = releases(outlook)
    return {
        "service": snapshot.name,
        "namespace": snapshot.namespace,
        "effect": plan.effect.value,
        "refused": bool(outlook.refusals),
        "release": {"before": old, "after": new},
        "changes": [
            {
                "object": change.object,
                "path": change.difference.dotted,
                "before": change.difference.before,
                "after": change.difference.after,
                "effect": change.effect.value,
                "note": change.note,
            }
            for change in plan.changes
        ],
        "patches": [{"cluster": patch.cluster, "operations": list(patch.operations)} for patch in plan.patches],
        "notes": list(outlook.notes),
        "problems": [vars(problem) for problem in outlook.problems],
        "traps": [vars(trap) for trap in plan.traps],
        "switch": vars(outlook.takes) | {"kept_gpu_hours": outlook.takes.kept_gpu_hours},
    }


def releases(outlook: Outlook) -> tuple[str, str]:
    """The release that the RayService asks for now (empty: none), and the one that is wanted."""
    new = next((item for item in outlook.wanted if item["kind"] == "RayService"), dict[str, Any]())
    return release_of(outlook.snapshot.service), release_of(new)


def release_changes(outlook: Outlook) -> Iterator[str]:
    """What differs in the two releases' own configuration: ``model.id: a -> b``."""
    snapshot, (old, _) = outlook.snapshot, releases(outlook)
    before = snapshot.named("ConfigMap", release_name(snapshot.name, old)) if old else None
    after = next(item for item in outlook.wanted if item["kind"] == "ConfigMap")
    if before is None:
        return
    for one in differences(parse(dig(before, "data", CONFIG_KEY)), parse(after["data"][CONFIG_KEY])):
        yield f"{one.dotted}: {shown(one.before)} -> {shown(one.after)}"


def _is_release_noise(change: Change, old: str, new: str) -> bool:
    """The release's name in labels, environment and volumes: one line says it for all of them."""
    before, after = str(change.difference.before), str(change.difference.after)
    return bool(old) and old != new and before.replace(old, new) == after and old in before


def _change(change: Change) -> Iterator[str]:
    difference, mark = change.difference, MARKS.get(change.effect, " ")
    effect = change.effect.value + (f": {change.note}" if change.note else "")
    if change.effect is Effect.IN_PLACE and change.note == "is made":
        yield f"  + {change.object}"
        return
    yield from field(mark, change.object, difference, f"  ({effect})")


def field(mark: str, thing: str, difference: Difference, note: str = "") -> Iterator[str]:
    """One field's difference: ``  ! RayService/llm spec.x: 1 -> 2  (NEW CLUSTER)``; long texts line by line."""
    where = f"{thing} {difference.dotted}".rstrip()
    if isinstance(difference.before, str) and isinstance(difference.after, str) and "\n" in difference.after:
        yield f"  {mark} {where}{note}"
        sides = (difference.before.splitlines(), difference.after.splitlines())
        for text in list(difflib.unified_diff(*sides, lineterm="", n=0))[2:]:
            if not text.startswith("@@"):
                yield f"      {text}"
        return
    yield f"  {mark} {where}: {shown(difference.before)} -> {shown(difference.after)}{note}"


def shown(value: Any, most: int = 70) -> str:
    """A value in a line."""
    if value is None:
        return "(none)"
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    text = text.replace("\n", " ")
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _takes(takes: Switch) -> Iterator[str]:
    parts = [f"GPUs: {takes.gpus_now} in use, {takes.gpus_new} more to begin with, at most {takes.gpus_most} in all."]
    if takes.minutes is not None:
        parts.append(f"The cluster that runs now took {takes.minutes:.1f} min to serve.")
    if takes.dollars is not None:
        parts.append(f"About ${takes.dollars:.2f} for the switch ({takes.prices}).")
    yield " ".join(parts)
    if takes.kept_s:
        what = "as a warm way back" if takes.warm else "for its streams"
        yield (
            f"After the switch the old cluster is kept for {takes.kept_s / 60:.3g} min {what} "
            f"(kubernetes.upgrade.keep_old_s): {takes.kept_gpu_hours:.2g} GPU hours."
        )
