"""The way to the Kubernetes API: what is sent, what is sent again, and what each failure becomes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kuberay.api import kinds
from kuberay.api.client import Api
from kuberay.api.connection import connect
from kuberay.errors import ApiError, ConfigError, Conflict, Forbidden, Invalid, NotFound, Unauthorized, Unreachable
from tests.fake_kubernetes import FakeKubernetes, Reply, Request, fake_kubernetes, status

PODS = "/api/v1/namespaces/default/pods"
SERVICE = {"apiVersion": "ray.io/v1", "kind": "RayService", "metadata": {"name": "llm", "namespace": "default"}}


@pytest.fixture
def fake() -> Iterator[FakeKubernetes]:
    with fake_kubernetes() as server:
        yield server


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def api(fake: FakeKubernetes, tmp_path: Path, slept: list[float]) -> Api:
    return Api(connect(kubeconfig=fake.kubeconfig(tmp_path)), sleep=slept.append)


def replies(fake: FakeKubernetes, *given: Reply) -> None:
    """Answers one after the other; the last one again and again."""
    left = list(given)
    fake.answer = lambda _: left.pop(0) if len(left) > 1 else left[0]


def test_the_token_is_sent(fake: FakeKubernetes, api: Api) -> None:
    replies(fake, Reply({"gitVersion": "v1.36.3"}))
    assert api.version() == "v1.36.3"
    assert fake.requests[0].headers["authorization"] == "Bearer a-token"


def test_apply_is_strict_and_takes_nothing_over(fake: FakeKubernetes, api: Api) -> None:
    replies(fake, Reply(SERVICE))
    api.apply(SERVICE)
    api.apply(SERVICE, force=True, dry_run=True)
    first, second = fake.requests
    assert (first.method, first.path) == ("PATCH", "/apis/ray.io/v1/namespaces/default/rayservices/llm")
    assert first.headers["content-type"] == "application/apply-patch+yaml"
    assert first.query == {"fieldManager": "switchyard", "fieldValidation": "Strict", "force": "false"}
    assert second.query == {**first.query, "force": "true", "dryRun": "All"}
    assert first.body == SERVICE


def test_patches_say_what_they_are(fake: FakeKubernetes, api: Api) -> None:
    replies(fake, Reply(SERVICE))
    api.patch(kinds.RAYSERVICE, "llm", "default", {"status": {}}, subresource="status")
    api.patch(kinds.RAYSERVICE, "llm", "default", [{"op": "remove", "path": "/spec/suspend"}], how="json")
    assert fake.requests[0].path.endswith("/llm/status")
    assert [one.headers["content-type"] for one in fake.requests] == [
        "application/merge-patch+json",
        "application/json-patch+json",
    ]
    assert fake.requests[1].body == [{"op": "remove", "path": "/spec/suspend"}]


def test_delete_can_insist_on_the_very_object(fake: FakeKubernetes, api: Api) -> None:
    replies(fake, Reply({"kind": "Status"}))
    api.delete(kinds.RAYSERVICE, "llm", "default", uid="u", propagation="Foreground", grace_s=0)
    assert fake.requests[0].body["preconditions"] == {"uid": "u"}
    assert fake.requests[0].body["propagationPolicy"] == "Foreground"
    assert fake.requests[0].body["gracePeriodSeconds"] == 0


def test_lists_are_read_in_pages_and_counted(fake: FakeKubernetes, api: Api) -> None:
    def pages(request: Request) -> Reply:
        at = int(request.query.get("continue", "0"))
        items = [{"metadata": {"name": f"p{number}", "uid": str(number)}} for number in range(at, at + 2)]
        more = {"continue": str(at + 2)} if at < 4 else {}
        return Reply({"metadata": {"resourceVersion": "9", **more}, "items": items})

    fake.answer = pages
    items = api.list(kinds.POD, "default", selector="a=b", page=2)
    assert [item["metadata"]["name"] for item in items] == [f"p{number}" for number in range(6)]
    assert {(item["apiVersion"], item["kind"]) for item in items} == {("v1", "Pod")}
    assert [one.query.get("continue") for one in fake.requests] == [None, "2", "4"]
    assert {one.query["labelSelector"] for one in fake.requests} == {"a=b"}
    assert api.calls == {("list", "pods"): 3}


def test_a_list_whose_pages_expire_begins_again_once(fake: FakeKubernetes, api: Api) -> None:
    page = Reply({"metadata": {"continue": "x"}, "items": [{"metadata": {"name": "a"}}]})
    whole = Reply({"metadata": {}, "items": [{"metadata": {"name": "a"}}]})
    replies(fake, page, status(410, "Expired", "too old"), whole)
    assert len(api.list(kinds.POD)) == 1
    replies(fake, page, status(410, "Expired", "too old"), page, status(410, "Expired", "too old"))
    with pytest.raises(ApiError, match="expired"):
        api.list(kinds.POD)


def test_what_is_busy_or_broken_is_asked_again(fake: FakeKubernetes, api: Api, slept: list[float]) -> None:
    busy = status(429, "TooManyRequests", "busy")
    busy.headers["Retry-After"] = "3"
    replies(fake, busy, status(503, "ServiceUnavailable", "starting"), Reply(SERVICE))
    assert api.get(kinds.RAYSERVICE, "llm", "default") == SERVICE
    assert 3.0 <= slept[0] <= 3.6
    assert 0.5 <= slept[1] <= 0.6
    assert api.calls == {("get", "rayservices.ray.io"): 3}


def test_there_is_an_end_to_asking_again(fake: FakeKubernetes, api: Api, slept: list[float]) -> None:
    replies(fake, status(500, "InternalError", "etcd is away"))
    with pytest.raises(ApiError, match="HTTP 500, etcd is away") as caught:
        api.apply(SERVICE)
    assert caught.value.status == 500
    assert len(fake.requests) == 4
    assert sum(slept) < 3


def test_creating_is_not_done_twice(fake: FakeKubernetes, api: Api) -> None:
    replies(fake, status(500, "InternalError", "etcd is away"))
    with pytest.raises(ApiError):
        api.create(SERVICE)
    with pytest.raises(ApiError):
        api.patch(kinds.RAYSERVICE, "llm", "default", [{"op": "add", "path": "/spec/list/-", "value": 1}], how="json")
    assert len(fake.requests) == 2
    replies(fake, status(429, "TooManyRequests", "busy"), Reply(SERVICE))
    assert api.create(SERVICE) == SERVICE  # 429 was not begun


def test_a_deletion_whose_answer_was_lost_is_done(fake: FakeKubernetes, api: Api) -> None:
    gone = status(404, "NotFound", 'rayservices "llm" not found', name="llm")
    replies(fake, status(504, "Timeout", "slow"), gone)
    api.delete(kinds.RAYSERVICE, "llm", "default")
    replies(fake, gone)
    with pytest.raises(NotFound):
        api.delete(kinds.RAYSERVICE, "llm", "default")


def raised(fake: FakeKubernetes, api: Api, reply: Reply, item: dict[str, Any] = SERVICE) -> ApiError:
    replies(fake, reply)
    with pytest.raises(ApiError) as caught:
        api.apply(item)
    return caught.value


def test_unauthorized(fake: FakeKubernetes, api: Api) -> None:
    error = raised(fake, api, status(401, "Unauthorized", "Unauthorized"))
    assert isinstance(error, Unauthorized)
    assert "Log in again" in str(error)


def test_forbidden_names_verb_resource_and_namespace(fake: FakeKubernetes, api: Api) -> None:
    said = 'rayservices.ray.io "llm" is forbidden: User "me" cannot patch resource "rayservices"'
    error = raised(fake, api, status(403, "Forbidden", said))
    assert isinstance(error, Forbidden)
    assert 'may not patch "rayservices.ray.io" in namespace "default"' in str(error)
    assert "kubectl create role switchyard --verb=patch --resource=rayservices.ray.io -n default" in str(error)


def test_a_quota_is_not_called_a_missing_right(fake: FakeKubernetes, api: Api) -> None:
    error = raised(fake, api, status(403, "Forbidden", "exceeded quota: gpus, requested: 8, limited: 4"))
    assert isinstance(error, Forbidden)
    assert "exceeded quota" in str(error)
    assert "create role" not in str(error)


@pytest.mark.parametrize(
    "reply",
    [
        Reply("404 page not found\n", 404),  # an unknown group
        status(404, "NotFound", "the server could not find the requested resource"),  # a known one without the kind
    ],
)
def test_a_missing_kind_is_told_from_a_missing_object(fake: FakeKubernetes, api: Api, reply: Reply) -> None:
    error = raised(fake, api, reply)
    assert isinstance(error, NotFound)
    assert error.kind_missing
    assert "Install the KubeRay operator" in str(error)


def test_a_missing_object_and_a_missing_namespace(fake: FakeKubernetes, api: Api) -> None:
    error = raised(fake, api, status(404, "NotFound", 'rayservices "llm" not found', name="llm", kind="rayservices"))
    assert isinstance(error, NotFound)
    assert not error.kind_missing
    assert "There is no RayService llm in namespace default" in str(error)
    error = raised(fake, api, status(404, "NotFound", 'namespaces "x" not found', name="x", kind="namespaces"))
    assert "kubectl create namespace x" in str(error)


def test_conflict_names_the_other_manager_and_the_fields(fake: FakeKubernetes, api: Api) -> None:
    causes = [
        {"reason": "FieldManagerConflict", "message": f'conflict with "{who}" using ray.io/v1', "field": field}
        for who, field in (("kubectl-edit", ".spec.b"), ("kubectl-edit", ".spec.a"), ("helm", ".spec.c"))
    ]
    error = raised(fake, api, status(409, "Conflict", "Apply failed with 3 conflicts", causes=causes))
    assert isinstance(error, Conflict)
    assert "kubectl-edit owns .spec.a, .spec.b; helm owns .spec.c" in str(error)
    assert "--force" in str(error)
    error = raised(fake, api, status(409, "AlreadyExists", "it exists"))
    assert error.reason == "AlreadyExists"


def test_invalid_lists_the_causes(fake: FakeKubernetes, api: Api) -> None:
    causes = [{"field": "spec.a", "message": "must be 1"}, {"field": "spec.b", "message": "is required"}]
    error = raised(fake, api, status(422, "Invalid", "the object is invalid", causes=causes))
    assert isinstance(error, Invalid)
    assert "spec.a: must be 1; spec.b: is required" in str(error)
    assert "Nothing was changed" in str(error)


def test_what_a_secret_holds_is_never_told(fake: FakeKubernetes, api: Api) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "default"}}
    causes = [{"field": "data[key]", "message": 'Invalid value: "hush"'}]
    for reply in (
        status(422, "Invalid", 'data[key]: Invalid value: "hush"', causes=causes),
        status(400, "BadRequest", "cannot read hush"),
        status(500, "InternalError", "failed to convert new object (default/s): error decoding hush"),
    ):
        error = raised(fake, api, reply, {**secret, "data": {"key": "hush"}})
        assert isinstance(error, Invalid)
        assert "hush" not in str(error)
    assert "data[key]" in str(raised(fake, api, status(422, "Invalid", "no", causes=causes), secret))


def test_nobody_listens(tmp_path: Path, slept: list[float]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    fake = FakeKubernetes(f"http://127.0.0.1:{port}")
    api = Api(connect(kubeconfig=fake.kubeconfig(tmp_path)), sleep=slept.append)
    with pytest.raises(Unreachable, match=rf"of fake at http://127.0.0.1:{port}.*nothing listens there"):
        api.version()
    assert len(slept) == 3


def test_an_answer_that_is_no_json(fake: FakeKubernetes, api: Api) -> None:
    replies(fake, Reply("<html>welcome</html>"))
    with pytest.raises(ApiError, match="Is this the address of a Kubernetes API server"):
        api.version()


def test_silence_has_an_end(fake: FakeKubernetes, api: Api) -> None:
    def late(_: Request) -> Reply:
        import time

        time.sleep(0.5)
        return Reply({})

    fake.answer = late
    with pytest.raises(Unreachable, match=r"silent for 0.1 s"):
        api.via_service("GET", "llm-head-svc", "dashboard", "/api", "default", read_s=0.1)


def test_rights_can_be_asked_for(fake: FakeKubernetes, api: Api) -> None:
    replies(fake, Reply({"status": {"allowed": True}}), Reply({"status": {"allowed": False}}))
    assert api.can("patch", kinds.RAYSERVICE, "default", subresource="status")
    assert not api.can("list", kinds.NODE)
    asked = fake.requests[0].body["spec"]["resourceAttributes"]
    assert (asked["group"], asked["resource"], asked["subresource"]) == ("ray.io", "rayservices", "status")


def test_logs(fake: FakeKubernetes, api: Api) -> None:
    replies(fake, Reply("one\ntwo\n"))
    assert api.logs("p", "default", "ray-head", previous=True, lines=5) == "one\ntwo\n"
    assert fake.requests[0].path == f"{PODS}/p/log"
    assert fake.requests[0].query["previous"] == "true"
    fake.answer = lambda _: Reply(lines=iter([b"on", b"e\ntw", b"o\n"]))
    assert list(api.follow("p", "default")) == ["one", "two"]


def test_a_service_is_reached_through_the_api_server(fake: FakeKubernetes, api: Api) -> None:
    replies(fake, Reply({"applications": {}}))
    headers = {"x-ray-authorization": "Bearer t"}
    answer = api.via_service("PUT", "a-head-svc", "dashboard", "/api/x/", "ns", headers=headers, body={"a": 1})
    assert answer.status == 200
    request = fake.requests[0]
    assert request.path == "/api/v1/namespaces/ns/services/a-head-svc%3Adashboard/proxy/api/x/"
    assert request.headers["x-ray-authorization"] == "Bearer t"
    assert request.body == {"a": 1}


def test_what_is_behind_the_api_server_fails_differently(fake: FakeKubernetes, api: Api) -> None:
    replies(fake, Reply("Unauthorized: missing token", 401))
    with pytest.raises(ApiError, match="answered GET /api/x with HTTP 401: Unauthorized: missing token") as caught:
        api.via_service("GET", "a-head-svc", "dashboard", "/api/x", "ns")
    assert not isinstance(caught.value, Unauthorized)
    replies(fake, status(503, "ServiceUnavailable", 'no endpoints available for service "a-head-svc"'))
    with pytest.raises(ApiError, match="cannot be reached through the API server"):
        api.via_service("GET", "a-head-svc", "dashboard", "/api/x", "ns")
    assert len(fake.requests) == 2


def test_objects_of_unknown_kinds_are_refused(api: Api) -> None:
    with pytest.raises(ConfigError, match="does not handle objects of the kind 'Thing'"):
        api.apply({"apiVersion": "x/v1", "kind": "Thing", "metadata": {"name": "a"}})
