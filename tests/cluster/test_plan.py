"""The planner, by case files: ``cases/*.yaml``. A case is what changed since everything was applied, and its plan.

Keys: ``config`` (merged into the service file's cluster section), ``empty`` (nothing exists), ``edit`` (resource ->
field path -> value; ``absent``, ``ours``, ``status`` and ``note`` are about the resource itself), ``extra`` (more
resources with our marks), ``replace``, ``expect`` (one line an action) and ``notes``.
"""

from __future__ import annotations

import copy
from dataclasses import replace as with_
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.config import ClusterConfig
from cluster.model import Action, Found, Key, Observed, Status, Stock, Verb, Wanted
from cluster.plan.plan import plan
from cluster.wanted.resources import wanted

CASES = sorted(Path(__file__).with_name("cases").glob("*.yaml"))
BASE: dict[str, Any] = {
    "project": "my-project",
    "region": "us-central1",
    "pools": {"l4": {"machine": "g2-standard-8", "max_nodes": 4}},
}
STOCK = Stock(zones={"nvidia-l4": ("us-central1-a", "us-central1-b")}, channel_version="1.35.2-gke.1842000")


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path: Path) -> None:
    case = yaml.safe_load(path.read_text(encoding="utf-8"))
    applied = everything_of(wanted(ClusterConfig.model_validate(BASE), stock=STOCK))
    observed = Observed({} if case.get("empty") else edited(applied, case.get("edit") or {}, case.get("extra") or []))
    items = wanted(ClusterConfig.model_validate(merged(BASE, case.get("config") or {})), stock=STOCK)
    found = plan(items, observed, replace=case.get("replace") or ())
    assert [line_of(action) for action in found.actions] == case["expect"]
    assert list(found.notes) == (case.get("notes") or [])


def test_a_plan_after_what_it_planned_is_empty() -> None:
    """Law 1, for everything that can be asked for at once."""
    config = ClusterConfig.model_validate(
        {
            **BASE,
            "ray_operator": "addon",
            "budget_usd": 100,
            "alerts": {"email": "ops@example.com"},
            "deletion_protection": True,
            "pools": {
                "l4": {"machine": "g2-standard-8", "spot": "beside", "local_ssds": 1},
                "h200": {"machine": "a3-ultragpu-8g", "zones": ["us-central1-b"], "compact": True},
            },
        }
    )
    items = wanted(config, stock=STOCK, token=True)
    created = plan(items, Observed()).actions
    assert {action.verb for action in created} == {Verb.CREATE}
    # The system pool comes with the cluster.
    made = {*(action.key for action in created), Key("node-pool", "system")}
    assert made == {item.key for item in items}
    assert plan(items, Observed(everything_of(items))).empty


def test_actions_come_after_those_they_need() -> None:
    actions = plan(wanted(ClusterConfig.model_validate(BASE), stock=STOCK), Observed()).actions
    place = {action.key: number for number, action in enumerate(actions)}
    assert all(place[key] < place[action.key] for action in actions for key in action.after)
    assert all(Key("apis", "my-project") in action.after for action in actions[1:])


def test_replacing_the_cluster_makes_its_pools_anew() -> None:
    items = wanted(ClusterConfig.model_validate(BASE), stock=STOCK)
    there = everything_of(items)
    cluster = Key("cluster", "switchyard")
    there[cluster] = with_(there[cluster], spec={**there[cluster].spec, "subnetwork": "other"})
    actions = plan(items, Observed(there), replace=["cluster/switchyard"]).actions
    assert [f"{action}" for action in actions] == ["replace cluster/switchyard", "create node-pool/l4"]
    assert actions[1].after == (cluster,)


def line_of(action: Action) -> str:
    """``change node-pool/l4: autoscaling.totalMaxNodeCount 2 -> 4``."""
    changes = ", ".join(f"{change.path} {change.have} -> {change.want}" for change in action.changes)
    texts = [text for text in (changes, action.reason) if text]
    return f"{action}: {'; '.join(texts)}" if texts else str(action)


def everything_of(items: list[Wanted]) -> dict[Key, Found]:
    """The project as it is when everything was made, with what Google adds."""
    found = {item.key: Found(item.key, copy.deepcopy(dict(item.spec))) for item in items}
    for key, item in found.items():
        spec: Any = item.spec
        spec["selfLink"] = f"https://example.invalid/{key}"
        if key.kind == "node-pool":
            spec["config"]["metadata"] = {"disable-legacy-endpoints": "true"}
            spec["initialNodeCount"] = 3
    return found


def edited(applied: dict[Key, Found], edits: dict[str, dict[str, Any]], extra: list[str]) -> dict[Key, Found]:
    for name, changes in edits.items():
        key = Key(*name.split("/", 1))
        found = applied[key]
        for path, value in changes.items():
            if path == "absent":
                del applied[key]
                break
            if path in ("ours", "note"):
                found = with_(found, **{path: value})
            elif path == "status":
                found = with_(found, status=Status(value))
            else:
                _set(found.spec, path.split("."), value)
            applied[key] = found
    for name in extra:
        key = Key(*name.split("/", 1))
        applied[key] = Found(key, {})
    return applied


def merged(base: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in more.items():
        result[key] = merged(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
    return result


def _set(spec: Any, path: list[str], value: Any) -> None:
    *above, last = path
    for part in above:
        spec = spec[int(part)] if isinstance(spec, list) else spec.setdefault(part, {})
    if value is None:
        spec.pop(last, None)
    else:
        spec[last] = value
