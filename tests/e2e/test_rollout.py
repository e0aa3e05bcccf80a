"""The switch on a real cluster: held, validated, promoted, aborted, rolled back, beside streams that must all end.

One service for the whole file; the tests run in this order, and each leaves the service serving. Times are printed
(pytest -s) and are those in docs/rollouts.md. Those marked slow start one more release each, or wait for a cluster to
go: a minute or three.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator

import psutil
import pytest

from kuberay.api import kinds
from kuberay.rollout.proof.during import AFTER_S
from tests.e2e.conftest import Kube, eventually
from tests.e2e.kube import holder
from tests.e2e.rights import somebody
from tests.e2e.rollouts import (
    ABORT_S,
    GATE_S,
    LOAD,
    LONG_S,
    OPTIONS,
    START_S,
    SWITCH_S,
    WARM_S,
    WRONG,
    LongStream,
    Service,
    between,
    ended,
    held_back,
    in_a_namespace,
    load_of,
    verdict_of_last,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

DEEP = {**OPTIONS, "load_format": "dummy", "hf_overrides": {**OPTIONS["hf_overrides"], "num_hidden_layers": 24}}
SLOW = {
    "SWITCHYARD__ENGINE__OPTIONS": json.dumps(DEEP),  # twelve times the layers
    "SWITCHYARD__MODEL__MAX_MODEL_LEN": "2048",  # their cache for one request of the longest has to fit
    "SWITCHYARD__ROLLOUT__CHECKS__ANSWERS__ENABLED": "false",
    "SWITCHYARD__ROLLOUT__CHECKS__LATENCY__MAX_E2E_RATIO": "2",
    "SWITCHYARD__ROLLOUT__CHECKS__LATENCY__MAX_TOKENS": "64",
}


@pytest.fixture(scope="module")
def service(kube: Kube, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with in_a_namespace(kube, tmp_path_factory.mktemp("rollout"), Service) as made:
        yield made


def test_the_first_release_needs_no_decision(service: Service) -> None:
    process = service.start("rollout", "-o", "json")
    gate = service.gate_alone(process)
    record = ended(process, START_S)
    assert (record["exit"], record["outcome"], record["verdict"]) == (0, "serves", "")
    assert service.answer()["usage"]["completion_tokens"] == 12
    print(f"\nfirst install: {record['seconds']['switched']:.0f} s, of them for its gate alone {gate:.1f} s")
    assert gate <= GATE_S
    again = service.run("rollout")
    assert (again["exit"], again["number"]) == (0, record["number"]), "it serves, and there is nothing to do"


def test_a_good_release_is_promoted_by_its_verdict_beside_streams(service: Service) -> None:
    before = service.active()
    service.tokens = 32
    record = service.run("rollout", "--auto", *LOAD)
    assert (record["exit"], record["outcome"], record["verdict"]) == (0, "serves", "pass"), record
    service.retired = time.monotonic() - AFTER_S - between(record, "switched", "ended")
    took = between(record, "approved", "switched")
    print(f"\nready after {record['seconds']['held']:.0f} s, decision to traffic {took:.1f} s")
    assert took <= SWITCH_S
    load = load_of(service, record)
    assert set(load.by_release) >= {record["blue"]["release"], record["green"]["release"]}
    assert before in service.clusters(), "it is kept, for a warm way back"
    assert service.answer()["release"] == record["green"]["release"]


@pytest.mark.slow
def test_there_and_back_again_streams_end_where_they_began(service: Service) -> None:
    """The operator never forgets a deletion timer: a cluster that retires again after its first one goes at once."""
    one, kept, tokens = service.active(), service.kept(), service.long_answer()
    (other,) = kept - {one}

    def swap(goal: str) -> None:
        record = service.run("rollback", "--yes", *LOAD)
        assert (record["exit"], record["warm"], service.active()) == (0, True, goal), record
        print(f"\nwarm: traffic after {record['seconds']['ended']:.1f} s")
        assert record["seconds"]["ended"] <= WARM_S
        load_of(service, record)

    first = LongStream(service, tokens)
    swap(other)
    assert service.kept() == kept, "no third cluster"
    delay = service.api.get(kinds.RAYSERVICE, "llm", service.namespace)["spec"]["rayClusterDeletionDelaySeconds"]
    time.sleep(max(0.0, service.retired + delay - time.monotonic()))
    second = LongStream(service, tokens)
    swap(one)
    eventually(lambda: other not in service.kept(), 30, "the cluster to be deleted, its timer being long over")
    assert second.ended().release != service.answer()["release"], "it ended where it began, on pods that were leaving"
    assert first.ended().ended - first.ended().sent > LONG_S
    eventually(lambda: service.clusters() == {one}, 60, "the pods to go")


def test_a_held_release_survives_its_operator_and_its_command_and_is_promoted_from_elsewhere(service: Service) -> None:
    before = service.active()
    service.tokens = 48
    process = service.start("rollout")
    verdict_of_last(service)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    service.kube.restart_operator()
    time.sleep(15)
    assert service.active() == before, "nobody decided"
    preview = service.api.get(kinds.SERVICE, "llm-preview", service.namespace)
    green = preview["spec"]["selector"]["ray.io/cluster"]
    assert green != before
    # Whoever deploys meanwhile is told, and changes nothing.
    refused = service.start("deploy")
    refused.communicate(timeout=120)
    assert refused.returncode == 1 and service.active() == before
    long = LongStream(service, service.long_answer())
    record = service.run("promote", *LOAD)
    assert (record["exit"], record["outcome"], service.active()) == (0, "serves", green), record
    print(f"\npromoted: decision to traffic {between(record, 'approved', 'switched'):.1f} s")
    assert between(record, "approved", "switched") <= SWITCH_S
    load_of(service, record)
    assert long.ended().release == record["blue"]["release"]


def test_who_may_only_look_sees_the_history_and_the_report(service: Service) -> None:
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}]
    looker = somebody(service.kube, service.api, service.namespace, service.folder, "looker", rules)
    for words in (["history", "-o", "json"], ["report", "-o", "json"], ["diff", "--revisions", "1", "2"]):
        process = service.start(*words, more={"KUBECONFIG": str(looker)})
        said, _ = process.communicate(timeout=60)
        assert process.returncode == (2 if words[0] == "diff" else 0) and said, words
    process = service.start("abort", "-m", "not mine to end", more={"KUBECONFIG": str(looker)})
    process.communicate(timeout=60)
    assert process.returncode == 1


def test_wrong_answers_are_refused_and_the_gpus_are_free_again(service: Service) -> None:
    before = service.active()
    record = service.run("rollout", "--auto", *LOAD, more=WRONG)
    assert (record["exit"], record["outcome"], record["verdict"]) == (1, "aborted", "fail"), record
    assert service.active() == before
    assert record["green"]["cluster"] not in service.clusters()
    freed = between(record, "back", "ended")
    print(f"\nverdict to freed GPUs {freed:.1f} s")
    assert freed <= ABORT_S
    load_of(service, record)
    third = [name for name in service.clusters() if name != before]
    assert all(name in {one["green"]["cluster"] for one in service.history()} for name in third), "no third cluster"


def test_a_bad_release_that_was_promoted_is_rolled_back_by_the_watch(service: Service) -> None:
    before, text = service.active(), service.answer()["text"]
    golden = [{"prompt": "One two three", "max_tokens": 12, "expect": {"equals": text}}]
    settings = {
        "SWITCHYARD__ROLLOUT__CHECKS__GOLDEN__PROMPTS": json.dumps(golden),
        "SWITCHYARD__ROLLOUT__CHECKS__GOLDEN__ENABLED": "false",
        "SWITCHYARD__ROLLOUT__CHECKS__ANSWERS__ENABLED": "false",
    }
    record = service.run("rollout", "--auto", *LOAD, more=WRONG | settings)
    assert (record["exit"], record["outcome"], record["verdict"]) == (1, "rolled back", "pass"), record
    assert service.active() == before
    print(f"\nbreach to traffic on blue {between(record, 'breached', 'ended'):.1f} s")
    load_of(service, record)


@pytest.mark.slow
def test_a_release_that_dies_while_it_is_watched_is_rolled_back(service: Service) -> None:
    before = service.active()
    service.kube.restart_operator()  # it forgets when blue retired before, after which it would delete it at the switch
    service.tokens = 98
    process = service.start("rollout", "--auto", "-o", "json", more={"SWITCHYARD__ROLLOUT__WATCH__SECONDS": "120"})
    eventually(lambda: (last := service.store.all()[-1]).running and "switched" in last.times, START_S, "the switch")
    green = service.active()
    workers = service.api.list(kinds.POD, service.namespace, selector=f"ray.io/cluster={green},ray.io/node-type=worker")
    begun = time.monotonic()
    for pod in workers:
        service.api.delete(kinds.POD, pod["metadata"]["name"], service.namespace)
    record = ended(process, 300)
    print(f"\nall workers lost until blue has the traffic: {time.monotonic() - begun:.0f} s")
    assert (record["exit"], record["outcome"]) == (1, "rolled back"), record
    assert record["why"] == f"no endpoint of {green} is ready"
    assert service.active() == before and service.answer()["text"]


@pytest.mark.slow
def test_a_slow_release_is_refused_by_the_comparison(service: Service) -> None:
    before = service.active()
    record = service.run("rollout", "--auto", *LOAD, more=SLOW)
    assert (record["exit"], record["outcome"], record["verdict"]) == (1, "aborted", "fail"), record
    report = json.loads(service.start("report", str(record["number"]), "-o", "json").communicate(timeout=60)[0])
    findings = report["verdict_document"]["findings"]
    assert [one["check"] for one in findings if one["outcome"] == "fail"] == ["latency"], findings
    assert service.active() == before and record["green"]["cluster"] not in service.clusters()
    load_of(service, record)


@pytest.mark.slow
def test_two_commands_at_once_make_one_rollout_and_the_api_server_may_be_away(service: Service, kube: Kube) -> None:
    before = service.active()
    service.tokens = 80
    both = [service.start("rollout", "--auto", "-o", "json") for _ in range(2)]
    eventually(lambda: len(service.clusters() - {before}) > 0, 120, "green")
    if kube.local:
        (api,) = (one for one in psutil.Process(holder.init_pid()).children() if one.name() == "kube-apiserver")
        with held_back(api):
            time.sleep(30)
    records = [ended(process, START_S) for process in both]
    assert [(one["exit"], one["outcome"]) for one in records] == [(0, "serves")] * 2, records
    assert records[0]["number"] == records[1]["number"]
    made = [one for one in service.history() if one["green"]["release"] == records[0]["green"]["release"]]
    assert len(made) == 1 and service.active() == made[0]["green"]["cluster"]


@pytest.mark.slow
def test_a_release_that_is_not_ready_in_time_is_taken_back(service: Service) -> None:
    before = service.active()
    service.tokens = 96
    record = service.run("rollout", "--auto", more={"SWITCHYARD__ROLLOUT__START_S": "20"})
    assert (record["exit"], record["outcome"]) == (1, "aborted")
    assert "not ready after 20 s" in record["why"]
    assert service.active() == before and record["green"]["cluster"] not in service.clusters()


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_cold_rollback_starts_the_old_release_again(service: Service) -> None:
    now = service.active()
    eventually(lambda: service.clusters() == {now}, 400, "the old clusters to be gone")
    first = service.history()[0]["green"]["release"]
    record = service.run("rollback", "1", "--yes", *LOAD)
    assert (record["exit"], record["warm"], record["green"]["release"]) == (0, False, first), record
    print(f"\ncold: traffic after {record['seconds']['switched']:.0f} s")
    load_of(service, record)
