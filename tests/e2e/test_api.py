"""The way to the Kubernetes API, on a real API server with KubeRay's CRDs and no controllers."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from kuberay.api import kinds
from kuberay.api.calls import application
from kuberay.api.client import Api
from kuberay.api.connection import connect
from kuberay.api.transport import Transport
from kuberay.errors import Conflict, Forbidden, Incomplete, Invalid, NotFound, Unauthorized, Unreachable
from kuberay.observing.observe import observe, observe_all
from kuberay.observing.wait import WARNINGS, Target, Verdict, wait_for
from kuberay.snapshot import Snapshot, dig
from tests.e2e.bare import NOBODY, BareServer, bare_server, binary, crds

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        not (binary("etcd") and binary("kube-apiserver") and binary("go")), reason="needs etcd, kube-apiserver and Go"
    ),
]

HEAD = {"rayStartParams": {}, "template": {"spec": {"containers": [{"name": "ray-head", "image": "ray:2.60.0"}]}}}
SPEC = {"serveConfigV2": "applications: []", "rayClusterConfig": {"rayVersion": "2.60.0", "headGroupSpec": HEAD}}
OTHER = "another-tool"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BareServer]:
    with bare_server(tmp_path_factory.mktemp("kube")) as server:
        yield server


@pytest.fixture(scope="module")
def api(bare: BareServer) -> Api:
    """As cluster administrator, with the CRDs in place."""
    made = Api.connect(kubeconfig=bare.kubeconfig())
    with pytest.raises(NotFound, match="Install the KubeRay operator") as caught:
        made.list(kinds.RAYSERVICE)
    assert caught.value.kind_missing
    for crd in crds():
        made.apply(crd)
    end = time.monotonic() + 30
    for kind in (kinds.RAYSERVICE, kinds.RAYCLUSTER):
        while True:
            try:
                made.list(kind)
                break
            except NotFound:  # a new kind is served a moment after it was accepted
                assert time.monotonic() < end
                time.sleep(0.1)
    return made


@pytest.fixture
def space(api: Api, request: pytest.FixtureRequest) -> str:
    """A namespace of the test's own."""
    name = "".join(char if char.isalnum() else "-" for char in request.node.name)[:60].strip("-")
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return name


