"""The gate: what it makes of what it sees, and that it sees it, asking a Kubernetes API with the pod's own account."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from serve_app.decision import Answer, Decision, Seen, Verb, answer, parse
from serve_app.gate import KubernetesView, SwitchRefused, hold
from tests.fake_kubernetes import FakeKubernetes, Reply, Request, fake_kubernetes, status

DECISIONS = [
    None,
    *(Decision(verb, by="ada", reason="slow", cluster=cluster) for verb in Verb for cluster in ("", "green", "other")),
]
EVERYTHING = [
    Seen("green", active, decision, ready)
    for active, decision, ready in itertools.product(("", "blue", "green"), DECISIONS, (0, 1, 3))
]


@pytest.mark.parametrize("seen", EVERYTHING, ids=str)
def test_it_never_opens_beside_what_serves_without_an_approval_of_this_cluster(seen: Seen) -> None:
    what, why = answer(seen)
    assert why
    if seen.active == "green":
        assert what is Answer.OPEN
    elif seen.active == "":
        assert what is (Answer.OPEN if seen.ready else Answer.WAIT)
    elif seen.decision is not None and seen.decision.cluster in ("", "green"):
        wanted = {
            Verb.HOLD: Answer.WAIT,
            Verb.REFUSE: Answer.REFUSE,
            Verb.APPROVE: Answer.OPEN if seen.ready else Answer.WAIT,
        }
        assert what is wanted[seen.decision.verb]
    else:
        assert what is Answer.WAIT


@pytest.mark.parametrize("decision", [one for one in DECISIONS if one], ids=str)
def test_a_decision_survives_the_config_map(decision: Decision) -> None:
    assert parse(decision.to_text()) == decision


@pytest.mark.parametrize("text", [None, "", "{}", "[]", "null", "approve", '{"verb": "yes"}', '{"by": "ada"}', "{"])
def test_what_nobody_can_read_decides_nothing(text: str | None) -> None:
    assert parse(text) is None


def test_what_a_later_version_adds_to_a_decision_is_passed_over() -> None:
    assert parse('{"verb": "approve", "by": "ada", "mood": "good"}') == Decision(Verb.APPROVE, by="ada")


@pytest.fixture
def account(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text("first\n")
    (tmp_path / "namespace").write_text("team-a\n")
    return tmp_path


@pytest.fixture
def kubernetes() -> Iterator[FakeKubernetes]:
    with fake_kubernetes() as fake:
        yield fake


def view(kubernetes: FakeKubernetes, account: Path) -> KubernetesView:
    return KubernetesView("llm", "llm-green", "abc", kubernetes.url, account)


def pod(ready: str) -> dict[str, object]:
    """Ready, not ready, or ``leaving``: then the pod still is what it was, and gets no traffic."""
    conditions = [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": ready}]
    about = {"name": "worker"}
    if ready == "leaving":
        about, conditions[1]["status"] = {**about, "deletionTimestamp": "2026-01-01T00:00:00Z"}, "True"
    return {"metadata": about, "status": {"conditions": conditions}}


def world(active: str | None, decision: Decision | None, *ready: str) -> dict[str, object]:
    base = "namespaces/team-a"
    return {
        f"/apis/ray.io/v1/{base}/rayservices/llm": {"status": {"activeServiceStatus": {"rayClusterName": active}}},
        f"/api/v1/{base}/configmaps/llm-decisions": {"data": {"abc": decision.to_text()} if decision else None},
        f"/api/v1/{base}/pods": {"items": [pod(one) for one in ready]},
    }


def test_it_reads_the_service_the_decision_and_the_ready_pods(kubernetes: FakeKubernetes, account: Path) -> None:
    there = world("llm-blue", Decision(Verb.APPROVE, by="ada"), "True", "False", "leaving")
    kubernetes.answer = lambda request: Reply(there[request.path])
    assert view(kubernetes, account).look() == Seen("llm-green", "llm-blue", Decision(Verb.APPROVE, by="ada"), 1)
    (account / "token").write_text("second")
    view(kubernetes, account).look()
    assert [one.headers["authorization"] for one in kubernetes.requests] == ["Bearer first"] * 3 + ["Bearer second"] * 3
    asked = next(one for one in kubernetes.requests if one.path.endswith("/pods"))
    assert asked.query == {"labelSelector": "ray.io/cluster=llm-green,ray.io/serve=true"}


def test_a_proxy_for_downloads_is_not_asked_for_the_api_server(
    kubernetes: FakeKubernetes, account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = world("llm-blue", None, "True")
    kubernetes.answer = lambda request: Reply(there[request.path])
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert view(kubernetes, account).look() == Seen("llm-green", "llm-blue", None, 1)


@pytest.mark.parametrize(
    "first",
    [status(503, "ServiceUnavailable", "away"), Reply(lines=iter([b'{"kind": ']), breaks=True), Reply(b"no JSON")],
    ids=["away", "half an answer", "another answer"],
)
def test_it_holds_through_an_api_server_that_is_away_until_it_is_approved(
    kubernetes: FakeKubernetes, account: Path, first: Reply
) -> None:
    now: list[dict[str, object] | Reply] = [first]

    def reply(request: Request) -> Reply:
        there = now[0]
        return there if isinstance(there, Reply) else Reply(there[request.path])

    kubernetes.answer = reply
    opened: list[str] = []
    gate = threading.Thread(target=lambda: opened.append(hold(view(kubernetes, account), poll_s=0.01)), daemon=True)
    gate.start()
    gate.join(0.1)
    now[0] = world("llm-blue", None, "True")
    gate.join(0.1)
    assert gate.is_alive()
    now[0] = world("llm-blue", Decision(Verb.APPROVE, by="ada"), "True")
    gate.join(10)
    assert opened == ["approved by ada; 1 ready endpoint"]


def test_a_refusal_is_an_exception_with_the_reason(kubernetes: FakeKubernetes, account: Path) -> None:
    there = world("llm-blue", Decision(Verb.REFUSE, by="ada", reason="its answers are wrong"), "True")
    kubernetes.answer = lambda request: Reply(there[request.path])
    with pytest.raises(SwitchRefused, match="refused by ada: its answers are wrong"):
        hold(view(kubernetes, account), poll_s=0.01)


def test_outside_kubernetes_there_is_nothing_to_hold() -> None:
    assert hold(None) == "not on Kubernetes"
