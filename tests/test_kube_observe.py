"""A snapshot of a service: its objects, Serve's report, the logs that explain, and what could not be read."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kuberay.api import kinds
from kuberay.api.client import Api
from kuberay.api.connection import connect
from kuberay.api.proxy import Dashboard
from kuberay.errors import NotFound, Unreachable
from kuberay.observing.observe import observe, observe_all
from kuberay.observing.trimming import referenced, worrying
from tests.fake_kubernetes import FakeKubernetes, fake_kubernetes
from tests.kube_fixtures import HASH, Fleet
from tests.kube_world import CLUSTER, REPORT, World


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def fake(world: World) -> Iterator[FakeKubernetes]:
    with fake_kubernetes() as server:
        server.answer = world
        yield server


@pytest.fixture
def api(fake: FakeKubernetes, tmp_path: Path) -> Api:
    return Api(connect(kubeconfig=fake.kubeconfig(tmp_path)), sleep=lambda _: None)


def test_everything_at_once(api: Api, world: World) -> None:
    seen = observe(api, "prod", "llm")
    assert seen.unreadable == ()
    assert seen.serve == {CLUSTER: REPORT}
    assert seen.logs == {
        f"{CLUSTER}-worker/ray-worker/previous": f"log of {CLUSTER}-worker, previous: true",
        f"{CLUSTER}/autoscaler": "Demands: {'GPU': 1.0}: 1+ pending",
        f"{CLUSTER}/r2/err": "err of a2",
        f"{CLUSTER}/r2/out": "out of a2",
    }
    assert [item["metadata"]["name"] for item in seen.pods(CLUSTER)] == [f"{CLUSTER}-head", f"{CLUSTER}-worker"]
    assert not any("managedFields" in item["metadata"] for item in seen.objects)
    lists = {what: count for (verb, what), count in api.calls.items() if verb == "list"}
    assert {what for what, count in lists.items() if count > 1} == {"events", "deployments.apps"}


def test_the_replica_that_failed_last_is_heard_though_another_one_starts(api: Api, world: World) -> None:
    """It is only in Serve's message, and what it wrote says why; the one that starts has said nothing yet."""
    actor = "7936964d91650095b8e7b63201000000"
    message = f"Retrying 1 more time(s). Error:\nray::ServeReplica:llm:LLM (pid=293, ip=10.0.0.1, actor_id={actor}, x)"
    deployment = {"status": "UPDATING", "message": message, "replicas": []}
    world.report = {"applications": {"llm": {"status": "DEPLOYING", "deployments": {"LLM": deployment}}}}
    logs = observe(api, "prod", "llm").logs
    assert logs[f"{CLUSTER}/{actor}/err"] == f"err of {actor}"
    deployment["status"] = "HEALTHY"
    assert f"{CLUSTER}/{actor}/err" not in observe(api, "prod", "llm").logs


def test_secrets_are_read_by_name_and_emptied(api: Api, world: World) -> None:
    seen = observe(api, "prod", "llm")
    assert [(item["metadata"]["name"], item["data"]) for item in seen.of("Secret")] == [
        ("ray-token", {"auth_token": ""})  # hf-secret is mentioned and missing
    ]
    assert "t0k3n" not in str(seen)
    assert world.secrets["ray-token"]["auth_token"] not in str(seen)
    assert "t0k3n" not in repr(Dashboard.of(api, seen.cluster("active") or {}))
    assert ("list", "secrets") not in api.calls


def test_what_cannot_be_read_is_noted(api: Api, world: World) -> None:
    world.refused = {"nodes", "resourcequotas", "secrets"}
    seen = observe(api, "prod", "llm")
    assert seen.service
    assert len(seen.pods(CLUSTER)) == 2
    noted = " | ".join(sorted(seen.unreadable))
    assert "nodes: You may not list" in noted
    assert "resourcequotas in namespace prod: You may not list" in noted
    assert f'Serve\'s report of RayCluster {CLUSTER}: You may not get "secrets"' in noted


