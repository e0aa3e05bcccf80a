"""What a rollout keeps in the cluster: its lease, which one process has at a time, and its records."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from kuberay.actions.decisions import decide, decision
from kuberay.api.client import Api
from kuberay.cli.common import agreed, name_and_revision
from kuberay.cli.deciding import telling_what_to_type
from kuberay.errors import Forbidden, Refused
from kuberay.names import INCREMENTAL, RELEASE
from kuberay.plan.capacity import Switch
from kuberay.plan.diff import Effect, Plan
from kuberay.plan.outlook import Outlook
from kuberay.rollout import begin, drive
from kuberay.rollout.lease import RENEW_S, Lease
from kuberay.rollout.record import Kind, Outcome, Place, Record, Verb, Wish
from kuberay.rollout.seen import Seen
from kuberay.rollout.show import conclusion, table
from kuberay.rollout.store import Store
from kuberay.snapshot import Snapshot
from serve_app.decision import Verb as Decided
from serve_app.decision import config_map, parse
from switchyard import app
from tests.fake_kubernetes import Reply, Request, status
from tests.kubernetes_memory import Memory
from tests.services import service

FILE = Path(__file__).parent.parent / "deploy" / "e2e.yaml"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/team-a/leases/llm-rollout"
NOW_TEXT = "2026-01-01T00:00:00+00:00"


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def api(memory: Memory, tmp_path: Path) -> Iterator[Api]:
    with memory.served() as fake:
        yield Api.connect(kubeconfig=fake.kubeconfig(tmp_path), environ={})


def lease(api: Api, holder: str, duration_s: int = 1) -> Lease:
    return Lease(api, "team-a", "llm", holder, duration_s)


def waiting(seconds: float, told: list[str] | None = None) -> Callable[[str], bool]:
    """Somebody who waits for so long."""
    end = time.monotonic() + seconds

    def waits(other: str) -> bool:
        if told is not None:
            told.append(other)
        return time.monotonic() < end

    return waits


def test_one_process_has_the_lease_at_a_time_and_gives_it_back(api: Api) -> None:
    told: list[str] = []
    with lease(api, "ada", 30) as first:
        assert first.acquire(waiting(1)) and first.held
        assert not lease(api, "bob", 30).acquire(waiting(0.6, told))
        assert set(told) == {"ada"}
    begun = time.monotonic()
    with lease(api, "bob", 30) as second:
        assert second.acquire(waiting(5))
        assert time.monotonic() - begun < 2, "what is given back need not run out"


def test_the_lease_of_a_process_that_vanished_runs_out_whatever_its_clock_said(api: Api, memory: Memory) -> None:
    memory.objects[LEASE] = {
        "metadata": {"name": "llm-rollout", "resourceVersion": "1"},
        "spec": {"holderIdentity": "gone", "renewTime": "2999-01-01T00:00:00.000000Z", "leaseDurationSeconds": 1},
    }
    begun = time.monotonic()
    with lease(api, "ada") as taken:
        assert taken.acquire(waiting(10))
        assert time.monotonic() - begun >= 1
        assert memory.objects[LEASE]["spec"]["holderIdentity"] == "ada"


@pytest.mark.parametrize("answers", [500, 503])
def test_an_api_server_that_is_away_is_waited_for(api: Api, memory: Memory, answers: int) -> None:
    with lease(api, "ada") as mine:
        memory.away = answers
        threading.Timer(1.5, lambda: setattr(memory, "away", 0)).start()
        assert mine.acquire(waiting(20)) and mine.held


def test_a_lease_that_cannot_be_renewed_is_not_held(api: Api, memory: Memory) -> None:
    with lease(api, "ada") as mine:
        assert mine.acquire(waiting(1)) and mine.held
        memory.away = 503
        time.sleep(1.2)
        assert not mine.held
        memory.away = 0
        assert mine.confirm() and mine.held, "nobody else took it meanwhile"


def test_a_lease_that_somebody_took_meanwhile_is_not_confirmed(api: Api, memory: Memory) -> None:
    with lease(api, "ada") as mine:
        assert mine.acquire(waiting(1))
        memory.objects[LEASE]["spec"]["holderIdentity"] = "bob"
        time.sleep(1.1)
        assert not mine.confirm()
    assert memory.objects[LEASE]["spec"]["holderIdentity"] == "bob", "what is another's is not given back"


def record(number: int, release: str, outcome: Outcome = Outcome.SERVES, **more: object) -> Record:
    made = Record(number, "llm", Kind.ROLLOUT, Place(number, release, f"c{number}"), outcome=outcome)
    return made if not more else Record(**{**made.__dict__, **more})


def test_records_come_back_as_they_were_with_their_wishes_and_objects(api: Api) -> None:
    store = Store(api, "team-a", "llm")
    store.create(record(1, "aaa"), [{"kind": "ConfigMap"}], "{}")
    store.create(record(2, "bbb", Outcome.NONE), [{"kind": "RayService"}], "{}")
    store.wish(2, Wish(Verb.PROMOTE, "bob", "it must", override=True))
    store.write(record(2, "bbb", Outcome.NONE, verdict="pass"))
    assert [one.number for one in store.all()] == [1, 2]
    assert store.all()[1] == record(
        2, "bbb", Outcome.NONE, verdict="pass", wish=Wish(Verb.PROMOTE, "bob", "it must", True)
    )
    assert store.objects(2) == [{"kind": "RayService"}]


def test_an_abort_is_final_and_a_promotion_of_the_same_moment_is_told(api: Api) -> None:
    store = Store(api, "team-a", "llm")
    store.create(record(2, "bbb", Outcome.NONE, verdict="pass"), [], "{}")
    store.wish(2, Wish(Verb.PROMOTE, "bob"))
    store.wish(2, Wish(Verb.ABORT, "ada", "second thoughts"))
    with pytest.raises(Refused, match=r"aborted by ada \(second thoughts\)"):
        store.wish(2, Wish(Verb.PROMOTE, "bob"))
    assert store.read(2).wish.verb is Verb.ABORT


COMMANDS = {
    "suspend": (Kind.ROLLOUT, False, "promote or switchyard abort ends it"),
    "promote": (Kind.ROLLBACK, False, "switchyard rollback goes on with it, switchyard abort takes it back"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_what_does_not_go_while_something_is_under_way_says_what_does(
    command: str, api: Api, memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, warm, said = COMMANDS[command]
    under_way = record(2, "bbb", Outcome.NONE, kind=kind, warm=warm, verdict="pass", by="ada")
    Store(api, "team-a", "llm").create(under_way, [], "{}")
    with memory.served() as fake:
        monkeypatch.setenv("KUBECONFIG", fake.kubeconfig(tmp_path))
        done = CliRunner().invoke(app, [command, "llm", "-n", "team-a"])
    assert done.exit_code == 1 and said in done.stderr
    assert memory.version == 1, "nothing was written"


@pytest.mark.parametrize(
    ("before", "mark"),
    [
        ({"strategy": INCREMENTAL, "verdict": "pass"}, {"times": {"canary-10": NOW_TEXT}}),
        ({"strategy": INCREMENTAL, "verdict": "pass"}, {"breach": "errors"}),
        ({}, {"verdict": "fail"}),
    ],
    ids=["it is there", "breach", "the verdict came later, and is bad"],
)
def test_who_promotes_while_another_executes_is_told_when_there_is_no_more_to_come(
    api: Api, before: dict[str, Any], mark: dict[str, Any]
) -> None:
    store = Store(api, "team-a", "llm")
    held = record(2, "bbb", Outcome.NONE, **before)
    store.create(held, [], "{}")
    store.wish(2, Wish(Verb.PROMOTE, "bob", to=10))
    with lease(api, "ada", 30) as first:
        assert first.acquire(waiting(1))
        threading.Timer(1, lambda: store.write(replace(held, **mark))).start()
        found, _ = drive.drive(api, "team-a", held, lambda phase, text: None, leave=("hold",))
    assert found.running and (found.times or found.breach or found.verdict == "fail")


def test_who_may_only_look_at_the_lease_still_learns_how_it_ended(api: Api, memory: Memory, tmp_path: Path) -> None:
    """docs/rollouts.md promises that of a decision while another process executes."""
    store = Store(api, "team-a", "llm")
    held = record(2, "bbb", Outcome.NONE, verdict="pass")
    store.create(held, [], "{}")
    (tmp_path / "weak").mkdir()
    with memory.served() as fake, lease(api, "ada", 30) as first:
        weak = Api.connect(kubeconfig=fake.kubeconfig(tmp_path / "weak", {"token": "weak"}), environ={})

        def answer(request: Request) -> Reply:
            writes = request.method != "GET" and "/leases" in request.path
            if writes and request.headers.get("authorization") == "Bearer weak":
                return status(403, "Forbidden", 'User "bob" cannot patch resource "leases"')
            return memory.answer(request)

        fake.answer = answer
        assert first.acquire(waiting(1))
        store.wish(2, Wish(Verb.PROMOTE, "bob"))

        def end() -> None:
            store.write(replace(held, outcome=Outcome.SERVES))
            first.release()

        threading.Timer(1, end).start()
        found, _ = drive.drive(weak, "team-a", held, lambda phase, text: None, leave=("hold",))
        assert found.outcome is Outcome.SERVES
        store.create(record(3, "ccc", Outcome.NONE), [], "{}")
        with pytest.raises(Forbidden):
            drive.drive(weak, "team-a", store.read(3), lambda phase, text: None)


def test_a_promotion_to_less_than_it_has_is_refused(
    api: Api, memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(api, "team-a", "llm")
    times = {"canary-10": NOW_TEXT, "canary-50": NOW_TEXT}
    store.create(record(2, "bbb", Outcome.NONE, strategy=INCREMENTAL, verdict="pass", times=times), [], "{}")
    with memory.served() as fake:
        monkeypatch.setenv("KUBECONFIG", fake.kubeconfig(tmp_path))
        monkeypatch.setenv("SWITCHYARD_CONFIG", "none.yaml")  # a name is one, whatever file there is
        done = CliRunner().invoke(app, ["promote", "llm", "-n", "team-a", "--to", "10"])
    assert done.exit_code == 1 and "50 % of the traffic is on it already. switchyard abort takes" in done.stderr
    assert store.read(2).wish == Wish()


def test_a_busy_api_server_ends_no_rollout(api: Api, memory: Memory) -> None:
    store = Store(api, "team-a", "llm")
    begun = record(2, "bbb", Outcome.NONE)
    store.create(begun, [], "{}")
    told: list[str] = []

    def say(phase: str, text: str) -> None:
        told.append(text)
        if phase == "decide":
            memory.away = 500
        elif "away" in text and memory.away:
            memory.away = 0
            store.write(replace(begun, outcome=Outcome.SERVES))

    found, _ = drive.drive(api, "team-a", begun, say)
    assert found.outcome is Outcome.SERVES and "the API server is away" in told[1], told


def test_a_promotion_ends_at_a_verdict_that_is_bad(
    api: Api, memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was wished while the release was still being examined."""
    store = Store(api, "team-a", "llm")
    examined = record(2, "bbb", Outcome.NONE)
    store.create(examined, [], "{}")
    with memory.served() as fake, lease(api, "ada", 30) as first:
        monkeypatch.setenv("KUBECONFIG", fake.kubeconfig(tmp_path))
        assert first.acquire(waiting(1))
        threading.Timer(1, lambda: store.write(replace(examined, verdict="fail"))).start()
        done = CliRunner().invoke(app, ["promote", "llm", "-n", "team-a"])
    assert done.exit_code == 1
    assert "is held because its verdict is bad. switchyard promote --force --reason WHY lets it serve" in done.stdout


