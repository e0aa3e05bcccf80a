"""The diff planner: each kind of change, against what KubeRay's own rules say becomes of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kuberay.config import load
from kuberay.manifests.manifest import objects
from kuberay.plan import screen
from kuberay.plan.capacity import UNPRICED, Prices, switch
from kuberay.plan.diff import Effect, Plan, plan
from kuberay.plan.outlook import Outlook
from kuberay.snapshot import Snapshot

DEPLOY = Path(__file__).parent.parent / "deploy"
Json = dict[str, Any]
Edit = Callable[[Json], None]


def rendered(**environ: str) -> list[Json]:
    return objects(load(DEPLOY / "gke-l4.yaml", environ))


def service_of(items: list[Json]) -> Json:
    return next(item for item in items if item["kind"] == "RayService")


def running(items: list[Json], *, pending: bool = False, operator: str = "1.6.1") -> Snapshot:
    """The service as it stands once KubeRay has made a cluster from it, whose autoscaler has set replicas since."""
    items = copy.deepcopy(items)
    service = service_of(items)
    service["status"] = {"activeServiceStatus": {"rayClusterName": "gemma-aaaaa"}}
    spec = copy.deepcopy(service["spec"]["rayClusterConfig"])
    spec["workerGroupSpecs"][0] |= {"replicas": 3, "scaleStrategy": {"workersToDelete": ["gone"]}}
    clusters = [cluster("gemma-aaaaa", spec)]
    if pending:
        service["status"]["pendingServiceStatus"] = {"rayClusterName": "gemma-bbbbb"}
        conditions = [{"type": "UpgradeInProgress", "status": "True"}]
        service["status"] |= {"conditions": conditions}
        clusters.append(cluster("gemma-bbbbb", copy.deepcopy(spec)))
    return Snapshot("2026-11-22T00:00:00Z", "test", "default", "gemma", (*items, *clusters, deployment(operator)))


def cluster(name: str, spec: Json) -> Json:
    metadata = {
        "name": name,
        "creationTimestamp": "2026-11-21T12:00:00Z",
        "annotations": {"ray.io/kuberay-version": "v1.6.1"},
    }
    return {"kind": "RayCluster", "metadata": metadata, "spec": spec}


def deployment(version: str, updated: int = 1) -> Json:
    container = {"name": "kuberay-operator", "image": f"quay.example/kuberay/operator:v{version}"}
    return {
        "kind": "Deployment",
        "metadata": {"name": "kuberay-operator", "namespace": "kuberay-system", "generation": 2},
        "spec": {"replicas": 1, "template": {"spec": {"containers": [container]}}},
        "status": {"updatedReplicas": updated, "observedGeneration": 2},
    }


def planned(edit: Edit, **kwargs: Any) -> Plan:
    before = rendered()
    after = copy.deepcopy(before)
    edit(service_of(after)["spec"])
    return plan(running(before, **kwargs), after)


def head(spec: Json) -> Json:
    return spec["rayClusterConfig"]["headGroupSpec"]


def group(spec: Json, place: int = 0) -> Json:
    return spec["rayClusterConfig"]["workerGroupSpecs"][place]


def pod(spec: Json) -> Json:
    return group(spec)["template"]["spec"]


def another(spec: Json) -> Json:
    return copy.deepcopy(group(spec)) | {"groupName": "another"}


def edit_nothing(spec: Json) -> None:
    pass


def test_applying_twice_changes_nothing() -> None:
    assert planned(edit_nothing) == Plan(Effect.NOTHING, (), (), ())


def test_a_first_install_makes_everything() -> None:
    found = plan(Snapshot("2026-11-22T00:00:00Z", "test", "default", "gemma"), rendered())
    assert found.effect is Effect.CREATE
    assert {change.object.split("/")[0] for change in found.changes} >= {"ConfigMap", "RayService", "NetworkPolicy"}
    assert not found.patches
    assert not found.traps


@pytest.mark.parametrize(
    "edit",
    [
        lambda spec: spec["rayClusterConfig"].update(rayVersion="2.61.0"),
        lambda spec: pod(spec)["containers"][0].update(image="host/switchyard:2"),
        lambda spec: pod(spec)["containers"][0]["env"].append({"name": "A", "value": "1"}),
        lambda spec: pod(spec)["containers"][0]["resources"]["limits"].update(memory="25Gi"),
        lambda spec: pod(spec)["containers"].append({"name": "sidecar", "image": "x:1"}),
        lambda spec: pod(spec).update(terminationGracePeriodSeconds=5),
        lambda spec: pod(spec)["nodeSelector"].update(zone="a"),
        lambda spec: group(spec)["template"]["metadata"]["labels"].update(x="y"),
        lambda spec: group(spec).update(idleTimeoutSeconds=1),
        lambda spec: group(spec).update(numOfHosts=2),
        lambda spec: group(spec).update(groupName="other"),
        lambda spec: group(spec, 1).update(priority=7),
        lambda spec: group(spec)["rayStartParams"].update({"num-cpus": "9"}),
        lambda spec: head(spec)["rayStartParams"].update({"num-cpus": "1"}),
        lambda spec: spec["rayClusterConfig"]["autoscalerOptions"].update(idleTimeoutSeconds=7),
        lambda spec: spec["rayClusterConfig"].update(enableInTreeAutoscaling=False),
        lambda spec: spec["rayClusterConfig"]["authOptions"].update(secretName="other"),
        lambda spec: spec["rayClusterConfig"]["workerGroupSpecs"].pop(),
        lambda spec: spec["rayClusterConfig"]["workerGroupSpecs"].reverse(),
        lambda spec: spec["rayClusterConfig"]["workerGroupSpecs"].insert(
            0, copy.deepcopy(group(spec)) | {"groupName": "n"}
        ),
    ],
)
def test_what_is_in_the_hash_makes_a_new_cluster(edit: Edit) -> None:
    found = planned(edit)
    assert found.effect is Effect.NEW_CLUSTER
    assert not found.patches
    assert not found.traps


@pytest.mark.parametrize(
    ("edit", "operations"),
    [
        (lambda spec: group(spec).update(maxReplicas=9), [("/spec/workerGroupSpecs/0/maxReplicas", 9)]),
        (
            lambda spec: group(spec, 1).update(minReplicas=1, maxReplicas=3),
            [("/spec/workerGroupSpecs/1/minReplicas", 1), ("/spec/workerGroupSpecs/1/maxReplicas", 3)],
        ),
        (
            lambda spec: pod(spec).update(tolerations=[{"operator": "Exists"}]),
            [("/spec/workerGroupSpecs/0/template/spec/tolerations", [{"operator": "Exists"}])],
        ),
    ],
)
def test_what_the_hash_leaves_out_is_patched_on_the_running_cluster(edit: Edit, operations: list[Any]) -> None:
    found = planned(edit)
    assert found.effect is Effect.CARRIED
    assert [patch.cluster for patch in found.patches] == ["gemma-aaaaa"]
    made = [item for item in found.patches[0].operations if item["op"] == "add"]
    assert [(item["path"], item["value"]) for item in made] == operations
    tests = [item for item in found.patches[0].operations if item["op"] == "test"]
    assert len(tests) == 1, "a group is changed only if it is the one that was seen"


def test_replicas_are_the_autoscalers() -> None:
    assert planned(lambda spec: group(spec).update(replicas=2)).effect is Effect.NOTHING


def test_a_patch_that_was_made_is_not_made_again() -> None:
    before = rendered()
    after = rendered(SWITCHYARD__SCALING__MAX_REPLICAS="6")
    snapshot = running(after)
    found = plan(snapshot, after)
    assert (found.effect, found.patches) == (Effect.NOTHING, ())
    assert plan(running(before), after).patches


def test_a_patch_left_undone_is_found_although_the_service_is_already_as_wanted() -> None:
    """The first run was ended between the apply and the patch."""
    before, after = rendered(), rendered(SWITCHYARD__SCALING__MAX_REPLICAS="6")
    stale = running(before)
    kept = tuple(item for item in stale.objects if item["kind"] != "RayService")
    service = service_of(after) | {"status": dict(stale.service or {})["status"]}
    found = plan(Snapshot(stale.taken, "test", "default", "gemma", (*kept, service)), after)
    assert found.effect is Effect.CARRIED
    assert found.patches


@pytest.mark.parametrize(
    "edit",
    [
        lambda spec: spec.update(rayClusterDeletionDelaySeconds=4000),
        lambda spec: spec.update(excludeHeadPodFromServeSvc=False),
        lambda spec: spec["upgradeStrategy"].update(type="None"),
        lambda spec: spec["rayClusterConfig"].update(suspend=True),
        lambda spec: spec["rayClusterConfig"]["workerGroupSpecs"].append(
            copy.deepcopy(group(spec)) | {"groupName": "n"}
        ),
    ],
)
def test_what_the_operator_does_in_place(edit: Edit) -> None:
    found = planned(edit)
    assert found.effect is Effect.IN_PLACE
    assert not found.traps


def test_the_same_amount_written_differently_is_no_change() -> None:
    found = planned(lambda spec: pod(spec)["containers"][0]["resources"]["requests"].update(cpu="6000m"))
    assert found.effect in (Effect.NOTHING, Effect.IN_PLACE)


def test_scaling_alone_is_in_place_and_carried() -> None:
    before, after = rendered(), rendered(SWITCHYARD__SCALING__MAX_REPLICAS="6")
    found = plan(running(before), after)
    assert found.effect is Effect.CARRIED
    assert {change.difference.path[-1] for change in found.changes} == {"serveConfigV2", "maxReplicas"}
    assert not found.traps


def test_a_new_model_is_a_new_cluster_with_everything_that_comes_with_it() -> None:
    before = rendered()
    after = rendered(MODEL_ID="google/gemma-2-9b-it", SWITCHYARD__SCALING__MAX_REPLICAS="6")
    found = plan(running(before), after)
    assert found.effect is Effect.NEW_CLUSTER
    assert not found.patches, "the running cluster stays as it is"
    assert not found.traps
    notes = {change.difference.dotted.rsplit(".", 1)[-1]: change.note for change in found.changes}
    assert notes["serveConfigV2"] == "goes to the new cluster only"
    assert notes["maxReplicas"] == "comes with the new cluster"


def test_with_strategy_none_a_change_of_pods_reaches_nobody() -> None:
    def edit(spec: Json) -> None:
        spec["upgradeStrategy"]["type"] = "None"
        pod(spec)["terminationGracePeriodSeconds"] = 5

    found = planned(edit)
    assert found.effect is Effect.STRANDED


def trap_ids(found: Plan) -> list[str]:
    return [trap.id for trap in found.traps]


def image(spec: Json) -> None:
    pod(spec)["containers"][0]["image"] = "host/switchyard:2"


def test_trap_a_model_only_in_the_serve_config() -> None:
    def edit(spec: Json) -> None:
        spec["serveConfigV2"] = spec["serveConfigV2"].replace("serve_app:app", "other:app")

    assert trap_ids(planned(edit)) == ["serve-config-only"]


def test_trap_an_upgrade_is_running() -> None:
    found = planned(image, pending=True)
    assert trap_ids(found) == ["upgrade-running"]
    assert "gemma-bbbbb" in found.traps[0].why
    assert trap_ids(planned(edit_nothing, pending=True)) == []


def test_trap_the_operator_was_upgraded_and_has_not_taken_over() -> None:
    assert trap_ids(planned(image, operator="1.7.0")) == ["operator-upgraded"]
    assert trap_ids(planned(edit_nothing, operator="1.7.0")) == []


def test_trap_the_operator_is_being_rolled_out() -> None:
    before = rendered()
    after = copy.deepcopy(before)
    image(service_of(after)["spec"])
    seen = running(before)
    objects_ = tuple(item for item in seen.objects if item["kind"] != "Deployment")
    snapshot = Snapshot(seen.taken, "test", "default", "gemma", (*objects_, deployment("1.6.1", updated=0)))
    assert trap_ids(plan(snapshot, after)) == ["operator-rollout"]


def test_trap_a_change_of_strategy() -> None:
    found = planned(lambda spec: spec["upgradeStrategy"].update(type="NewClusterWithIncrementalUpgrade"))
    assert trap_ids(found) == ["strategy-change"]


def test_trap_a_deletion_delay_below_the_longest_stream_of_the_old_release() -> None:
    before = rendered(SWITCHYARD__SERVING__MAX_REQUEST_S="3000")
    after = rendered(SWITCHYARD__SERVING__MAX_REQUEST_S="60")
    found = plan(running(before), after)
    assert trap_ids(found) == ["deletion-delay"]
    assert "3000" in found.traps[0].instead


def test_every_trap_says_what_to_do() -> None:
    for found in (planned(image, pending=True), planned(image, operator="1.7.0")):
        assert all(len(trap.why) > 40 and len(trap.instead) > 20 for trap in found.traps)


def worker(name: str, ready_at: str) -> Json:
    labels = {"ray.io/cluster": "gemma-aaaaa", "ray.io/node-type": "worker"}
    limits = {"nvidia.com/gpu": "1"}
    return {
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [{"resources": {"limits": limits}}]},
        "status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": ready_at}]},
    }


def test_what_a_switch_takes() -> None:
    seen = running(rendered())
    pods = (worker("a", "2026-11-21T12:06:00Z"), worker("b", "2026-11-21T15:00:00Z"))
    snapshot = Snapshot(seen.taken, "test", "default", "gemma", (*seen.objects, *pods))
    wanted = service_of(rendered(MODEL_ID="google/gemma-2-9b-it"))
    found = switch(
        snapshot, wanted, Prices(lambda label, spot: {("nvidia-l4", False): 0.6}.get((label, spot)), "a test's")
    )
    assert (found.gpus_now, found.gpus_new, found.gpus_most) == (2, 1, 16)
    assert found.minutes == 6
    assert found.dollars == pytest.approx(0.6 * 6 / 60 + 0.6 * 660 / 3600)
    assert switch(snapshot, wanted, UNPRICED).dollars is None
    assert (found.kept_s, found.kept_gpu_hours) == (660, pytest.approx(2 * 660 / 3600)), "as the file says"
    after = rendered(MODEL_ID="google/gemma-2-9b-it")
    told = screen.lines(Outlook(snapshot, tuple(after), plan(snapshot, after), found, ()))
    kept = "  After the switch the old cluster is kept for 11 min as a warm way back (kubernetes.upgrade.keep_old_s): "
    assert f"{kept}0.37 GPU hours." in told
