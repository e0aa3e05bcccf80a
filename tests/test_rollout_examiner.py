"""What the examiner can tell without asking a release anything: that nobody answers, and that a key is needed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kuberay.api.client import Api
from kuberay.release import CONFIG_KEY
from kuberay.rollout.examiner import Examiner
from kuberay.rollout.record import Kind, Place, Record, Verb, Wish
from kuberay.rollout.validation import checks
from kuberay.rollout_config import Rollout
from tests.kubernetes_memory import Memory
from tests.rollout_world import rollout

POD = "/api/v1/namespaces/team-a/pods/green-worker"
LABELS = {"ray.io/cluster": "green", "ray.io/node-type": "worker", "ray.io/serve": "true"}
GOLDEN = {"checks": {"golden": {"prompts": [{"prompt": "The capital of France is", "expect": {"contains": "Paris"}}]}}}


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def api(memory: Memory, tmp_path: Path) -> Iterator[Api]:
    with memory.served() as fake:
        yield Api.connect(kubeconfig=fake.kubeconfig(tmp_path), environ={})


def pod(ready: str) -> dict[str, Any]:
    return {"metadata": {"name": "green-worker", "labels": LABELS}, "status": {"conditions": [condition(ready)]}}


def condition(ready: str) -> dict[str, str]:
    return {"type": "Ready", "status": ready}


def examiner(api: Api, settings: dict[str, Any] | None = None, said: list[str] | None = None) -> Examiner:
    def say(phase: str, text: str) -> None:
        if said is not None:
            said.append(text)

    return Examiner(api, "team-a", "llm", Rollout.model_validate(settings or {}), say, gone_s=1.5)


@pytest.mark.parametrize("kind", ["worker", "head"])
def test_what_answers_is_watched_also_where_a_service_is_scaled_to_none_and_its_head_answers(
    api: Api, memory: Memory, kind: str
) -> None:
    memory.objects[POD] = pod("True")
    memory.objects[POD]["metadata"]["labels"] = LABELS | {"ray.io/node-type": kind}
    assert examiner(api).watch(rollout(), "green", 0.1) == ""


def test_golden_prompts_without_an_answer_are_a_breach_only_if_that_lasts(
    api: Api, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port-forward that breaks, or a pod on its way out, is no wrong answer."""
    memory.objects[POD] = pod("True")
    cut: tuple[list[str], list[str]] = ([], ["prompt 1: cut"])
    answers = [cut, ([], []), cut, cut, (["prompt 1: no"], [])]
    monkeypatch.setattr(Examiner, "_place", lambda *_: None)
    monkeypatch.setattr(checks, "golden_failures", lambda *_: answers.pop(0))
    watched = examiner(api, GOLDEN)
    found = [watched.watch(rollout(), "green", 0.01) for _ in range(5)]
    assert found == ["", "", "", "wrong answers: prompt 1: cut", "wrong answers: prompt 1: no"]


def test_greens_endpoints_are_counted_when_all_may_have_come(api: Api, memory: Memory) -> None:
    path = POD.removesuffix("green-worker")
    for name in ("blue-1", "blue-2", "green-1", "green-2"):
        memory.objects[path + name] = pod("True" if name != "green-2" else "False")
        labels = LABELS | {"ray.io/cluster": name.partition("-")[0]}
        memory.objects[path + name]["metadata"] = {"name": name, "labels": labels}
    few = examiner(api)
    assert few._counted("green", "blue") == (1, 2)  # pyright: ignore[reportPrivateUsage]
    come = memory.objects[path + "green-2"] | {"status": {"conditions": [condition("True")]}}
    threading.Timer(0.3, lambda: memory.objects.update({path + "green-2": come})).start()
    assert few._counted("green", "blue") == (2, 2)  # pyright: ignore[reportPrivateUsage]


def test_a_cluster_without_a_ready_endpoint_is_a_breach_and_one_that_was_away_for_a_moment_is_none(
    api: Api, memory: Memory
) -> None:
    """There are no counters then, which would otherwise say that all is well."""
    memory.objects[POD] = pod("False")
    begun = time.monotonic()
    assert examiner(api, GOLDEN).watch(rollout(), "green", 60) == "no endpoint of green is ready"
    assert time.monotonic() - begun >= 1.5
    threading.Timer(0.3, lambda: memory.objects.update({POD: pod("True")})).start()
    said: list[str] = []
    assert examiner(api, said=said).watch(rollout(), "green", 0.1) == ""
    assert "0 requests since the switch" in said[0]


@pytest.mark.parametrize(
    ("record", "settings", "lacks"),
    [
        (rollout(), {}, True),
        (rollout(verdict="pass"), {}, False),
        (rollout(verdict="pass"), GOLDEN, True),
        (rollout(verdict="pass"), {**GOLDEN, "watch": {"golden": False}}, False),
        (rollout(wish=Wish(Verb.PROMOTE, "ada", "it must", True)), {}, False),
        (rollout(wish=Wish(Verb.ABORT, "ada")), GOLDEN, False),
        (rollout(back="errors"), GOLDEN, False),
        (rollout(kind=Kind.ROLLBACK), GOLDEN, False),
        (rollout(blue=Place()), GOLDEN, False),
    ],
    ids=["validation", "watch", "golden", "no golden", "forced", "abort", "back", "rollback", "first install"],
)
def test_a_key_that_is_needed_and_not_there_is_told_before_anything_is_asked(
    api: Api,
    monkeypatch: pytest.MonkeyPatch,
    record: Record,
    settings: dict[str, Any],
    lacks: bool,
) -> None:
    monkeypatch.delenv("SWITCHYARD_API_KEY", raising=False)
    about = {"kind": "ConfigMap", "metadata": {"name": "llm-release-new"}}
    open_to_all, wanted = (about | {"data": {CONFIG_KEY: text}} for text in ("{}", "serving: {api_keys_file: /keys}"))
    assert not examiner(api, settings).lacks_key(record, [open_to_all]), "the release wants none"
    assert examiner(api, settings).lacks_key(record, [wanted]) == lacks
    monkeypatch.setenv("SWITCHYARD_API_KEY", "secret")
    assert not examiner(api, settings).lacks_key(record, [wanted])
