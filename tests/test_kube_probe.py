"""The probe's pod, what is read off it, and that it goes however it ends."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kuberay.actions.probe import Outcome, outcome, probe_pod, undecided
from kuberay.actions.probing import probe
from kuberay.api.client import Api
from kuberay.api.connection import connect
from kuberay.errors import Forbidden
from kuberay.manifests.manifest import objects
from kuberay.plan.capacity import Switch
from kuberay.plan.diff import Effect, Plan
from kuberay.plan.outlook import Outlook
from kuberay.snapshot import Snapshot
from tests.fake_kubernetes import FakeKubernetes, Reply, Request, fake_kubernetes, status
from tests.services import rendered, service

Json = dict[str, Any]
IMAGE = "registry.test/switchyard:1.0"


def pod(change: Json | None = None, revision: str | None = None) -> Json:
    of = service({"model": {"revision": revision}} if revision else {} | (change or {}))
    return probe_pod(of, rendered(of, "RayService"), 60)


def test_it_is_a_workers_pod_without_its_gpus() -> None:
    of = service({"kubernetes": {"service_account": "reader", "image_pull_secrets": ["registry"]}})
    spec = probe_pod(of, rendered(of, "RayService"), 60)["spec"]
    worker = rendered(of, "RayService")["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["template"]["spec"]
    for key in ("serviceAccountName", "imagePullSecrets", "nodeSelector", "tolerations", "securityContext"):
        assert spec[key] == worker[key], key
    [container] = spec["containers"]
    assert container["image"] == IMAGE
    assert container["imagePullPolicy"] == worker["containers"][0]["imagePullPolicy"]
    assert "HF_TOKEN" in [one["name"] for one in container["env"]]
    assert "nvidia.com/gpu" not in str(container["resources"])
    assert container["command"] == ["python", "-m", "models.readable", "owner/model"]
    assert spec["restartPolicy"] == "Never"
    assert spec["activeDeadlineSeconds"] == 120, "it ends, though nobody may be left to delete it"
    assert "volumes" not in spec, "the release's ConfigMap is not there yet"


def test_a_revision_is_asked_for() -> None:
    assert pod(revision="0" * 40)["spec"]["containers"][0]["command"][-2:] == ["--revision", "0" * 40]


def test_a_model_on_a_volume_is_looked_for_there() -> None:
    of = service({"model": {"id": "/models/one"}, "kubernetes": {"model_cache_claim": "weights"}})
    spec = probe_pod(of, rendered(of, "RayService"), 60)["spec"]
    assert spec["volumes"] == [{"name": "models", "persistentVolumeClaim": {"claimName": "weights"}}]
    assert spec["containers"][0]["volumeMounts"] == [{"name": "models", "mountPath": "/models"}]


def seen(phase: str = "Pending", conditions: list[Json] | None = None, **state: Json) -> Json:
    made = pod()
    made["status"] = {"phase": phase, "conditions": conditions or []}
    if state:
        made["status"]["containerStatuses"] = [{"name": "probe", "image": IMAGE, "state": state}]
    return made


def waiting(reason: str, message: str = "") -> Json:
    return seen(waiting={"reason": reason, "message": message})


NOT_FOUND = 'rpc error: failed to resolve reference "registry.test/switchyard:1.0": not found'
DENIED = "failed to authorize: failed to fetch oauth token: 403 Forbidden"


@pytest.mark.parametrize(
    ("last", "said", "refuses"),
    [
        (seen("Succeeded", terminated={"exitCode": 0, "message": "x is readable: 3 files"}), "x is readable", False),
        (seen("Failed", terminated={"exitCode": 1, "message": "403 from storage.googleapis.com: ..."}), "403", True),
        (seen("Failed", terminated={"exitCode": 1, "message": "Traceback:\n  x\nBad: y"}), "model: Bad: y", True),
        (seen("Failed", terminated={"exitCode": 137, "reason": "OOMKilled"}), "exit code 137: OOMKilled", True),
        (seen("Failed") | {"status": {"phase": "Failed", "message": "Evicted for disk"}}, "Evicted for disk", True),
        (waiting("ImagePullBackOff", NOT_FOUND), "(image-not-found)", True),
        (waiting("ImagePullBackOff", DENIED), "(image-unauthorized)", True),
        (waiting("InvalidImageName", "couldn't parse image"), "(image-name-invalid)", True),
        (waiting("CreateContainerConfigError", 'secret "x" not found'), 'secret "x" not found', True),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_how_it_ended(last: Json, said: str, refuses: bool) -> None:
    found = outcome(last)
    assert found is not None
    assert said in found.said
    assert (found.problem is not None) is refuses
    if found.problem:
        assert found.problem.refuses
        assert found.problem.next


@pytest.mark.parametrize("last", [seen(), waiting("ContainerCreating"), waiting("ErrImagePull", NOT_FOUND)])
def test_it_has_not_ended(last: Json) -> None:
    """Nor has it after one failed pull: the kubelet tries again."""
    assert outcome(last) is None


def test_what_is_not_known_refuses_nothing() -> None:
    unplaced = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}
    found = undecided(seen(conditions=[unplaced]), 60)
    assert "no node yet: 0/3 nodes are available" in found.said
    assert found.problem is not None
    assert not found.problem.refuses
    assert "nothing is known" in undecided({}, 60).said


@pytest.fixture
def fake() -> Iterator[FakeKubernetes]:
    with fake_kubernetes() as server:
        yield server


class Cluster:
    """Takes a pod, lets it go through states, and remembers what was made and deleted."""

    def __init__(self, states: list[Json], *, leftover: bool = False) -> None:
        self.states, self.leftover = states, leftover
        self.pods: list[str] = []
        self.made: list[str] = []
        self.deleted: list[str] = []

    def __call__(self, request: Request) -> Reply:
        kind = "serviceaccounts" if "serviceaccounts" in request.path else "pods"
        if request.method == "POST":
            if kind == "pods" and self.leftover:
                self.leftover = False
                return status(409, "AlreadyExists", "there is one")
            self.made.append(kind)
            return Reply(request.body)
        if request.method == "DELETE":
            self.deleted.append(kind)
            return Reply({"kind": "Status", "status": "Success"})
        if "watch" in request.query:
            if "events" in request.path or "pods" not in self.made:
                return Reply(lines=iter([]))
            versions = itertools.count(2)
            items = (self._object(one, next(versions)) for one in self.states)
            return Reply(lines=({"type": "MODIFIED", "object": one} for one in items))
        there = request.path.endswith("/pods") and "pods" in self.made
        items = [self._object(seen(), 1)] if there else []
        return Reply({"metadata": {"resourceVersion": "1"}, "items": items})

    @staticmethod
    def _object(item: Json, version: int) -> Json:
        return item | {"metadata": item["metadata"] | {"uid": "u", "resourceVersion": str(version)}}


def run(fake: FakeKubernetes, folder: Path, within: float = 20) -> tuple[Outcome, list[str]]:
    of = service()
    plan = Plan(Effect.CREATE, (), (), ())
    empty = Snapshot("2026-11-22T12:00:00Z", "fake", "default", "llm")
    outlook = Outlook(empty, tuple(objects(of)), plan, Switch(0, 0, 0, None, None), ())
    said: list[str] = []
    api = Api(connect(kubeconfig=fake.kubeconfig(folder)), sleep=lambda _: None)
    return probe(api, of, outlook, within, said.append), said


def test_it_is_waited_for_and_deleted(fake: FakeKubernetes, tmp_path: Path) -> None:
    done = seen("Succeeded", terminated={"exitCode": 0, "message": "fine"})
    fake.answer = cluster = Cluster([waiting("ContainerCreating"), done])
    found, said = run(fake, tmp_path)
    assert found.problem is None
    assert "the image starts, and fine" in said[0]
    assert cluster.made == ["serviceaccounts", "pods"]
    assert cluster.deleted == ["pods", "serviceaccounts"]


def test_an_earlier_probe_that_was_killed_is_in_nobodys_way(fake: FakeKubernetes, tmp_path: Path) -> None:
    done = seen("Succeeded", terminated={"exitCode": 0, "message": "fine"})
    fake.answer = cluster = Cluster([done], leftover=True)
    assert run(fake, tmp_path)[0].problem is None
    assert cluster.deleted == ["pods", "pods", "serviceaccounts"]


def test_it_is_deleted_when_time_is_over(fake: FakeKubernetes, tmp_path: Path) -> None:
    fake.answer = cluster = Cluster([waiting("ContainerCreating")])
    found, _ = run(fake, tmp_path, within=1)
    assert found.problem is not None
    assert not found.problem.refuses
    assert cluster.deleted == ["pods", "serviceaccounts"]


def test_without_the_right_to_make_pods_that_is_said(fake: FakeKubernetes, tmp_path: Path) -> None:
    cluster = Cluster([])

    def answer(request: Request) -> Reply:
        refused = request.method == "POST" and "pods" in request.path
        return status(403, "Forbidden", 'User "me" cannot create resource "pods"') if refused else cluster(request)

    fake.answer = answer
    with pytest.raises(Forbidden):
        run(fake, tmp_path)
    assert cluster.deleted[-1] == "serviceaccounts", "nothing is left"