def test_a_dashboard_that_wants_another_token(api: Api, world: World) -> None:
    world.secrets["ray-token"] = {"auth_token": base64.b64encode(b"old").decode()}
    seen = observe(api, "prod", "llm")
    assert seen.serve == {}
    assert "answered GET /api/serve/applications/ with HTTP 401" in seen.unreadable[0]
    assert "Its Ray token is not the one" in seen.unreadable[0]
    world.secrets["ray-token"] = {"other": ""}
    with pytest.raises(NotFound, match="no usable token under the key auth_token"):
        Dashboard.of(api, seen.cluster("active") or {})


def test_a_head_that_does_not_run_is_not_asked(api: Api, world: World) -> None:
    world.lists["pods"][0]["status"]["phase"] = "Pending"
    seen = observe(api, "prod", "llm")
    assert seen.unreadable == (f"Serve's report of RayCluster {CLUSTER}: its head pod is not running",)
    assert world.dashboard == []


def test_no_api_server_is_no_snapshot(tmp_path: Path) -> None:
    with fake_kubernetes() as server:
        path = server.kubeconfig(tmp_path)
    with pytest.raises(Unreachable):
        observe(Api(connect(kubeconfig=path), sleep=lambda _: None), "prod", "llm")


def test_all_services_at_once(api: Api, fake: FakeKubernetes) -> None:
    fake.answer = Fleet(services=3, pods=2)
    found = observe_all(api)
    assert [(one.name, len(one.objects)) for one in found] == [("llm-0", 4), ("llm-1", 4), ("llm-2", 4)]
    assert api.calls == {("list", one): 1 for one in ("rayservices.ray.io", "rayclusters.ray.io", "pods")}
    first = found[0].objects[0]
    assert first["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["maxReplicas"] == 4
    assert "env" not in str(first)
    assert found[0].pods(f"llm-0-{HASH}")[0]["status"]["phase"] == "Running"


def test_mentions_are_found_wherever_they_are() -> None:
    item = {
        "env": [
            {"valueFrom": {"secretKeyRef": {"name": "a", "key": "k"}}},
            {"valueFrom": {"configMapKeyRef": {"name": "m"}}},
        ],
        "envFrom": [{"secretRef": {"name": "b"}}, {"configMapRef": {"name": "n"}}],
        "volumes": [
            {"secret": {"secretName": "c"}},
            {"configMap": {"name": "o"}},
            {"projected": {"sources": [{"secret": {"name": "d"}}]}},
        ],
        "imagePullSecrets": [{"name": "e"}],
        "authOptions": {"mode": "token", "secretName": "f"},
    }
    assert sorted(referenced(item, "Secret")) == ["a", "b", "c", "d", "e", "f"]
    assert sorted(referenced(item, "ConfigMap")) == ["m", "n", "o"]


@pytest.mark.parametrize(
    ("container", "wanted"),
    [
        ({"ready": True, "state": {"running": {}}}, []),
        ({"ready": False, "state": {"waiting": {"reason": "ImagePullBackOff"}}}, []),
        ({"ready": False, "state": {"running": {}}}, [False]),
        ({"ready": True, "state": {"running": {}}, "lastState": {"terminated": {"exitCode": 1}}}, [True, False]),
        ({"ready": False, "state": {"waiting": {}}, "lastState": {"terminated": {"exitCode": 1}}}, [True]),
        ({"ready": False, "state": {"terminated": {"exitCode": 137}}}, [False]),
        ({"ready": False, "state": {"terminated": {"exitCode": 0}}}, []),
    ],
)
def test_which_logs_are_worth_reading(container: dict[str, Any], wanted: list[bool]) -> None:
    item = {"status": {"containerStatuses": [{"name": "c", **container}]}}
    assert list(worrying(item)) == [("c", previous) for previous in wanted]


def test_the_kinds_have_the_paths_the_api_server_knows() -> None:
    assert kinds.POD.path("ns", "p", "log") == "/api/v1/namespaces/ns/pods/p/log"
    assert kinds.RAYSERVICE.path() == "/apis/ray.io/v1/rayservices"
    assert kinds.NODE.path("ignored", "n") == "/api/v1/nodes/n"
