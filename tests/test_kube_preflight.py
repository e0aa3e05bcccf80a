"""What would keep a service from starting: the certain refuses, what may turn out well warns, the rest is silent."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from kuberay.look.gates import incremental_upgrade
from kuberay.plan.preflight import Seen, preflight, references
from kuberay.plan.room import Problem, requests
from kuberay.snapshot import Snapshot
from tests.services import rendered, service

Json = dict[str, Any]
IMAGE = "registry.test/switchyard:1.0"
USED = {"n1": {"nvidia.com/gpu": Decimal(1)}}
L4 = {"cloud.google.com/gke-accelerator": "nvidia-l4"}


def snapshot(*objects: Json) -> Snapshot:
    return Snapshot("2026-11-22T12:00:00Z", "test", "default", "llm", objects)


def node(name: str = "n1", gpus: int = 1, images: list[str] | None = None, labels: Json | None = None) -> Json:
    status = {"allocatable": {"nvidia.com/gpu": str(gpus)}, "images": [{"names": images}] if images else []}
    return {"kind": "Node", "metadata": {"name": name, "labels": L4 if labels is None else labels}, "status": status}


def found(*objects: Json, change: Json | None = None, seen: Seen | None = None, new_pods: bool = True) -> list[Problem]:
    of = service(change)
    return preflight(of, snapshot(*objects), rendered(of, "RayService"), seen or Seen(), new_pods=new_pods)


def whats(problems: list[Problem]) -> list[str]:
    return [one.what for one in problems]


def test_nothing_seen_is_nothing_said() -> None:
    assert found() == []


def test_room_for_the_gpus() -> None:
    assert found(node()) == []
    [problem] = found(node(), seen=Seen(used=USED))
    assert problem.refuses
    assert "0 fit" in problem.what
    [problem] = found(node(), seen=Seen(used=USED, grows=True))
    assert not problem.refuses, "an autoscaler may add nodes"
    [problem] = found(node(labels={}))
    assert "there is no such node" in problem.what
    assert found(node(), seen=Seen(used=USED), new_pods=False) == [], "a change in place needs no room"


def test_a_retired_cluster_makes_room_when_it_goes() -> None:
    cluster = {"kind": "RayCluster", "metadata": {"name": "gemma-old"}}
    [problem] = found(node(), cluster, seen=Seen(used=USED))
    assert "RayCluster gemma-old has retired" in problem.next


def test_more_gpus_than_any_node_has() -> None:
    [problem] = found(node(gpus=1), node("n2", gpus=2), change={"engine": {"tensor_parallel_size": 4}})
    assert "no node has more than 2" in problem.what


def sized(name: str, cpu: str, memory: str, gpus: int = 1) -> Json:
    made = node(name, gpus)
    made["status"]["allocatable"] |= {"cpu": cpu, "memory": memory}
    return made


SMALL = {"kubernetes": {"head": {"cpu": "2", "memory": "8Gi"}}, "scaling": {"min_replicas": 1}}


def asked(kind: str, cluster: Json) -> Decimal:
    """What the head and one worker ask for in all."""
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return sum((requests([one["template"]["spec"]])[kind] for one in groups), Decimal(0))


def test_room_for_cpu_and_memory_beside_what_runs() -> None:
    cluster = rendered(service(SMALL), "RayService")["spec"]["rayClusterConfig"]
    cpu, memory = asked("cpu", cluster), asked("memory", cluster)
    exact = sized("n1", str(cpu), str(memory))
    assert found(exact, change=SMALL) == []
    for resource in ("cpu", "memory"):
        used = {"n1": {resource: Decimal("0.1")}}
        [problem] = found(exact, change=SMALL, seen=Seen(used=used))
        assert not problem.refuses, "who holds it may go"
        assert problem.what == (
            "The head needs a pod of 2 CPUs, 8 GiB; beside what runs there now, 0 fit (nodes: any)."
        )
        assert "waits until there is room" in problem.next
        [problem] = found(exact, change=SMALL, seen=Seen(used=used, grows=True))
        assert "autoscaler" in problem.next
    assert found(exact, sized("n2", "2", "8Gi", 0), change=SMALL, seen=Seen(used={"n1": {"cpu": Decimal(2)}})) == []


def test_more_memory_than_any_node_has() -> None:
    nodes = [sized("n1", "64", "256Gi"), sized("n2", "64", "4Gi", 0)]
    [problem] = found(*nodes, change={"kubernetes": {"head": {"cpu": "2", "memory": "300Gi"}}})
    assert problem.refuses
    assert problem.what.endswith("of 2 CPUs, 300 GiB, but no node has more than 256 GiB (nodes: any).")


def test_a_cordoned_node_has_no_room() -> None:
    cordoned = node()
    cordoned["spec"] = {"unschedulable": True}
    [problem] = found(cordoned, node("n2", gpus=0))
    assert problem.refuses


def test_a_quota() -> None:
    hard, used = {"requests.nvidia.com/gpu": "1"}, {"requests.nvidia.com/gpu": "1"}
    quota = {"kind": "ResourceQuota", "metadata": {"name": "q"}, "status": {"hard": hard, "used": used}}
    [problem] = found(quota)
    assert "ResourceQuota q allows 1 requests.nvidia.com/gpu; 1 are used" in problem.what
    quota["status"] = {"hard": {"requests.nvidia.com/gpu": "2"}, "used": used}
    assert found(quota) == []


def test_what_it_refers_to() -> None:
    of = {
        "image_pull_secrets": ["registry"],
        "api_keys": {"name": "keys", "key": "file"},
        "service_account": "reader",
        "model_cache_claim": "weights",
    }
    named = references(service({"kubernetes": of}))
    assert {kind for kind, _ in named} == {"Secret", "ServiceAccount", "PersistentVolumeClaim"}
    missing = found(change={"kubernetes": of}, seen=Seen(there=dict.fromkeys(named)))
    assert [one.refuses for one in missing] == [True, True, False, True, True]
    there = {one: {"data": {"file": "", "hf_api_token": ""}} for one in named}
    assert found(change={"kubernetes": of}, seen=Seen(there=there)) == []
    assert found(change={"kubernetes": of}) == [], "what may not be read may be there"
    [problem] = found(change={"kubernetes": of}, seen=Seen(there=there | {("Secret", "keys"): {"data": {"x": ""}}}))
    assert "The Secret keys has no key file." in problem.what


def pulling(reason: str, image: str = IMAGE) -> Json:
    waits = {"waiting": {"reason": reason, "message": "403 Forbidden token=abcdefghijkl"}}
    return {
        "kind": "Pod",
        "metadata": {"name": "p"},
        "status": {"containerStatuses": [{"image": image, "state": waits}]},
    }


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff", "InvalidImageName"])
def test_an_image_that_a_pod_could_not_pull(reason: str) -> None:
    [problem] = found(pulling(reason))
    assert not problem.refuses, "it may have been pushed since"
    assert "Pod p waits for the image" in problem.what
    assert "403 Forbidden" in problem.what
    assert "abcdefghijkl" not in problem.what


def test_other_pods_and_other_reasons_say_nothing_of_the_image() -> None:
    assert found(pulling("ImagePullBackOff", "other:1"), pulling("ContainerCreating")) == []


@pytest.mark.parametrize(
    ("image", "on_node", "known"),
    [
        (IMAGE, IMAGE, True),
        (IMAGE, "registry.test/switchyard:0.9", True),
        (IMAGE, f"registry.test/switchyard@sha256:{'0' * 64}", True),
        ("switchyard:e2e", "docker.io/library/switchyard:e2e", True),
        ("localhost:5000/switchyard:1", "localhost:5000/switchyard:0", True),
        (IMAGE, "registry.test/other:1.0", False),
        (IMAGE, "registry.test/not-switchyard:1.0", False),
    ],
)
def test_whether_nodes_have_pulled_from_there_before(image: str, on_node: str, known: bool) -> None:
    problems = found(node(images=[on_node]), change={"kubernetes": {"image": image}})
    assert (problems == []) is known
    assert all(not one.refuses and "--probe" in one.next for one in problems)


def operator(image: str, *arguments: str) -> Json:
    container = {"image": image, "command": ["/manager"], "args": list(arguments)}
    spec = {"template": {"spec": {"containers": [{"image": "sidecar:1.9"}, container]}}}
    return {"kind": "Deployment", "metadata": {"name": "kuberay-operator"}, "spec": spec}


def made_by(version: str) -> Json:
    annotations = {"ray.io/kuberay-version": version}
    return {"kind": "RayCluster", "metadata": {"name": "c", "annotations": annotations}}


GATE = "RayServiceIncrementalUpgrade"
OPERATORS = [
    ([operator("quay.test/kuberay/operator:v1.6.1")], False),
    ([operator("quay.test/kuberay/operator:v1.7.0")], True),
    ([operator("quay.test/kuberay/operator:1.10.2")], True),
    ([operator("quay.test/kuberay/operator:v1.6.1", f"--feature-gates=A=true,{GATE}=true")], True),
    ([operator("quay.test/kuberay/operator:v1.7.0", "--feature-gates", f"{GATE}=false")], False),
    ([operator("kuberay-operator:local")], None),
    ([operator("kuberay-operator:local"), made_by("v1.6.1")], False),
    ([operator("something:1.6.1")], None),
    ([], None),
]


@pytest.mark.parametrize(("objects", "expected"), OPERATORS)
def test_whether_the_operator_knows_the_incremental_strategy(objects: list[Json], expected: bool | None) -> None:
    assert incremental_upgrade(snapshot(*objects)) is expected
    upgrade = {"strategy": "NewClusterWithIncrementalUpgrade", "gateway_class": "gke"}
    problems = found(*objects, change={"kubernetes": {"upgrade": upgrade}}, new_pods=False)
    assert any("feature gate" in one for one in whats(problems)) is (expected is False)
    assert all(one.refuses for one in problems)
    assert found(*objects, new_pods=False) == [], "with NewCluster it does not matter"
