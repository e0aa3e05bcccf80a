"""What ``--explain`` says: gcloud commands that come to what the API is sent, or a comment on what is missing."""

from __future__ import annotations

import json
import shlex

import pytest

from cluster.config import ClusterConfig
from cluster.model import Action, Change, Found, Key, Stock, Verb, Wanted
from cluster.plan.explain import explain
from cluster.wanted.kinds import KINDS, differences
from cluster.wanted.resources import wanted
from tests.cluster.conftest import SMALL

CONFIG = ClusterConfig.model_validate(
    {
        **SMALL.model_dump(),
        "ray_operator": "addon",
        "alerts": {"email": "a@example.com"},
        "budget_usd": 500,
        "maintenance": {"days": ["sat", "sun"], "start": "02:00", "hours": 6},
        "pools": {"l4": {"machine": "g2-standard-8", "max_nodes": 4, "spot": "beside"}},
    }
)
STOCK = Stock({"nvidia-l4": (f"{CONFIG.region}-a",)}, channel_version="1.35.1-gke.1200000")
ITEMS = {item.key: item for item in wanted(CONFIG, stock=STOCK, token=True)}


def one(kind: str) -> Wanted:
    return next(item for key, item in ITEMS.items() if key.kind == kind)


def made(kind: str) -> list[str]:
    return explain(CONFIG, Action(Verb.CREATE, one(kind).key, one(kind).spec))


def changed(item: Wanted, *changes: Change) -> list[str]:
    """Some changes of it; all that may be, where none is given."""
    found = Found(item.key, {}, facts={"name": "its-name"})
    possible = [change for change in differences(item.key.kind, item.spec, {}) if may_change(item, change)]
    return explain(CONFIG, Action(Verb.UPDATE, item.key, item.spec, changes=changes or tuple(possible), found=found))


def may_change(item: Wanted, change: Change) -> bool:
    return KINDS[item.key.kind].may_change(change.path)


def test_a_cluster_keeps_the_addons_that_are_on_by_default() -> None:
    (create,) = [line for line in made("cluster") if "clusters create" in line]
    (addons,) = [word.split("=", 1)[1] for word in shlex.split(create) if word.startswith("--addons=")]
    assert set(addons.split(",")) == {
        "HttpLoadBalancing",
        "HorizontalPodAutoscaling",
        "GcePersistentDiskCsiDriver",
        "GcsFuseCsiDriver",
        "RayOperator",
    }


def test_a_maintenance_window_is_three_flags() -> None:
    flags = [
        "--maintenance-window-start=2026-01-01T02:00:00Z",
        "--maintenance-window-end=2026-01-01T08:00:00Z",
        "--maintenance-window-recurrence=FREQ=WEEKLY;BYDAY=SA,SU",
    ]
    (create,) = [line for line in made("cluster") if "clusters create" in line]
    assert set(flags) <= set(shlex.split(create))
    start = Change("maintenancePolicy.window.recurringWindow.window.startTime", None, "2026-01-01T02:00:00Z")
    (update,) = changed(one("cluster"), start)
    assert shlex.split(update)[-3:] == flags


def test_a_cluster_ends_up_with_the_system_pool_and_no_other() -> None:
    commands = [shlex.split(line)[2:5] for line in made("cluster") if not line.startswith("#")]
    assert commands == [
        ["clusters", "create", CONFIG.name],
        ["node-pools", "create", "system"],
        ["node-pools", "delete", "default-pool"],
    ]
    assert any("no flag for the cluster's description" in line for line in made("cluster"))
    # So the next plan must not ask for it.
    cluster = one("cluster")
    have = {name: value for name, value in cluster.spec.items() if name != "description"}
    assert differences("cluster", cluster.spec, have) == ()


def test_the_dashboard_has_the_name_that_is_looked_for() -> None:
    (create,) = made("dashboard")
    body = json.loads(next(word for word in shlex.split(create) if word.startswith("--config=")).split("=", 1)[1])
    assert body["name"] == f"projects/{CONFIG.project}/dashboards/switchyard-{CONFIG.name}"
    assert body["mosaicLayout"] == one("dashboard").spec["mosaicLayout"]


def test_an_alert_tells_the_channel() -> None:
    (create,) = made("alert")
    assert create.endswith(f'--project={CONFIG.project})"') and "--notification-channels=" in create


def test_files_are_piped_or_written() -> None:
    *_, rules = made("bucket")
    body, command = shlex.split(rules.split(" > ")[0])[2], rules.split(" && ")[1]
    assert json.loads(body) == one("bucket").spec["lifecycle"]
    assert command.endswith("--lifecycle-file=lifecycle.json")
    *_, policies = made("repository")
    body, command = shlex.split(policies.split(" | ")[0])[2], policies.split(" | ")[1]
    assert [(policy["name"], policy["action"]) for policy in json.loads(body)] == [
        ("delete-untagged", {"type": "Delete"}),
        ("keep-recent", {"type": "Keep"}),
    ]
    assert "set-cleanup-policies" in command and "--policy=-" in command


@pytest.mark.parametrize("key", [key for key in ITEMS if key.kind not in ("apis", "grant")], ids=str)
def test_every_field_that_may_change_has_a_flag_or_a_comment(key: Key) -> None:
    item = ITEMS[key]
    for change in differences(key.kind, item.spec, {}):
        if may_change(item, change):
            (text,) = changed(item, change)
            said = text.startswith(f"# {key}: gcloud has no flag for {change.path}: ")
            assert said == ((key.kind, change.path.split(".")[-1]) in CANNOT)


CANNOT = {
    ("router", "description"),
    ("node-pool", "shutdownGracePeriodSeconds"),
    ("node-pool", "shutdownGracePeriodCriticalPodsSeconds"),
}


def test_changes_of_one_resource_go_in_one_command_where_google_takes_them_so() -> None:
    firewall = changed(one("firewall"))
    assert len(firewall) == 1 and "--source-ranges=" in firewall[0] and "--target-tags=" in firewall[0]
    pool = changed(ITEMS[Key("node-pool", "l4")])
    assert len([line for line in pool if "--enable-autoscaling" in line]) == 1
    assert all("node-pools update l4" in line for line in pool)


def test_a_label_that_must_go() -> None:
    change = Change("resourceLabels.switchyard-protected", "true", None)
    (text,) = changed(one("cluster"), change)
    assert text.endswith("--remove-labels=switchyard-protected")
