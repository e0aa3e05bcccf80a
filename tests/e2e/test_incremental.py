"""The incremental strategy on a real cluster: held, canary, back from 99 per cent, promoted, beside a stream.

The Gateway API's implementation is Traefik, which the first time takes minutes to build. One service for the whole
file; the tests run in this order. Times are printed (pytest -s) and are those in docs/rollouts.md.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from kuberay.api import kinds
from kuberay.names import INCREMENTAL
from kuberay.rollout.proof.account import account
from kuberay.rollout.proof.during import loads
from kuberay.snapshot import dig
from tests.e2e.conftest import Kube
from tests.e2e.rollouts import WRONG, Service, between, in_a_namespace, load_of

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

BACK_S, STEP_S = 15, 10
"""What the project promises: from abort to traffic on blue, and from approval to the first step."""
LOAD = ("--load", "1", "--load-tokens", "64")
"""One stream, begun when green is there: it leaves two cores room for the rest."""


@dataclass
class Gradual(Service):
    """The service, with the incremental strategy."""

    gateway_class: str = ""

    def environ(self, more: dict[str, str] | None) -> dict[str, str]:
        upgrade = {"strategy": INCREMENTAL, "gateway_class": self.gateway_class, "step_size_percent": 20}
        own = {
            "SWITCHYARD__KUBERNETES__UPGRADE": json.dumps(upgrade),
            "SWITCHYARD__ROLLOUT__CANARY": json.dumps({"stops": [10, 99], "seconds": 5}),
            "SWITCHYARD__ROLLOUT__WATCH__SECONDS": "15",
        }
        return super().environ({**own, **(more or {})})

    def rayservice(self) -> Any:
        return self.api.get(kinds.RAYSERVICE, self.name, self.namespace)

    def pace(self) -> tuple[int, int]:
        options = dig(self.rayservice(), "spec", "upgradeStrategy", "clusterUpgradeOptions")
        return options["stepSizePercent"], options["intervalSeconds"]

    def weights(self) -> dict[str, int]:
        """Per cent of the traffic by cluster, as the route says."""
        route = self.api.get(kinds.HTTPROUTE, f"{self.name}-httproute", self.namespace)
        [rule] = route["spec"]["rules"]
        return {one["name"].removesuffix("-serve-svc"): one["weight"] for one in rule["backendRefs"]}

    def answer(self, **body: Any) -> dict[str, Any]:
        """One request through the Gateway."""
        gateway = self.api.get(kinds.GATEWAY, f"{self.name}-gateway", self.namespace)
        url = f"http://{gateway['status']['addresses'][0]['value']}/generate"
        sent = {"prompt": "One two three", "max_tokens": 12, "temperature": 0} | body
        request = urllib.request.Request(url, json.dumps(sent).encode(), {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def asked(self) -> str:
        """The release that answers."""
        return self.answer(max_tokens=1)["release"]


@pytest.fixture(scope="module")
def service(kube: Kube, gateway_class: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gradual]:
    with in_a_namespace(kube, tmp_path_factory.mktemp("incremental"), Gradual) as made:
        made.gateway_class = gateway_class
        yield made


def test_the_first_release_needs_no_decision(service: Gradual) -> None:
    record = service.run("rollout")
    assert (record["exit"], record["outcome"]) == (0, "serves")
    assert service.pace() == (20, 120), "the file's own"
    assert service.asked() == record["green"]["release"]
    print(f"\nfirst install: {record['seconds']['switched']:.0f} s")


def test_a_canary_is_held_at_nothing_and_at_ten_per_cent(service: Gradual) -> None:
    blue = service.active()
    service.tokens = 32
    record = service.run("rollout", "--no-wait")
    assert (record["exit"], record["outcome"], record["verdict"]) == (0, "", "pass"), record
    green = record["green"]["cluster"]
    print(f"\nheld after {record['seconds']['held']:.0f} s")
    assert (service.weights(), service.active()) == ({blue: 100, green: 0}, blue)
    record = service.run("promote", "--to", "10", *LOAD)
    assert (record["exit"], record["outcome"]) == (0, ""), record
    print(f"approved to 10 %: {between(record, 'approved', 'canary-10'):.1f} s")
    assert between(record, "approved", "canary-10") <= STEP_S
    # Nobody holds it but the interval that never passes; an operator that begins anew does not forget it.
    service.kube.restart_operator()
    time.sleep(20)
    assert service.weights() == {blue: 90, green: 10}
    answers = [service.asked() for _ in range(40)]
    assert {record["blue"]["release"], record["green"]["release"]} >= set(answers)
    assert 1 <= answers.count(record["green"]["release"]) <= 12, "about one in ten"
    assert load_of(service, record).dropped == 0


def test_it_is_rolled_back_from_99_per_cent_in_one_step(service: Gradual) -> None:
    record = service.run("promote", "--to", "99", *LOAD)
    blue, green = record["blue"]["cluster"], record["green"]["cluster"]
    assert service.weights() == {blue: 1, green: 99}
    record = service.run("abort", "-m", "not good enough", *LOAD)
    assert (record["exit"], record["outcome"], record["why"]) == (0, "rolled back", record["back"]), record
    took = between(record, "back", "returned")
    print(f"\nabort at 99 % to all traffic on blue {took:.1f} s, green gone {between(record, 'back', 'ended'):.1f} s")
    assert took <= BACK_S
    assert (service.weights(), service.active(), service.clusters()) == ({blue: 100}, blue, {blue})
    assert service.pace() == (20, 120) and service.asked() == record["blue"]["release"]
    kept, data = service.store.kept(record["number"])
    sent = loads(data)
    found = account([trip for one in sent for trip in one.trips], kept)
    print(found.sentence)
    assert (len(sent), found.dropped) == (3, 0), "that of each command"


def test_what_goes_wrong_at_a_stop_takes_it_back(service: Gradual) -> None:
    blue = service.active()
    golden = [{"prompt": "One two three", "max_tokens": 12, "expect": {"equals": service.answer()["text"]}}]
    settings = {
        "SWITCHYARD__ROLLOUT__CHECKS__GOLDEN__PROMPTS": json.dumps(golden),
        "SWITCHYARD__ROLLOUT__CHECKS__GOLDEN__ENABLED": "false",
        "SWITCHYARD__ROLLOUT__CHECKS__ANSWERS__ENABLED": "false",
    }
    record = service.run("rollout", "--auto", more=WRONG | settings)
    assert (record["exit"], record["outcome"], record["verdict"]) == (1, "rolled back", "pass"), record
    assert "canary-10" in record["times"] and "canary-99" not in record["times"], "at the first stop"
    print(f"\nbreach to all traffic on blue {between(record, 'breached', 'returned'):.1f} s")
    assert (service.weights(), service.active(), service.clusters()) == ({blue: 100}, blue, {blue})


def test_a_good_release_goes_from_stop_to_stop(service: Gradual) -> None:
    blue = service.active()
    service.tokens = 48
    record = service.run("rollout", "--no-wait")
    record = service.run("promote", *LOAD)
    green = record["green"]["cluster"]
    assert (record["exit"], record["outcome"], service.active()) == (0, "serves", green), record
    marks = [record["seconds"][one] for one in ("approved", "canary-10", "canary-99", "switched")]
    print(f"\napproved, 10 %, 99 %, promoted: {', '.join(f'{one - marks[0]:.1f} s' for one in marks)}")
    assert marks == sorted(marks) and marks[3] - marks[2] >= 15, "watched at the last stop"
    assert service.weights() == {green: 100} and service.pace() == (20, 120)
    load = load_of(service, record)
    assert set(load.by_release) >= {record["blue"]["release"], record["green"]["release"]}
    assert blue != green and service.asked() == record["green"]["release"]
