"""The switch, interrupted: commands killed in each phase, an operator that restarts, aborts of the last moment.

All of it beside streams, none of which may be dropped. One service for the whole file; the tests run in this order, and
each leaves the service serving. Times are printed (pytest -s) and are those in docs/rollouts.md.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from kuberay.api import kinds
from kuberay.rollout.proof.load import Load, through_api
from kuberay.rollout.proof.trips import Outcome
from tests.e2e.conftest import Kube, eventually
from tests.e2e.rollouts import (
    ABORT_S,
    START_S,
    WARM_S,
    WRONG,
    LongStream,
    Service,
    between,
    ended,
    in_a_namespace,
    load_of,
    verdict_of_last,
)

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1800)]

STREAMS = int(os.environ.get("SWITCHYARD_E2E_STREAMS", "300"))
"""Requests of one rollout; a larger machine does more in the same time."""
HELD_S = 120
SAID = re.compile(r"^ +\d+ s  (\w+) +(\S+)")
"""Progress: the phase, and the first word of what happens in it."""


@pytest.fixture(scope="module")
def service(kube: Kube, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with in_a_namespace(kube, tmp_path_factory.mktemp("interrupted"), Service) as made:
        record = made.run("rollout")
        assert record["outcome"] == "serves", record
        yield made


@contextmanager
def streams_that_all_end(service: Service) -> Iterator[None]:
    """Two streams with pauses beside, whatever becomes of the commands."""
    route = through_api(service.api, service.namespace, f"{service.name}-serve-svc", 8000)
    out = service.folder / f"beside-{time.monotonic_ns()}.jsonl"
    load = Load(route, out, streams=2, max_tokens=96, pause_s=1)
    load.start()
    try:
        yield
    finally:
        trips = load.stop()
    lost = [one for one in trips if one.outcome is not Outcome.FINISHED]
    print(f"\n{len(lost)} of {len(trips)} requests not finished, {len({one.release for one in trips})} releases")
    assert trips and not lost, lost


def killed_in_each_phase(service: Service, *words: str, more: dict[str, str] | None = None) -> list[str]:
    """Runs a command, kills it where it tells something new, runs it again, until it ends; what it had told."""
    told: list[str] = []
    while True:
        process = service.start(*words, more=more)
        assert process.stdout
        for line in process.stdout:
            found = SAID.match(line)
            if found and (what := f"{found[1]} {found[2]}" if found[1] == "decide" else found[1]) not in told:
                told.append(what)
                process.kill()
                break
        process.stdout.close()
        if process.wait(60) >= 0:
            return told


def last(service: Service) -> Any:
    """The newest revision."""
    return service.store.all()[-1]


def test_hundreds_of_streams_beside_a_release_that_is_held_for_minutes_and_promoted(service: Service) -> None:
    service.tokens = 32
    out = service.folder / "hundreds.jsonl"
    load = ("--load", "4", "--load-pause", "0.5", "--load-tokens", "64", "--load-out", str(out))
    process = service.start("rollout", "-o", "json", *load)
    verdict_of_last(service)
    time.sleep(HELD_S)
    eventually(lambda: len(out.read_text().splitlines()) > STREAMS, 3600, f"{STREAMS} requests")
    promoted = service.run("promote")
    record = ended(process, START_S)
    assert (promoted["outcome"], record["exit"], record["outcome"]) == ("serves", 0, "serves"), record
    assert between(record, "validated", "approved") > HELD_S
    found = load_of(service, record)
    assert found.sent > STREAMS and len(found.by_release) == 2, found


def test_a_rollout_whose_command_is_killed_in_each_phase_ends_as_it_would_have(service: Service) -> None:
    before = service.active()
    service.tokens = 33
    with streams_that_all_end(service):
        told = killed_in_each_phase(service, "rollout", "--auto")
    assert {"begin", "decide hold", "apply", "start", "validate", "warm", "decide approve", "open", "watch"} <= set(
        told
    )
    record = last(service)
    assert (record.outcome.value, record.verdict) == ("serves", "pass"), record
    assert service.active() == record.green.cluster and service.kept() >= {before, record.green.cluster}
    assert len([one for one in service.history() if one["green"]["release"] == record.green.release]) == 1
    print(f"killed in: {', '.join(told)}")


def test_the_operator_restarts_while_the_old_cluster_is_kept_and_the_way_back_stays_warm(service: Service) -> None:
    now, kept = service.active(), service.kept()
    (other,) = kept - {now}
    with streams_that_all_end(service):
        long = LongStream(service, service.long_answer())
        service.kube.restart_operator()
        time.sleep(15)
        for goal in (other, now):
            record = service.run("rollback", "--yes")
            assert (record["exit"], record["warm"], service.active()) == (0, True, goal), record
            assert record["seconds"]["ended"] <= WARM_S
            print(f"\nwarm: traffic after {record['seconds']['ended']:.1f} s")
        assert service.kept() <= kept, "no third cluster"
        assert long.ended().release == record["green"]["release"], "there and back, and it ended where it began"


def test_a_refusal_whose_command_is_killed_in_each_phase_ends_as_it_would_have(service: Service) -> None:
    before = service.active()
    with streams_that_all_end(service):
        told = killed_in_each_phase(service, "rollout", "--auto", more=WRONG)
    assert {"decide refuse", "apply", "back"} <= set(told) and "open" not in told
    record = last(service)
    assert (record.outcome.value, record.verdict) == ("aborted", "fail"), record
    eventually(lambda: service.clusters() == {before}, 60, "only what served to be left")
    ray = service.api.get(kinds.RAYSERVICE, service.name, service.namespace)
    assert ray["spec"]["upgradeStrategy"] == {"type": "NewCluster"} and service.active() == before


@pytest.mark.parametrize(("phase", "tokens"), [("approved", 34), ("switched", 35)])
def test_an_abort_in_the_middle_of_the_switch_leaves_blue_only(service: Service, phase: str, tokens: int) -> None:
    before = service.active()
    service.tokens = tokens
    service.kube.restart_operator()  # it served and retired before: else KubeRay would delete it at the switch
    with streams_that_all_end(service):
        process = service.start("rollout", "-o", "json")
        verdict_of_last(service)
        promoter = service.start("promote", "-o", "json")
        eventually(lambda: phase in last(service).times, 60, phase)
        begun = time.monotonic()
        record = service.run("abort", "-m", "at the last moment")
        took = time.monotonic() - begun
        assert (record["exit"], record["outcome"]) in [(0, "aborted"), (0, "rolled back")], record
        for one in (process, promoter):
            assert json.loads(one.communicate(timeout=60)[0])["outcome"] == record["outcome"]
        assert service.active() == before and service.clusters() == {before}
        print(f"\nabort when it was {phase}: {record['outcome']}, blue only after {took:.1f} s")
        assert between(record, "back", "ended") <= ABORT_S
