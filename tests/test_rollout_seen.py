"""What a rollout makes of the objects in a snapshot."""

from __future__ import annotations

from typing import Any

import pytest

from kuberay.names import INCREMENTAL, RELEASE
from kuberay.rollout.seen import NEVER_S, Apps, Pace, seen
from kuberay.snapshot import Snapshot
from serve_app.decision import Decision, Verb, config_map


def cluster(name: str, release: str, **more: Any) -> dict[str, Any]:
    about = {"name": name, "annotations": {RELEASE: release}, **more}
    return {"kind": "RayCluster", "metadata": about}


def pod(name: str, of: str, *conditions: dict[str, str], serve: str = "true") -> dict[str, Any]:
    labels = {"ray.io/cluster": of, "ray.io/serve": serve, "ray.io/node-type": "worker"}
    return {"kind": "Pod", "metadata": {"name": name, "labels": labels}, "status": {"conditions": list(conditions)}}


READY = {"type": "Ready", "status": "True"}
NO_NODE = {"type": "PodScheduled", "status": "False", "message": "Insufficient memory"}


def world(apps: dict[str, str], *more: dict[str, Any], generation: int = 2, observed: int = 2) -> Snapshot:
    service = {
        "kind": "RayService",
        "metadata": {"name": "llm", "generation": generation, "annotations": {RELEASE: "new"}},
        "spec": {"upgradeStrategy": {"type": "NewCluster"}},
        "status": {
            "observedGeneration": observed,
            "activeServiceStatus": {"rayClusterName": "blue"},
            "pendingServiceStatus": {
                "rayClusterName": "green",
                "applicationStatuses": {name: {"status": status, "message": "why"} for name, status in apps.items()},
            },
        },
    }
    there = (service, cluster("blue", "old"), cluster("green", "new"), *more)
    return Snapshot("", "", "", "llm", objects=there)


@pytest.mark.parametrize(
    ("apps", "state"),
    [
        ({}, Apps.NONE),
        ({"gate": "DEPLOYING"}, Apps.STARTING),
        ({"gate": "DEPLOYING", "llm": "DEPLOYING"}, Apps.STARTING),
        ({"gate": "DEPLOYING", "llm": "RUNNING"}, Apps.HELD),
        ({"gate": "RUNNING", "llm": "RUNNING"}, Apps.RUNNING),
        ({"llm": "RUNNING"}, Apps.RUNNING),
        ({"gate": "DEPLOY_FAILED", "llm": "RUNNING"}, Apps.FAILED),
        ({"gate": "DEPLOYING", "llm": "UNHEALTHY"}, Apps.FAILED),
    ],
)
def test_the_applications_of_the_cluster_that_waits(apps: dict[str, str], state: Apps) -> None:
    found = seen(world(apps))
    assert found.apps is state
    assert (found.active, found.pending, found.spec_release) == ("blue", "green", "new")
    assert ("why" in found.trouble) is (state is Apps.FAILED)


def test_a_pod_without_a_node_is_the_trouble_while_it_starts() -> None:
    starting = world({"gate": "DEPLOYING", "llm": "DEPLOYING"}, pod("w", "green", NO_NODE))
    assert seen(starting).trouble == "not scheduled: Insufficient memory"


def test_endpoints_clusters_that_leave_and_a_spec_that_was_not_seen() -> None:
    leaving = cluster("gone", "older", deletionTimestamp="2026-01-01T00:00:00Z")
    ends = pod("e", "blue", READY)
    ends["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    pods = [pod("b", "blue", READY), ends, pod("h", "green", READY, serve="false"), pod("g", "gone", READY)]
    found = seen(world({}, leaving, *pods, generation=3))
    assert found.ready == {"blue": 1, "gone": 1}
    assert (dict(found.alive), found.leaving) == ({"blue": "old", "green": "new"}, {"gone"})
    assert not found.observed and seen(world({})).observed


def test_how_traffic_moves_with_the_incremental_strategy() -> None:
    plain = seen(world({}))
    assert (plain.pace, plain.traffic, plain.surge, plain.nudged) == (None, 0, 100, {"blue", "green"})
    snapshot = world({"gate": "RUNNING", "llm": "RUNNING"})
    service: dict[str, Any] = dict(snapshot.objects[0])
    options = {"stepSizePercent": 89, "intervalSeconds": NEVER_S, "maxSurgePercent": 90}
    service["spec"] = {"upgradeStrategy": {"type": INCREMENTAL, "clusterUpgradeOptions": options}}
    status = service["status"]
    status["activeServiceStatus"] |= {"trafficRoutedPercent": 90, "lastTrafficMigratedTime": "2026-01-01T00:00:00Z"}
    status["pendingServiceStatus"] |= {"trafficRoutedPercent": 10}
    found = seen(snapshot)
    assert found.pace is None, "the strategy is another one, whatever the status says"
    found = seen(Snapshot("", "", "", "llm", objects=(service, *snapshot.objects[1:])))
    assert (found.pace, found.surge, found.traffic, found.nudged) == (Pace(89, NEVER_S), 90, 10, {"green"})
    assert found.pace and found.pace.ours and found.paced(100) == Pace(90, NEVER_S)


def test_decisions_are_those_that_can_be_read() -> None:
    data = {"new": Decision(Verb.APPROVE, "ada").to_text(), "old": "{"}
    held = {"kind": "ConfigMap", "metadata": {"name": config_map("llm")}, "data": data}
    assert seen(world({}, held)).decisions == {"new": Decision(Verb.APPROVE, "ada")}