def service(namespace: str, name: str = "llm", **spec: Any) -> dict[str, Any]:
    about = {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/instance": name}}
    return {"apiVersion": "ray.io/v1", "kind": "RayService", "metadata": about, "spec": {**copy.deepcopy(SPEC), **spec}}


def grant(api: Api, namespace: str, verbs: list[str], resources: list[str]) -> None:
    about = {"name": "some", "namespace": namespace}
    group = "rbac.authorization.k8s.io"
    rules = [{"apiGroups": ["ray.io", "", "discovery.k8s.io"], "resources": resources, "verbs": verbs}]
    api.apply({"apiVersion": f"{group}/v1", "kind": "Role", "metadata": about, "rules": rules})
    subjects = [{"kind": "User", "name": "nobody", "apiGroup": group}]
    role = {"kind": "Role", "name": "some", "apiGroup": group}
    api.apply(
        {"apiVersion": f"{group}/v1", "kind": "RoleBinding", "metadata": about, "roleRef": role, "subjects": subjects}
    )


def test_apply_makes_changes_and_does_nothing_twice(api: Api, space: str) -> None:
    first = api.apply(service(space))
    assert api.apply(service(space))["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    second = api.apply(service(space, serveConfigV2="applications: [1]"))
    assert second["metadata"]["generation"] == first["metadata"]["generation"] + 1
    assert {entry["manager"] for entry in second["metadata"]["managedFields"]} == {"switchyard"}


def test_dry_run_writes_nothing(api: Api, space: str) -> None:
    assert api.apply(service(space), dry_run=True)["metadata"]["uid"]
    with pytest.raises(NotFound, match="There is no RayService llm"):
        api.get(kinds.RAYSERVICE, "llm", space)
    api.apply(service(space))
    api.delete(kinds.RAYSERVICE, "llm", space, dry_run=True)
    assert api.get(kinds.RAYSERVICE, "llm", space)


def test_fields_of_others_are_theirs_until_taken_over(api: Api, bare: BareServer, space: str) -> None:
    theirs = application(service(space, serveConfigV2="theirs"), force=False, dry_run=False)
    query = tuple((key, OTHER if key == "fieldManager" else value) for key, value in theirs.query)
    Transport(connect(kubeconfig=bare.kubeconfig())).send(replace(theirs, query=query))
    with pytest.raises(Conflict, match=rf"{OTHER} owns \.spec\.serveConfigV2") as caught:
        api.apply(service(space))
    assert ".spec.rayClusterConfig" not in str(caught.value)  # both want the same there
    assert dig(api.get(kinds.RAYSERVICE, "llm", space), "spec", "serveConfigV2") == "theirs"
    assert dig(api.apply(service(space), force=True), "spec", "serveConfigV2") == SPEC["serveConfigV2"]


@pytest.mark.parametrize("way", ["apply", "apply-dry", "create", "patch"])
def test_unknown_fields_are_refused(api: Api, space: str, way: str) -> None:
    wrong = service(space, upgradeStratgy={"type": "None"})
    api.apply(service(space, "there"))
    with pytest.raises(Invalid, match=r"upgradeStratgy") as caught:
        if way == "create":
            api.create(wrong)
        elif way == "patch":
            api.patch(kinds.RAYSERVICE, "there", space, {"spec": {"upgradeStratgy": 1}})
        else:
            api.apply(wrong, dry_run=way == "apply-dry")
    assert len(str(caught.value)) < 600
    assert sum(api.calls.values())  # and it was not sent again: see the count below
    before = sum(api.calls.values())
    with pytest.raises(Invalid):
        api.apply(wrong)
    assert sum(api.calls.values()) == before + 1


def test_values_that_are_not_allowed_are_named(api: Api, space: str) -> None:
    with pytest.raises(Invalid, match=r"spec\.rayClusterDeletionDelaySeconds.*greater than or equal to 0"):
        api.apply(service(space, rayClusterDeletionDelaySeconds=-1))
    with pytest.raises(Invalid, match=r"rayClusterDeletionDelaySeconds: expected numeric"):
        api.apply(service(space, rayClusterDeletionDelaySeconds="soon"))


def test_a_secret_is_made_once_and_never_told(api: Api, space: str) -> None:
    about = {"name": "ray-token", "namespace": space}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": about, "stringData": {"auth_token": "hush"}}
    api.create(secret)
    with pytest.raises(Conflict, match="exists already") as caught:
        api.create(secret)
    assert caught.value.reason == "AlreadyExists"
    for data in ({"k": "no base64: hush"}, {"k": {"hush": 1}}):
        for write in (api.apply, api.create):
            with pytest.raises(Invalid) as invalid:
                write({**secret, "metadata": {**about, "name": "x"}, "data": data})
            assert "hush" not in str(invalid.value)


def test_no_namespace(api: Api) -> None:
    with pytest.raises(NotFound, match="kubectl create namespace nowhere"):
        api.apply(service("nowhere"))


def test_rights_are_named_until_they_are_there(api: Api, bare: BareServer, space: str) -> None:
    nobody = Api.connect(kubeconfig=bare.kubeconfig(NOBODY))
    with pytest.raises(Forbidden, match=rf'may not patch "rayservices.ray.io" in namespace "{space}"'):
        nobody.apply(service(space))
    with pytest.raises(Forbidden, match='may not list "nodes" in the whole cluster'):
        nobody.list(kinds.NODE)
    with pytest.raises(Forbidden, match='may not get "pods/log"'):
        nobody.logs("p", space)
    with pytest.raises(Forbidden, match='may not create "pods/portforward"'), nobody.forward("p", 8000, space):
        pass
    assert not nobody.can("patch", kinds.RAYSERVICE, space)
    grant(api, space, ["get", "list", "create", "patch"], ["rayservices"])
    end = time.monotonic() + 10  # the authorizer follows by watching
    while not nobody.can("patch", kinds.RAYSERVICE, space):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert nobody.apply(service(space))
    with pytest.raises(Forbidden, match=r'patch "rayservices.ray.io/status"'):
        nobody.patch(kinds.RAYSERVICE, "llm", space, {"status": {}}, subresource="status")


def test_wrong_tokens_and_authorities(bare: BareServer) -> None:
    with pytest.raises(Unauthorized, match="does not accept these credentials"):
        Api.connect(kubeconfig=bare.kubeconfig("no-such-token")).list(kinds.POD)
    exec_ = {"exec": {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "/none/gke-gcloud-auth-plugin"}}
    with pytest.raises(Unreachable, match="gcloud components install gke-gcloud-auth-plugin"):
        Api.connect(kubeconfig=bare.kubeconfig(user=exec_))


def test_the_status_can_be_patched_apart(api: Api, space: str) -> None:
    api.apply(service(space))
    api.patch(kinds.RAYSERVICE, "llm", space, {"status": {"serviceStatus": "Running"}}, subresource="status")
    api.patch(kinds.RAYSERVICE, "llm", space, {"status": {"serviceStatus": "Lost"}})
    assert dig(api.get(kinds.RAYSERVICE, "llm", space), "status", "serviceStatus") == "Running"


def test_patches_and_preconditions(api: Api, space: str) -> None:
    made = api.apply(service(space))
    changed = api.patch(
        kinds.RAYSERVICE,
        "llm",
        space,
        [{"op": "add", "path": "/spec/excludeHeadPodFromServeSvc", "value": True}],
        how="json",
    )
    assert changed["spec"]["excludeHeadPodFromServeSvc"] is True
    stale = {
        "metadata": {"resourceVersion": made["metadata"]["resourceVersion"]},
        "spec": {"excludeHeadPodFromServeSvc": False},
    }
    with pytest.raises(Conflict, match="changed by somebody else"):
        api.patch(kinds.RAYSERVICE, "llm", space, stale)
    with pytest.raises(Conflict):
        api.delete(kinds.RAYSERVICE, "llm", space, uid="00000000-0000-0000-0000-000000000000")
    api.delete(kinds.RAYSERVICE, "llm", space, uid=made["metadata"]["uid"])
    with pytest.raises(NotFound):
        api.delete(kinds.RAYSERVICE, "llm", space)


def config_map(space: str, number: int) -> dict[str, Any]:
    about = {"name": f"m{number}", "namespace": space, "labels": {"even": str(number % 2 == 0).lower()}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": {"a": "b" * 20_000}}


def test_lists_come_in_pages_and_by_label(api: Api, space: str) -> None:
    for number in range(12):
        api.create(config_map(space, number))
    before = api.calls["list", "configmaps"]
    items = api.list(kinds.CONFIGMAP, space, page=5)
    assert len({item["metadata"]["name"] for item in items}) == 12
    assert {item["kind"] for item in items} == {"ConfigMap"}
    assert api.calls["list", "configmaps"] == before + 3
    assert len(api.list(kinds.CONFIGMAP, space, selector="even=true")) == 6
    assert api.list(kinds.CONFIGMAP, space, trim=lambda item: None) == []


def test_a_watch_sees_everything(api: Api, space: str) -> None:
    api.apply(service(space))

    def live() -> None:
        time.sleep(0.3)
        api.apply(service(space, "not-ours"))
        api.apply(service(space, excludeHeadPodFromServeSvc=True))
        api.delete(kinds.RAYSERVICE, "llm", space)

    thread = threading.Thread(target=live)
    thread.start()
    seen = []
    for change in api.watch(kinds.RAYSERVICE, space, name="llm", within=10):
        seen.append((change.type, dig(change.object, "spec", "excludeHeadPodFromServeSvc", default=False)))
        if change.type == "DELETED":
            break
    thread.join()
    assert seen == [("ADDED", False), ("SYNCED", False), ("MODIFIED", True), ("DELETED", True)]
    assert [change.type for change in api.watch(kinds.RAYSERVICE, space, within=1)] == ["ADDED", "SYNCED"]


def event(space: str, about: str, reason: str, message: str) -> dict[str, Any]:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    involved = {"kind": "Pod", "namespace": space, "name": about}
    name = {"name": f"{about}.{time.monotonic_ns():x}", "namespace": space}
    more = {"reason": reason, "message": message, "type": "Warning", "lastTimestamp": now, "firstTimestamp": now}
    return {"apiVersion": "v1", "kind": "Event", "metadata": name, "involvedObject": involved, "count": 1, **more}


def judge(snapshot: Snapshot) -> Verdict:
    state = dig(snapshot.service, "status", "serviceStatus", default="no status")
    return Verdict(state == "Running", state)


def test_waiting(api: Api, space: str) -> None:
    api.apply(service(space))
    targets = [Target(kinds.RAYSERVICE, name="llm"), WARNINGS]
    waiting = wait_for(api, space, "llm", targets, judge, within=3)
    assert next(waiting).text == "no status"
    # Only now: what was warned of before the wait is not told.
    api.create(
        event(space, "llm-abc-worker-0", "FailedScheduling", "0/3 nodes are available: Insufficient nvidia.com/gpu")
    )
    with pytest.raises(
        Incomplete, match=r"Last state: no status[\s\S]*Pod llm-abc-worker-0: FailedScheduling: 0/3 nodes"
    ):
        list(waiting)

    def live() -> None:
        time.sleep(0.4)
        api.patch(kinds.RAYSERVICE, "llm", space, {"status": {"serviceStatus": "Running"}}, subresource="status")

    before = sum(api.calls.values())
    threading.Thread(target=live).start()
    steps = list(wait_for(api, space, "llm", targets, judge, within=20))
    assert [step.text for step in steps] == ["no status", "Running"]
    assert steps[-1].seconds < 5
    assert sum(api.calls.values()) - before == 5  # two lists, two watches, and the patch


def cluster(space: str, name: str, owner: str = "llm") -> dict[str, Any]:
    about = {"name": name, "namespace": space, "labels": {"ray.io/originated-from-cr-name": owner}}
    spec = {"headGroupSpec": HEAD, "authOptions": {"mode": "token", "secretName": "ray-token"}}
    return {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": about, "spec": spec}


def pod(space: str, name: str, owner: str, node_type: str = "worker") -> dict[str, Any]:
    about = {"name": name, "namespace": space, "labels": {"ray.io/cluster": owner, "ray.io/node-type": node_type}}
    refs = [{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf-secret", "key": "hf_api_token"}}}]
    spec = {"containers": [{"name": "ray-worker", "image": "ray", "env": refs}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": spec}


def test_a_snapshot_holds_this_service_and_no_secrets(api: Api, bare: BareServer, space: str) -> None:
    api.apply(service(space))
    api.apply(service(space, "other"))
    api.apply(cluster(space, "llm-abc"))
    api.apply(cluster(space, "other-abc", "other"))
    api.create(pod(space, "llm-abc-head", "llm-abc", "head"))
    api.create(pod(space, "other-abc-head", "other-abc", "head"))
    note = {"kubectl.kubernetes.io/last-applied-configuration": "hush"}
    for name in ("ray-token", "not-mentioned"):
        about = {"name": name, "namespace": space, "annotations": note}
        api.create({"apiVersion": "v1", "kind": "Secret", "metadata": about, "stringData": {"auth_token": "hush"}})
    api.create(event(space, "llm-abc-head", "Failed", "no such image"))
    api.create(event(space, "other-abc-head", "Failed", "not ours"))
    port = {"port": 8000, "targetPort": 8000}
    for name in ("llm-serve-svc", "llm-abc-head-svc", "unrelated"):
        about = {"name": name, "namespace": space}
        api.create({"apiVersion": "v1", "kind": "Service", "metadata": about, "spec": {"ports": [port]}})
    before = dict(api.calls)
    begun = time.monotonic()
    seen = observe(api, space, "llm")
    assert time.monotonic() - begun < 2
    names = {(item["kind"], item["metadata"]["name"]) for item in seen.objects if item["kind"] not in ("Event",)}
    assert names == {
        ("RayService", "llm"),
        ("RayCluster", "llm-abc"),
        ("Pod", "llm-abc-head"),
        ("Secret", "ray-token"),
        ("Service", "llm-serve-svc"),
        ("Service", "llm-abc-head-svc"),
        *(("CustomResourceDefinition", f"ray{one}s.ray.io") for one in ("cluster", "service", "job", "cronjob")),
    }
    assert [item["message"] for item in seen.of("Event")] == ["no such image"]
    assert dict(seen.named("Secret", "ray-token") or {})["data"] == {"auth_token": ""}
    assert "hush" not in str(seen)
    assert seen.unreadable == ("Serve's report of RayCluster llm-abc: its head pod is not running",)
    lists = {key: count - before.get(key, 0) for key, count in api.calls.items() if key[0] == "list"}
    assert {key for key, count in lists.items() if count > 1} == {
        ("list", "events"),  # nodes' are in another namespace
        ("list", "deployments.apps"),  # by label, then by image
    }
    everything = {(one.namespace, one.name): one for one in observe_all(api, space)}
    assert [item["metadata"]["name"] for item in everything[space, "llm"].objects] == ["llm", "llm-abc", "llm-abc-head"]


def test_what_may_not_be_read_is_noted_beside_the_rest(api: Api, bare: BareServer, space: str) -> None:
    api.apply(service(space))
    grant(api, space, ["get", "list"], ["rayservices"])
    nobody = Api.connect(kubeconfig=bare.kubeconfig(NOBODY))
    end = time.monotonic() + 10
    while not nobody.can("list", kinds.RAYSERVICE, space):
        assert time.monotonic() < end
        time.sleep(0.05)
    seen = observe(nobody, space, "llm")
    assert seen.service
    assert any(line.startswith("nodes: You may not list") for line in seen.unreadable)
    assert any(line.startswith(f"pods in namespace {space}: You may not") for line in seen.unreadable)
    with pytest.raises(Unauthorized):
        observe(Api.connect(kubeconfig=bare.kubeconfig("wrong")), space, "llm")
    assert observe(api, space, "nope").service is None
