"""The incremental strategy's way of traffic: GKE's policies, what they are made from, the class that must be there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kuberay.actions.deploy import attach
from kuberay.api.client import Api
from kuberay.api.connection import connect
from kuberay.errors import Refused
from kuberay.look.status import status
from kuberay.manifests.gateway import policies
from kuberay.names import INCREMENTAL, RELEASE
from kuberay.plan.preflight import Seen, preflight
from kuberay.rollout.patches import paced
from kuberay.rollout.proof.load import to_service
from kuberay.rollout.seen import HELD, Pace
from kuberay.snapshot import Snapshot
from tests.fake_kubernetes import FakeKubernetes
from tests.kubernetes_memory import Memory
from tests.services import rendered, service

CLASS = "gke-l7-regional-external-managed"
UPGRADE = {"kubernetes": {"upgrade": {"strategy": INCREMENTAL, "gateway_class": CLASS}}}
RAY, GATEWAYS = "/apis/ray.io/v1/namespaces/prod", "/apis/gateway.networking.k8s.io/v1/namespaces/prod"
GKE = "/apis/networking.gke.io/v1/namespaces/prod"


@pytest.fixture
def world() -> Iterator[tuple[FakeKubernetes, Memory]]:
    memory = Memory()
    with memory.served() as server:
        yield server, memory


def put(memory: Memory, path: str, **item: Any) -> None:
    about = {"name": path.rpartition("/")[2], "resourceVersion": "1", **item.pop("metadata", {})}
    memory.objects[path] = {"metadata": about, **item}


def a_service(memory: Memory, gateway_class: str = CLASS, strategy: str = INCREMENTAL) -> None:
    options = {"gatewayClassName": gateway_class, "stepSizePercent": 10, "intervalSeconds": 60}
    put(
        memory,
        f"{RAY}/rayservices/llm",
        spec={"upgradeStrategy": {"type": strategy, "clusterUpgradeOptions": options}},
    )
    put(memory, f"{RAY}/rayclusters/llm-x", metadata={"uid": "u-1", "annotations": {RELEASE: "new"}})
    put(
        memory,
        "/api/v1/namespaces/prod/configmaps/llm-release-new",
        data={"service.yaml": json.dumps({"serving": {"max_request_s": 90.5}})},
    )


def api_of(server: FakeKubernetes, folder: Path) -> Api:
    return Api(connect(kubeconfig=server.kubeconfig(folder)), lambda seconds: None)


def test_gke_asks_serve_for_its_health_and_lets_the_longest_answer_end() -> None:
    health, backend = policies("llm", "prod", "llm-x", "u-1", 90.5)
    for one in (health, backend):
        assert one["spec"]["targetRef"] == {"group": "", "kind": "Service", "name": "llm-x-serve-svc"}
        assert one["metadata"]["ownerReferences"][0]["uid"] == "u-1", "it goes with its cluster"
    check = health["spec"]["default"]["config"]["httpHealthCheck"]
    assert check == {"portSpecification": "USE_SERVING_PORT", "requestPath": "/-/healthz"}
    assert backend["spec"]["default"] == {"timeoutSec": 91, "connectionDraining": {"drainingTimeoutSec": 91}}
    [_, long] = policies("llm", "prod", "llm-x", "u-1", 7200)
    assert long["spec"]["default"] == {"timeoutSec": 7201, "connectionDraining": {"drainingTimeoutSec": 3600}}


def test_they_are_made_for_the_cluster_that_is_to_get_traffic(
    world: tuple[FakeKubernetes, Memory], tmp_path: Path
) -> None:
    server, memory = world
    a_service(memory)
    api = api_of(server, tmp_path)
    made = ["HealthCheckPolicy/llm-x-serve-svc", "GCPBackendPolicy/llm-x-serve-svc"]
    for _ in range(2):  # again changes nothing
        put(memory, f"{GKE}/healthcheckpolicies/llm-x-serve-svc")
        put(memory, f"{GKE}/gcpbackendpolicies/llm-x-serve-svc")
        assert attach(api, "prod", "llm", "llm-x") == made
    kept = memory.objects[f"{GKE}/gcpbackendpolicies/llm-x-serve-svc"]
    assert kept["spec"]["default"]["timeoutSec"] == 91


@pytest.mark.parametrize(("gateway_class", "strategy"), [("traefik", INCREMENTAL), (CLASS, "NewCluster")])
def test_elsewhere_none_are_made(
    world: tuple[FakeKubernetes, Memory], tmp_path: Path, gateway_class: str, strategy: str
) -> None:
    server, memory = world
    a_service(memory, gateway_class, strategy)
    assert attach(api_of(server, tmp_path), "prod", "llm", "llm-x") == []
    assert not [path for path in memory.objects if path.startswith(GKE)]


def test_a_load_takes_the_way_of_the_traffic(world: tuple[FakeKubernetes, Memory], tmp_path: Path) -> None:
    server, memory = world
    a_service(memory, strategy="NewCluster")
    api = api_of(server, tmp_path)
    assert to_service(api, "prod", "llm").text == "through the API server to Service/llm-serve-svc"
    a_service(memory)
    put(memory, f"{GATEWAYS}/gateways/llm-gateway", status={})
    with pytest.raises(Refused, match=r"has no address.*--load-url"):
        to_service(api, "prod", "llm")
    put(memory, f"{GATEWAYS}/gateways/llm-gateway", status={"addresses": [{"value": "10.1.2.3"}]})
    assert to_service(api, "prod", "llm").url == "http://10.1.2.3"
    labels = {"gateway.networking.k8s.io/gateway-name": "llm-gateway"}
    put(memory, "/api/v1/namespaces/prod/services/llm-gateway-istio", metadata={"labels": labels})
    route = to_service(api, "prod", "llm")
    assert route.url.endswith("/namespaces/prod/services/llm-gateway-istio%3A80/proxy")


def test_a_gateway_class_that_is_not_there_is_told_before_anything_is_applied() -> None:
    wanted = rendered(service(UPGRADE), "RayService")
    for there, problems in (({("GatewayClass", CLASS): None}, 1), ({("GatewayClass", CLASS): {}}, 0), ({}, 0)):
        found = preflight(service(UPGRADE), Snapshot("", "", "", "llm"), wanted, Seen(there), new_pods=False)
        assert len([one for one in found if "GatewayClass" in one.what and one.refuses]) == problems


def test_a_rollouts_pace_takes_the_place_of_the_files_and_nothing_else() -> None:
    own = rendered(service(UPGRADE), "RayService")["spec"]["upgradeStrategy"]
    held = paced(own, HELD)
    assert held["clusterUpgradeOptions"] == own["clusterUpgradeOptions"] | {
        "stepSizePercent": 0,
        "intervalSeconds": HELD.interval_s,
    }
    small = {**own, "clusterUpgradeOptions": own["clusterUpgradeOptions"] | {"maxSurgePercent": 25}}
    assert paced(small, Pace(100, 1))["clusterUpgradeOptions"]["stepSizePercent"] == 25, "more is not allowed"
    assert paced(own, None) == own and paced({"type": "NewCluster"}, HELD) == {"type": "NewCluster"}


def test_status_says_who_has_how_much_of_the_traffic_and_where_it_goes() -> None:
    def cluster(name: str) -> dict[str, Any]:
        return {"kind": "RayCluster", "metadata": {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z"}}

    share = {"blue": 90, "green": 10}
    service = {
        "kind": "RayService",
        "metadata": {"name": "llm", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"upgradeStrategy": {"type": INCREMENTAL, "clusterUpgradeOptions": {"gatewayClassName": "c"}}},
        "status": {
            f"{which}ServiceStatus": {"rayClusterName": name, "trafficRoutedPercent": share[name]}
            for which, name in (("active", "blue"), ("pending", "green"))
        }
        | {"conditions": [{"type": "Ready", "status": "True"}]},
    }
    gateway = {
        "kind": "Gateway",
        "metadata": {"name": "llm-gateway"},
        "status": {"addresses": [{"value": "10.1.2.3"}]},
    }
    of_blue = {
        "kind": "Service",
        "metadata": {"name": "blue-serve-svc"},
        "spec": {"selector": {"ray.io/cluster": "blue"}},
    }
    seen = Snapshot("", "", "prod", "llm", objects=(service, cluster("blue"), cluster("green"), gateway, of_blue))
    found = status(seen, datetime(2026, 1, 1, 1, tzinfo=UTC))
    assert {one.name: one.traffic for one in found.clusters} == share
    assert "10 % of the traffic" in found.why and found.addresses == ("http://10.1.2.3",)
    assert (found.traffic.service, found.traffic.role, found.warnings) == ("blue-serve-svc", "active", ())
