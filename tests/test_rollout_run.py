"""A rollout's real code against an API server in memory and a model of KubeRay: ended at every write, gone on with."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from kuberay.api.calls import Call
from kuberay.api.client import Api
from kuberay.api.connection import connect
from kuberay.rollout.examiner import Examiner
from kuberay.rollout.lease import Lease
from kuberay.rollout.record import Kind, Outcome, Place, Record, Verb, Wish
from kuberay.rollout.run import Runner, Stand
from kuberay.rollout.store import Store
from kuberay.rollout_config import Rollout
from tests.fake_kubernetes import FakeKubernetes
from tests.kubernetes_memory import Memory
from tests.rollout_operator import NAMESPACE, Operator, ray_service
from tests.rollout_world import FILE, Cluster, World, gradual, incremental, rollout


class Killed(BaseException):
    """Nothing of the process runs any more."""


class Mortal(Api):
    """The API for a process that ends right after one of its writes; ``lives`` counts down to it."""

    lives = -1

    def _json(self, call: Call) -> dict[str, Any]:
        answer = super()._json(call)
        if call.method != "GET":
            self.lives -= 1
            if self.lives == 0:
                raise Killed
        return answer


class Mine(Lease):
    """A lease that nobody else asks for: what it does is in test_rollout_store.py."""

    held = True  # pyright: ignore[reportAssignmentType]

    def confirm(self) -> bool:
        return True


class Judge(Examiner):
    """Judges without asking."""

    def __init__(self, api: Api, stage: Stage) -> None:
        super().__init__(api, NAMESPACE, "llm", Rollout(), lambda phase, text: None)
        self._case, self._store = stage.case, stage.store

    def examine(self, record: Record, green: str, blue: str, stop: Any) -> tuple[bool, str]:
        return self._case.good, "{}"

    def look_before(self, blue: str) -> None:
        pass

    def watch(self, record: Record, cluster: str, left_s: float) -> str:
        time.sleep(0.05)
        if self._case.late:
            self._store.wish(record.number, self._case.late)
        return self._case.breach


@dataclass
class Case:
    """A rollout or a way back, and what has to become of it, whenever its command is killed.

    Attributes:
        wish, late: what somebody asks for while it is held, and while it is watched after the switch.
        served: the releases that got the traffic on its way, one after the other.
        kept: the clusters that are there in the end.
    """

    name: str
    record: Record
    outcome: Outcome
    served: list[str]
    kept: set[str]
    world: World = field(default_factory=World)
    good: bool = True
    breach: str = ""
    wish: Wish | None = None
    late: Wish | None = None


def switched(*there: str) -> World:
    """``new`` serves on c2, and these clusters are there."""
    made = {"c1": Cluster("old", 99, True), "c2": Cluster("new", 99, True)}
    return World("new", active="c2", clusters={name: made[name] for name in there}, made=2)


def cases() -> list[Case]:
    """One of each way that a rollout can go, and a rollback."""
    auto = rollout(auto=True, watch_s=0.1)
    hand = replace(auto, auto=False)
    back = rollout(number=3, kind=Kind.ROLLBACK, warm=True, green=Place(1, "old", "c1"), blue=Place(2, "new", "c2"))
    cold = replace(back, warm=False, green=Place(1, "old"))
    steps = incremental(auto=True, canary_s=0.1, watch_s=0.1)
    both, ada, abort = {"c1", "c2"}, Wish(Verb.PROMOTE, "ada"), Wish(Verb.ABORT, "ada")
    return [
        Case("promoted", auto, Outcome.SERVES, ["new"], both),
        Case("by-hand", hand, Outcome.SERVES, ["new"], both, wish=ada),
        Case("refused", auto, Outcome.ABORTED, [], {"c1"}, good=False),
        Case("breached", replace(auto, watch_s=30), Outcome.ROLLED_BACK, ["new", "old"], both, breach="errors"),
        Case("broken", auto, Outcome.ABORTED, [], {"c1"}, World(breaks=True)),
        Case("aborted", hand, Outcome.ABORTED, [], {"c1"}, wish=abort),
        Case("aborted-late", replace(auto, watch_s=30), Outcome.ROLLED_BACK, ["new", "old"], {"c1"}, late=abort),
        Case("by-steps", steps, Outcome.SERVES, ["new"], both, gradual()),
        Case("bad-by-steps", steps, Outcome.ABORTED, [], {"c1"}, gradual(), good=False),
        Case("warm-rollback", back, Outcome.SERVES, ["old"], both, switched("c1", "c2")),
        Case("cold-rollback", cold, Outcome.SERVES, ["old"], {"c2", "c3"}, switched("c2")),
    ]


class Stage:
    """The API server, the operator and the store of one case."""

    def __init__(self, case: Case, fake: FakeKubernetes, memory: Memory, folder: Path) -> None:
        self.case = case
        self.operator = Operator(memory, case.world)
        folder.mkdir(exist_ok=True)
        self._kubeconfig = fake.kubeconfig(folder)
        self.api = self.process()
        self.store = Store(self.api, NAMESPACE, "llm")
        pace = FILE if case.record.incremental else None
        strategy = case.record.strategy
        objects = {1: [ray_service("old", strategy, pace)], 2: [ray_service("new", strategy, pace)], 3: []}
        for number in range(1, case.record.number):
            before = Record(number, "llm", Kind.DEPLOY, Place(number), strategy=strategy, outcome=Outcome.SERVES)
            self.store.create(before, objects[number], "{}")
        self.store.create(case.record, objects[case.record.number], "{}")

    def process(self, lives: int = -1) -> Mortal:
        """A new process' way to the API server."""
        api = Mortal(connect(kubeconfig=self._kubeconfig, environ={}))
        api.lives = lives
        return api

    def run(self, api: Api, leave: Collection[str] = ()) -> Stand:
        """Execute it, in a process of its own."""
        store = Store(api, NAMESPACE, "llm")
        lease = Mine(api, NAMESPACE, "llm", "me")
        return Runner(api, NAMESPACE, store, lease, Judge(api, self), lambda phase, text: None).run(
            self.case.record.number, leave
        )


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def fake(memory: Memory) -> Iterator[FakeKubernetes]:
    with memory.served() as server:
        yield server