def test_ctrl_c_does_not_take_back_what_was_asked_for_and_says_so(
    api: Api, memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(api, "team-a", "llm")
    store.create(record(2, "bbb", Outcome.NONE), [], "{}")
    with memory.served() as fake, lease(api, "ada", 30) as first:
        monkeypatch.setenv("KUBECONFIG", fake.kubeconfig(tmp_path))
        assert first.acquire(waiting(1))
        threading.Timer(3, os.kill, (os.getpid(), signal.SIGINT)).start()
        done = CliRunner().invoke(app, ["promote", "llm", "-n", "team-a", "-m", "early"])
    assert done.exit_code == 130 and "there is no verdict yet: it gets the traffic once that is good" in done.stdout
    assert "What you asked for is recorded" in done.stderr and "switchyard abort takes it back" in done.stderr
    assert store.read(2).wish.verb is Verb.PROMOTE


@pytest.mark.parametrize(
    ("words", "name", "found"),
    [
        ([], None, (None, None)),
        (["llm"], None, ("llm", None)),
        (["3"], "llm", ("llm", 3)),
        (["llm", "3"], None, ("llm", 3)),
        (["3", "llm"], "llm", ("llm", 3)),
    ],
)
def test_a_service_and_a_revision_are_told_apart(
    words: list[str], name: str | None, found: tuple[str | None, int | None]
) -> None:
    assert name_and_revision(words, name) == found


@pytest.mark.parametrize("command", ["rollback", "report"])
@pytest.mark.parametrize("words", [["llm", "other"], ["1", "2"], ["llm", "--name", "other"]])
def test_two_of_a_kind_are_refused(command: str, words: list[str]) -> None:
    done = CliRunner().invoke(app, [command, *words])
    assert done.exit_code == 2 and "give one service's name, and one revision's number" in done.stderr


def test_a_wrong_name_is_told_as_such_and_not_as_a_service_at_rest(
    memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.objects["/apis/ray.io/v1/namespaces/team-a/rayservices/llm"] = {
        "metadata": {"name": "llm", "namespace": "team-a"}
    }
    with memory.served() as fake:
        monkeypatch.setenv("KUBECONFIG", fake.kubeconfig(tmp_path))
        for command in ("promote", "abort"):
            wrong = CliRunner().invoke(app, [command, "lllm", "-n", "team-a"])
            assert wrong.exit_code == 1 and "There is no service lllm in namespace team-a" in wrong.stderr
            rests = CliRunner().invoke(app, [command, "llm", "-n", "team-a"])
            assert rests.exit_code == 1 and "No rollout of llm in namespace team-a is under way" in rests.stderr


def test_options_that_contradict_each_other_are_wrong_use() -> None:
    done = CliRunner().invoke(app, ["rollout", "-f", "deploy/e2e.yaml", "--auto", "--no-wait"])
    assert done.exit_code == 2 and "with --auto the verdict decides" in done.stderr


def test_where_it_waits_for_a_decision_the_commands_are_told_once() -> None:
    told: list[tuple[str, str]] = []
    say = telling_what_to_type(lambda phase, text: told.append((phase, text)), "-f new.yaml")
    for phase in ("start", "hold", "hold"):
        say(phase, "waits")
    assert [text for _, text in told] == [
        "waits",
        "waits",
        "talk to it: switchyard chat -f new.yaml --preview",
        "decide: switchyard promote -f new.yaml",
        "or: switchyard abort -f new.yaml",
        "waits",
    ]


def test_a_rollback_asks_and_takes_no_answer_for_no(
    api: Api, memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.objects["/apis/ray.io/v1/namespaces/team-a/rayservices/llm"] = {
        "kind": "RayService",
        "metadata": {"name": "llm", "annotations": {RELEASE: "bbb"}},
        "status": {"activeServiceStatus": {"rayClusterName": "c2"}},
    }
    store = Store(api, "team-a", "llm")
    for number, release in ((1, "aaa"), (2, "bbb")):
        store.create(record(number, release), [], "{}")
    with memory.served() as fake:
        monkeypatch.setenv("KUBECONFIG", fake.kubeconfig(tmp_path))
        for given, said in (("", "nobody answered. With --yes nobody is asked"), ("n\n", "Nothing was changed.")):
            done = CliRunner().invoke(app, ["rollback", "--name", "llm", "-n", "team-a"], input=given)
            assert done.exit_code == 1 and "has no cluster any more: a new one is started" in done.stdout
            assert said in done.stderr
    assert [one.number for one in store.all()] == [1, 2]


def test_ctrl_c_is_no_answer_either(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        def readline(self, *_: object) -> str:
            raise KeyboardInterrupt

    monkeypatch.setattr("sys.stdin", Interrupted())
    with pytest.raises(KeyboardInterrupt, match="Nothing was changed"):
        agreed("Go?")


@pytest.mark.parametrize("command", ["rollout", "deploy"])
def test_force_takes_over_what_others_manage_and_without_it_is_said_so(
    memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    memory.objects["/api/v1/namespaces/default"] = {"kind": "Namespace", "metadata": {"name": "default"}}
    field = {"reason": "FieldManagerConflict", "message": 'conflict with "kubectl-edit"', "field": ".spec.suspend"}
    with memory.served() as fake:
        monkeypatch.setenv("KUBECONFIG", fake.kubeconfig(tmp_path))

        def answer(request: Request) -> Reply:
            applies = request.method == "PATCH" and "/rayservices/" in request.path
            if applies and request.query.get("force") == "false":
                return status(409, "Conflict", "Apply failed with 1 conflict", causes=[field])
            return memory.answer(request)

        fake.answer = answer
        words = [command, "-f", str(FILE)] + (["--no-wait"] if command == "deploy" else [])
        refused = CliRunner().invoke(app, words)
        assert refused.exit_code == 1 and "--force" in refused.stderr and "kubectl-edit" in refused.stderr
        assert not [path for path in memory.objects if "revision" in path]
        if command == "deploy":
            done = CliRunner().invoke(app, [*words, "--force"])
            assert done.exit_code == 0, done.output
        asked = [one.query for one in fake.requests if one.method == "PATCH" and "/rayservices/" in one.path]
        assert {one.get("force") for one in asked} >= ({"false", "true"} if command == "deploy" else {"false"})


def test_the_history_of_a_service_that_is_none_says_so(
    api: Api, memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with memory.served() as fake:
        monkeypatch.setenv("KUBECONFIG", fake.kubeconfig(tmp_path))
        done = CliRunner().invoke(app, ["history", "lllm", "-n", "team-a"])
        assert done.exit_code == 1 and "lllm" in done.stderr
        memory.objects["/apis/ray.io/v1/namespaces/team-a/rayservices/llm"] = {"metadata": {"name": "llm"}}
        none = CliRunner().invoke(app, ["history", "llm", "-n", "team-a"])
        assert none.exit_code == 0 and "No revision of llm has been kept" in none.stdout
        fake.answer = lambda asked: (
            status(403, "Forbidden", "not for you") if "rayservices" in asked.path else memory.answer(asked)
        )
        looker = CliRunner().invoke(app, ["history", "lllm", "-n", "team-a"])
        assert looker.exit_code == 0 and "No revision of lllm has been kept" in looker.stdout
        fake.answer = memory.answer
        store = Store(api, "team-a", "llm")
        store.create(record(2, "bbb", Outcome.NONE), [], "{}")
        store.wish(2, Wish(Verb.PROMOTE, "bob", "early"))
        assert "promote wished by bob: early" in CliRunner().invoke(app, ["history", "llm", "-n", "team-a"]).stdout


def outlook(*objects: dict[str, Any], unreadable: tuple[str, ...] = ()) -> Outlook:
    snapshot = Snapshot("", "test", "team-a", "llm", objects, unreadable=unreadable)
    return Outlook(snapshot, (), Plan(Effect.NEW_CLUSTER, (), (), ()), Switch(0, 0, 0, None, None), ())


def cluster(name: str, release: str) -> dict[str, Any]:
    return {"kind": "RayCluster", "metadata": {"name": name, "annotations": {RELEASE: release}}}


def test_a_rollout_goes_on_as_it_was_begun(api: Api) -> None:
    store, now = Store(api, "team-a", "llm"), outlook()
    begun = begin.forward(store, service(), now, Kind.ROLLOUT, auto=True)
    assert begin.forward(store, service(), now, Kind.ROLLOUT, auto=True) == begun
    with pytest.raises(Refused, match=r"with --auto: its verdict decides. Go on with it with --auto, or end it"):
        begin.forward(store, service(), now, Kind.ROLLOUT)
    assert store.all() == [begun]


@pytest.mark.parametrize("missed", ["the RayService: HTTP 500", "rayclusters in namespace team-a: HTTP 500"])
def test_nothing_is_begun_beside_what_cannot_be_seen(api: Api, missed: str) -> None:
    store = Store(api, "team-a", "llm")
    with pytest.raises(Refused, match=r"What serves now cannot be seen: .*HTTP 500. Nothing was begun"):
        begin.forward(store, service(), outlook(unreadable=(missed,)), Kind.ROLLOUT)
    assert store.all() == []
    begin.forward(store, service(), outlook(unreadable=("events in namespace team-a: HTTP 403",)), Kind.ROLLOUT)


def test_a_rollout_from_which_there_is_no_way_back_has_to_be_wanted(api: Api) -> None:
    """Two releases were applied with kubectl: one serves, the other waits at its gate."""
    store = Store(api, "team-a", "llm")
    asked = {
        "kind": "RayService",
        "metadata": {"name": "llm", "annotations": {RELEASE: "second"}},
        "spec": {},
        "status": {"activeServiceStatus": {"rayClusterName": "c1"}},
    }
    now = outlook(asked, cluster("c1", "first"))
    with pytest.raises(Refused, match="nobody kept the objects of what serves: there would be no way back"):
        begin.forward(store, service(), now, Kind.ROLLOUT)
    assert store.all() == []
    assert begin.forward(store, service(), now, Kind.ROLLOUT, force=True).blue == Place(0, "first", "c1")


@pytest.mark.parametrize(
    ("change", "trouble", "said"),
    [
        ({}, "", "is held. switchyard promote lets it serve"),
        ({"verdict": "fail"}, "", "is held because its verdict is bad. switchyard promote --force --reason WHY lets"),
        ({}, "gate is DEPLOY_FAILED", "(release bbb): gate is DEPLOY_FAILED."),
        ({"times": {"canary-10": NOW_TEXT}, "breach": "5 % errors"}, "", "at 10 % of the traffic because 5 % errors."),
    ],
)
def test_how_a_rollout_that_waits_is_told(change: dict[str, Any], trouble: str, said: str) -> None:
    assert said in conclusion(record(2, "bbb", Outcome.NONE, **change), trouble)


def test_who_is_overtaken_follows_who_has_the_rollout_now(api: Api, memory: Memory) -> None:
    """As after an API server that was away: whoever gets there first has the lease."""
    store = Store(api, "team-a", "llm")
    begun = record(2, "bbb", Outcome.NONE)
    store.create(begun, [], "{}")
    told: list[str] = []

    def say(phase: str, text: str) -> None:
        told.append(f"{phase} {text}")
        if phase == "decide":
            memory.objects[LEASE]["spec"]["holderIdentity"] = "bob"
            time.sleep(RENEW_S + 0.5)
        if text == "bob has the rollout":
            store.write(replace(begun, outcome=Outcome.SERVES))

    found, _ = drive.drive(api, "team-a", begun, say)
    assert (found.outcome, told) == (Outcome.SERVES, ["decide hold bbb: revision 2", "wait bob has the rollout"])
    assert memory.objects[LEASE]["spec"]["holderIdentity"] == "bob"


def test_a_part_of_the_traffic_is_for_the_strategy_that_has_parts(
    api: Api, memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(api, "team-a", "llm").create(record(2, "bbb", Outcome.NONE, verdict="pass"), [], "{}")
    with memory.served() as fake:
        monkeypatch.setenv("KUBECONFIG", fake.kubeconfig(tmp_path))
        done = CliRunner().invoke(app, ["promote", "llm", "-n", "team-a", "--to", "10"])
    assert done.exit_code == 1 and "switches all at once" in done.stderr
    assert "wish.json" not in memory.objects["/api/v1/namespaces/team-a/configmaps/llm-revision-2"]["data"]


def test_two_who_begin_at_once_do_not_both(api: Api) -> None:
    store = Store(api, "team-a", "llm")
    store.create(record(1, "aaa"), [], "{}")
    with pytest.raises(Refused, match="Somebody else began revision 1"):
        store.create(record(1, "bbb"), [], "{}")
    with pytest.raises(Refused, match="no revision 7"):
        store.read(7)


def test_old_revisions_go_but_never_what_serves_or_could_be_gone_back_to(api: Api, memory: Memory) -> None:
    store = Store(api, "team-a", "llm")
    for number in range(1, 9):
        store.create(record(number, f"r{number}", Outcome.SERVES if number == 1 else Outcome.ABORTED), [], "{}")
        memory.objects[f"/api/v1/namespaces/team-a/configmaps/llm-release-r{number}"] = {"metadata": {"name": "x"}}
    gone = store.prune(keep=3)
    assert [one.number for one in store.all()] == [1, 6, 7, 8]
    assert set(gone) == {f"llm-revision-{n}" for n in range(2, 6)} | {f"llm-release-r{n}" for n in range(2, 6)}


def test_a_decision_replaces_an_earlier_one_and_leaves_those_about_other_releases(api: Api, memory: Memory) -> None:
    decide(api, "team-a", "llm", "aaa", decision(Decided.HOLD, "ada"))
    decide(api, "team-a", "llm", "bbb", decision(Decided.REFUSE, "ada", "slow"))
    decide(api, "team-a", "llm", "aaa", decision(Decided.APPROVE, "bob", cluster="c2"))
    data = memory.objects[f"/api/v1/namespaces/team-a/configmaps/{config_map('llm')}"]["data"]
    found = {release: parse(text) for release, text in data.items()}
    assert {key: (one.verb, one.by, one.cluster) for key, one in found.items() if one} == {
        "aaa": (Decided.APPROVE, "bob", "c2"),
        "bbb": (Decided.REFUSE, "ada", ""),
    }


NOW = Seen(active="c3", alive={"c3": "r3", "c1": "r1"}, ready={"c3": 1, "c1": 1})
KNOWN = [record(1, "r1"), record(2, "r2", Outcome.ABORTED), record(3, "r3")]


def test_the_way_back_is_to_the_last_other_release_that_served_and_warm_while_its_cluster_lives() -> None:
    way = begin.way_back(KNOWN, NOW, None)
    assert (way.target.number, way.cluster) == (1, "c1")
    cold = begin.way_back(KNOWN, Seen(active="c3", alive={"c3": "r3"}, ready={"c3": 1}), None)
    assert (cold.target.number, cold.cluster) == (1, "")
    assert "new one is started" in cold.text and "c1" in way.text
    assert "(release r2, which was aborted)" in begin.way_back(KNOWN, NOW, 2).text
    gradual = begin.way_back(KNOWN, replace(NOW, strategy=INCREMENTAL), None)
    assert gradual.cluster == "", "KubeRay has scaled its replicas to nothing"
    unready = begin.way_back(KNOWN, Seen(active="c3", alive={"c3": "r3", "c1": "r1"}, ready={"c3": 1}), None)
    assert unready.cluster == "", "a cluster without a ready endpoint would be an outage"


def test_the_way_back_is_to_what_served_before_even_if_another_has_served_since() -> None:
    """r1, then r2, then r1 was there again without a record of its own, then r3."""
    blue = Place(1, "r1", "c9")
    known = [record(1, "r1"), record(2, "r2"), record(3, "r3", blue=blue)]
    way = begin.way_back(known, Seen(active="c3", alive={"c3": "r3", "c9": "r1"}, ready={"c3": 1, "c9": 1}), None)
    assert (way.target.number, way.cluster) == (1, "c9")


def test_a_cluster_that_retires_a_second_time_is_known() -> None:
    there = record(2, "r2", blue=Place(1, "r1", "c1"))
    back = record(3, "r1", kind=Kind.ROLLBACK, blue=Place(2, "r2", "c2"))
    runs = record(4, "r3", Outcome.NONE, blue=Place(1, "r1", "c1"))
    assert not begin.retires_again([record(1, "r1"), runs], "c1"), "it retires for the first time"
    assert not begin.retires_again([record(1, "r1")], ""), "nothing is blue at first"
    for cluster in ("c1", "c2"):
        assert begin.retires_again([record(1, "r1"), there, back, runs], cluster)
    taken = replace(there, outcome=Outcome.ROLLED_BACK, times={"switched": NOW_TEXT})
    assert begin.retires_again([record(1, "r1"), taken], "c1"), "it came back soon"
    assert not begin.retires_again([record(1, "r1"), replace(taken, times={})], "c1"), "never switched"


@pytest.mark.parametrize(("number", "said"), [(3, "serves already"), (9, "kept are: 1, 2, 3")])
def test_a_way_that_is_none_is_refused(number: int, said: str) -> None:
    with pytest.raises(Refused, match=said):
        begin.way_back(KNOWN, NOW, number)
    with pytest.raises(Refused, match="nothing to go back to"):
        begin.way_back(KNOWN[2:], NOW, None)


@pytest.mark.parametrize("width", [60, 80, 110, 160])
def test_the_history_fits_its_terminal_and_leaves_nothing_out(width: int) -> None:
    why = "5 of 120 requests failed (4.2 %, allowed: 1 %) [red] [/I]"
    times = {"ended": "2026-11-30T02:54:04+00:00"}
    ended = record(2, "bbb", Outcome.ROLLED_BACK, by="somebody@a-laptop", began=NOW_TEXT, why=why, times=times)
    waits = record(3, "ccc", Outcome.NONE, by="ada@host", verdict="pass", wish=Wish(Verb.PROMOTE, "bob", "at noon"))
    told = table([record(1, "aaa", why="it serves"), ended, waits], "llm", width)
    assert max(map(len, told.splitlines())) <= width
    whole = " ".join(told.split())
    for part in (
        "aaa",
        "serves",
        "rolled back",
        "somebody@a-laptop",
        "pass",
        "running",
        "promote wished by bob: at noon",
    ):
        assert part in whole
    assert all(word in whole for word in why.split())
