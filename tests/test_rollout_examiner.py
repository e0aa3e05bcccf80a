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
from kuberay.rollout_config import Rollout
from tests.kubernetes_memory import Memory
from tests.rollout_world import rollout

POD = "/api/v1/namespaces/team-a/pods/green-worker"
LABELS = {"ray.io/cluster": "green", "ray.io/node-type": "worker"}
RELEASE = "/api/v1/namespaces/team-a/configmaps/llm-release-new"
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
    memory: Memory,
    monkeypatch: pytest.MonkeyPatch,
    record: Record,
    settings: dict[str, Any],
    lacks: bool,
) -> None:
    monkeypatch.delenv("SWITCHYARD_API_KEY", raising=False)
    assert not examiner(api, settings).lacks_key(record), "the release wants none"
    data = {CONFIG_KEY: "serving: {api_keys_file: /etc/keys}"}
    memory.objects[RELEASE] = {"metadata": {"name": "llm-release-new"}, "data": data}
    assert examiner(api, settings).lacks_key(record) == lacks
    monkeypatch.setenv("SWITCHYARD_API_KEY", "secret")
    assert not examiner(api, settings).lacks_key(record)