def ends_well(stage: Stage, stand: Stand) -> None:
    """As it would have without a kill: same end, same traffic, no cluster too many, nothing left that is ours."""
    case, world = stage.case, stage.operator.world
    record = stage.store.read(case.record.number)
    assert (record.outcome, record) == (case.outcome, stand.record)
    assert (world.served, set(world.clusters)) == (case.served, case.kept)
    stage.operator.tick()
    serves = case.served[-1] if case.served else case.record.blue.release
    assert (world.clusters[world.active].release, world.pending, world.spec) == (serves, "", serves)
    assert (world.made, world.strategy) == (max(int(name[1:]) for name in {"c2", *case.kept}), case.record.strategy)
    assert world.pace == (FILE if case.record.incremental else None)
    assert not [path for path in stage.operator.memory.objects if path.endswith("/llm-preview")]


@pytest.mark.parametrize("name", [case.name for case in cases()])
def test_a_command_that_is_killed_after_any_of_its_writes_is_gone_on_with(name: str, tmp_path: Path) -> None:
    """Reads change nothing, so these are all the points there are at which its end makes a difference."""

    def killed(after: int) -> int:
        """How many writes it had left."""
        memory, (case,) = Memory(), [one for one in cases() if one.name == name]
        with memory.served() as fake:
            stage = Stage(case, fake, memory, tmp_path / str(after))
            with stage.operator.working():
                if case.wish:
                    stage.run(stage.api, leave=("hold",))
                    stage.store.wish(case.record.number, case.wish)
                mortal = stage.process(lives=after)
                try:
                    stand = stage.run(mortal)
                except Killed:
                    stand = stage.run(stage.process())
                ends_well(stage, stand)
        return mortal.lives

    most = 1000
    writes = most - killed(most)
    assert writes >= 3
    with ThreadPoolExecutor(4) as pool:  # they wait, most of the time
        assert set(pool.map(killed, range(1, writes))) == {0}


@pytest.mark.parametrize("ahead_s", [-7200, 7200])
def test_whoever_goes_on_with_it_has_the_api_servers_clock(
    ahead_s: float, fake: FakeKubernetes, memory: Memory, tmp_path: Path
) -> None:
    """By one's own, a rollout that has just begun would be two hours late, or would be watched for two hours."""
    fake.ahead_s = ahead_s
    record = rollout(auto=True, watch_s=0.5, start_s=60)
    stage = Stage(Case("clock", record, Outcome.SERVES, ["new"], {"c1", "c2"}), fake, memory, tmp_path)
    with stage.operator.working():
        with pytest.raises(Killed):
            stage.run(stage.process(lives=5))
        assert "applied" in stage.store.read(2).times
        stand = stage.run(stage.process())
    ends_well(stage, stand)
    there = time.time() + ahead_s
    assert all(abs(datetime.fromisoformat(at).timestamp() - there) < 30 for at in stand.record.times.values())
