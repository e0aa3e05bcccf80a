"""The switch on a real cluster: held, validated, promoted, aborted, rolled back, beside streams that must all end.

One service for the whole file; the tests run in this order, and each leaves the service serving. Times are printed
(pytest -s) and are those in docs/rollouts.md. All are marked slow: beside streams that fill two cores, a second vLLM
takes up to five minutes to start.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kuberay import kinds
from kuberay.api import Api
from kuberay.rollout.account import Account, account
from kuberay.rollout.proof import loads
from kuberay.rollout.store import Store
from kuberay.snapshot import dig
from tests.e2e.conftest import Kube, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
FILE = "deploy/e2e.yaml"
START_S = 600
STREAMS = 3
SWITCH_S, ABORT_S, WARM_S = 10, 30, 15
"""What the project promises: decision to traffic, abort to freed GPUs, warm rollback to traffic."""
WRONG = {"SWITCHYARD__ENGINE__OPTIONS": '{"enforce_eager": true, "load_format": "dummy", "seed": 7}'}
"""Other random weights under the same name: a release that answers, and answers wrongly."""


@dataclass
class Service:
    """The service under test."""

    kube: Kube
    api: Api
    namespace: str
    folder: Path
    name: str = "llm"
    tokens: int = 64

    def environ(self, more: dict[str, str] | None) -> dict[str, str]:
        release = {"SWITCHYARD__SERVING__DEFAULTS__MAX_TOKENS": str(self.tokens)}
        # Two clusters side by side fill the machine: neither may grow.
        release["SWITCHYARD__SCALING__MAX_REPLICAS"] = "1"
        place = {"SWITCHYARD__KUBERNETES__NAMESPACE": self.namespace, "KUBECONFIG": str(self.kube.kubeconfig)}
        return {**os.environ, **place, "COLUMNS": "160", **release, **(more or {})}

    def start(self, *arguments: str, more: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """A ``switchyard`` command that goes on by itself."""
        command = [str(Path(sys.executable).with_name("switchyard")), arguments[0], *arguments[1:], "-f", FILE]
        log = (self.folder / f"{arguments[0]}-{time.monotonic_ns()}.log").open("w")
        return subprocess.Popen(
            command, cwd=ROOT, env=self.environ(more), stdout=subprocess.PIPE, stderr=log, text=True
        )

    def run(self, *arguments: str, more: dict[str, str] | None = None) -> dict[str, Any]:
        """A command to its end; the record it leaves, with its exit code."""
        return ended(self.start(*arguments, "-o", "json", more=more), START_S)

    def history(self) -> list[dict[str, Any]]:
        process = self.start("history", "-o", "json")
        return json.loads(process.communicate(timeout=60)[0])

    def active(self) -> str:
        service = self.api.get(kinds.RAYSERVICE, self.name, self.namespace)
        return dig(service, "status", "activeServiceStatus", "rayClusterName", default="")

    def clusters(self) -> set[str]:
        """RayClusters that have pods, or will."""
        pods = self.api.list(kinds.POD, self.namespace, selector=f"app.kubernetes.io/instance={self.name}")
        made = self.api.list(kinds.RAYCLUSTER, self.namespace)
        return {pod["metadata"]["labels"]["ray.io/cluster"] for pod in pods} | {
            one["metadata"]["name"] for one in made if "deletionTimestamp" not in one["metadata"]
        }

    def answer(self, **body: Any) -> dict[str, Any]:
        """One request through the Service."""
        sent = {"prompt": "One two three", "max_tokens": 12, "temperature": 0} | body
        path = f"{self.name}-serve-svc"
        answer = self.api.via_service("POST", path, 8000, "/generate", self.namespace, body=sent, read_s=60)
        return json.loads(answer.body)


def ended(process: subprocess.Popen[str], timeout_s: float) -> dict[str, Any]:
    out, _ = process.communicate(timeout=timeout_s)
    assert out, Path(process.stderr.name).read_text() if process.stderr else f"exit {process.returncode}, no output"
    return json.loads(out) | {"exit": process.returncode}


def between(record: dict[str, Any], one: str, other: str) -> float:
    """Seconds between two phases of a rollout."""
    return record["seconds"][other] - record["seconds"][one]


def load_of(service: Service, record: dict[str, Any]) -> Account:
    """What the proof load saw, as it is kept with the revision; nothing may have been dropped."""
    store = Store(service.api, service.namespace, service.name)
    kept, data = store.kept(record["number"])
    (load,) = loads(data)
    found = account(load.trips, kept)
    print(f"\n{found.sentence}")
    assert (found.dropped, found.sent > 0) == (0, True), found
    return found


@pytest.fixture(scope="module")
def service(kube: Kube, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with kube.namespace("rollout") as namespace:
        api = Api.connect(kubeconfig=str(kube.kubeconfig))
        yield Service(kube, api, namespace, tmp_path_factory.mktemp("rollout"))


def test_the_first_release_needs_no_decision(service: Service) -> None:
    record = service.run("rollout")
    assert (record["exit"], record["outcome"], record["verdict"]) == (0, "serves", "")
    assert service.answer()["usage"]["completion_tokens"] == 12
    print(f"\nfirst install: {record['seconds']['switched']:.0f} s")


def test_a_good_release_is_promoted_by_its_verdict_beside_streams(service: Service) -> None:
    before = service.active()
    service.tokens = 32
    record = service.run("rollout", "--auto", "--load", str(STREAMS))
    assert (record["exit"], record["outcome"], record["verdict"]) == (0, "serves", "pass"), record
    took = between(record, "approved", "switched")
    print(f"\nready after {record['seconds']['held']:.0f} s, decision to traffic {took:.1f} s")
    assert took <= SWITCH_S
    load = load_of(service, record)
    assert set(load.by_release) >= {record["blue"]["release"], record["green"]["release"]}
    assert before in service.clusters(), "it is kept, for a warm way back"
    assert service.answer()["release"] == record["green"]["release"]


def test_a_warm_rollback_and_forward_again_drop_nothing(service: Service) -> None:
    now, kept = service.active(), service.clusters()
    for goal in [next(iter(kept - {now})), now]:
        record = service.run("rollback", "--yes", "--load", str(STREAMS))
        assert (record["exit"], record["warm"], service.active()) == (0, True, goal), record
        print(f"\nwarm: traffic after {record['seconds']['ended']:.1f} s")
        assert record["seconds"]["ended"] <= WARM_S
        load_of(service, record)
    assert service.clusters() == kept, "no third cluster"


def test_a_held_release_survives_its_operator_and_its_command_and_is_promoted_from_elsewhere(service: Service) -> None:
    before = service.active()
    service.tokens = 48
    process = service.start("rollout")
    held = lambda: (last := service.history()[-1])["outcome"] == "" and last["verdict"]  # noqa: E731
    eventually(held, START_S, "a verdict")
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    for pod in service.api.list(kinds.POD, selector="app.kubernetes.io/name=kuberay-operator"):
        service.api.delete(kinds.POD, pod["metadata"]["name"], pod["metadata"]["namespace"])
    time.sleep(15)
    assert service.active() == before, "nobody decided"
    preview = service.api.get(kinds.SERVICE, "llm-preview", service.namespace)
    green = preview["spec"]["selector"]["ray.io/cluster"]
    assert green != before
    # Whoever deploys meanwhile is told, and changes nothing.
    refused = service.start("deploy")
    refused.communicate(timeout=120)
    assert refused.returncode == 1 and service.active() == before
    record = service.run("promote", "--load", str(STREAMS))
    assert (record["exit"], record["outcome"], service.active()) == (0, "serves", green), record
    print(f"\npromoted: decision to traffic {between(record, 'approved', 'switched'):.1f} s")
    assert between(record, "approved", "switched") <= SWITCH_S
    load_of(service, record)


def test_wrong_answers_are_refused_and_the_gpus_are_free_again(service: Service) -> None:
    before = service.active()
    record = service.run("rollout", "--auto", "--load", str(STREAMS), more=WRONG)
    assert (record["exit"], record["outcome"], record["verdict"]) == (1, "aborted", "fail"), record
    assert service.active() == before
    assert record["green"]["cluster"] not in service.clusters()
    freed = between(record, "back", "ended")
    print(f"\nverdict to freed GPUs {freed:.1f} s")
    assert freed <= ABORT_S
    load_of(service, record)
    third = [name for name in service.clusters() if name != before]
    assert all(name in {one["green"]["cluster"] for one in service.history()} for name in third), "no third cluster"


def test_a_release_that_is_not_ready_in_time_is_taken_back(service: Service) -> None:
    before = service.active()
    service.tokens = 96
    record = service.run("rollout", "--auto", more={"SWITCHYARD__ROLLOUT__START_S": "20"})
    assert (record["exit"], record["outcome"]) == (1, "aborted")
    assert "not ready after 20 s" in record["why"]
    assert service.active() == before and record["green"]["cluster"] not in service.clusters()


def test_an_abort_from_elsewhere_ends_a_rollout_that_still_starts(service: Service) -> None:
    before = service.active()
    service.tokens = 97
    process = service.start("rollout", "-o", "json")
    eventually(lambda: service.history()[-1]["green"]["cluster"] and len(service.clusters()) > 1, 120, "green")
    begun = time.monotonic()
    record = service.run("abort", "-m", "changed my mind")
    print(f"\nabort while it starts: {time.monotonic() - begun:.0f} s")
    assert (record["exit"], record["outcome"]) == (0, "aborted")
    assert ended(process, 60)["outcome"] == "aborted"
    assert service.active() == before and record["green"]["cluster"] not in service.clusters()


def test_a_bad_release_that_was_promoted_is_rolled_back_by_the_watch(service: Service) -> None:
    before, text = service.active(), service.answer()["text"]
    golden = [{"prompt": "One two three", "max_tokens": 12, "expect": {"equals": text}}]
    settings = {
        "SWITCHYARD__ROLLOUT__CHECKS__GOLDEN__PROMPTS": json.dumps(golden),
        "SWITCHYARD__ROLLOUT__CHECKS__GOLDEN__ENABLED": "false",
        "SWITCHYARD__ROLLOUT__CHECKS__ANSWERS__ENABLED": "false",
    }
    record = service.run("rollout", "--auto", "--load", str(STREAMS), more=WRONG | settings)
    assert (record["exit"], record["outcome"], record["verdict"]) == (1, "rolled back", "pass"), record
    assert service.active() == before
    print(f"\nbreach to traffic on blue {between(record, 'breached', 'ended'):.1f} s")
    load_of(service, record)


def test_a_cold_rollback_starts_the_old_release_again(service: Service) -> None:
    now = service.active()
    eventually(lambda: service.clusters() == {now}, 300, "the old cluster to be gone")
    first = service.history()[0]["green"]["release"]
    record = service.run("rollback", "1", "--yes", "--load", str(STREAMS))
    assert (record["exit"], record["warm"], record["green"]["release"]) == (0, False, first), record
    print(f"\ncold: traffic after {record['seconds']['switched']:.0f} s")
    load_of(service, record)
