"""Law: kill ``apply`` anywhere, run it again, and the project is as if nothing had happened. No twin, no orphan.

A run is killed at a random call: before it is sent, or after Google did the work and before the answer came. What
remains is the fake project's state, operations under way included; the next run starts from it with nothing remembered.
"""

from __future__ import annotations

import copy
import random

import pytest

from cluster.config import ClusterConfig
from cluster.gcp.calls import Caller
from cluster.gcp.cloud import Cloud
from cluster.workflow import converge, look, tear_down
from tests.cluster.conftest import FULL
from tests.cluster.fakes import FakeGoogle, in_process
from tests.cluster.fakes.project import Fault429, Fault503

RUNS = 500


class Killed(BaseException):
    """As SIGKILL would: nothing in the package catches it."""


class Bomb:
    """Lets so many calls pass, then kills. Counts when it is not armed."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.seen = 0

    def __call__(self, name: str, write: bool, sent: bool) -> None:
        self.seen += 1
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Killed


class Rig:
    """One set of clients for all runs: they hold no state, and are slow to make. The fake's state is swapped."""

    def __init__(self, config: ClusterConfig) -> None:
        self.fake = FakeGoogle(lag_s=7, slow=0.1)
        self.bomb = Bomb()
        self.call = Caller(clock=self.fake.clock, hook=self.bomb)
        self.config = config
        self.cloud = Cloud(config, in_process(self.fake, self.call), token="hf_token", readers=1)

    def fresh(self) -> None:
        new = FakeGoogle(clock=self.fake.clock, lag_s=7, slow=0.1)
        self.fake.__dict__.update(new.__dict__)

    def apply(self) -> None:
        converge(self.config, self.cloud, token=True)

    def killed(self, after: int, what: str = "apply") -> bool:
        """Run it with the bomb armed; whether it went off."""
        self.bomb.left = after
        try:
            self.apply() if what == "apply" else tear_down(self.config, self.cloud)
        except Killed:
            return True
        finally:
            self.bomb.left = None
        return False


@pytest.fixture(scope="module")
def rig() -> Rig:
    return Rig(FULL)


@pytest.fixture(scope="module")
def expected(rig: Rig) -> list[str]:
    """What there is after a run that nobody disturbs."""
    rig.fresh()
    rig.apply()
    return rig.fake.everything()


def test_apply_killed_anywhere_and_run_again_converges(rig: Rig, expected: list[str]) -> None:
    chance = random.Random(6)
    rig.fresh()
    before = rig.bomb.seen
    rig.apply()
    length = rig.bomb.seen - before
    runs = killed = 0
    while runs < RUNS:
        rig.fresh()
        # One start, killed again and again until it gets through; each kill is a run.
        while rig.killed(chance.randrange(length)):
            killed += 1
            runs += 1
            _disturb(rig, chance)
        runs += 1
        rig.fake.settle()
        assert rig.fake.everything() == expected
        assert look(rig.config, rig.cloud, token=True).plan.empty
    assert killed > RUNS / 4


def test_apply_killed_at_every_single_call(rig: Rig, expected: list[str]) -> None:
    rig.fresh()
    step = 0
    # The kills of one chain fall on ever later calls: each call of a whole run is the last one once.
    while rig.killed(step):
        step += 1
    assert step > 60
    assert rig.fake.everything() == expected


def test_destroy_killed_anywhere_and_run_again_leaves_nothing(rig: Rig) -> None:
    chance = random.Random(7)
    rig.fresh()
    rig.apply()
    state = copy.deepcopy(
        {key: value for key, value in rig.fake.__dict__.items() if key not in ("lock", "clock", "_ids")}
    )
    for _ in range(30):
        rig.fake.__dict__.update(copy.deepcopy(state))
        while rig.killed(chance.randrange(120), "destroy"):
            pass
        assert rig.fake.billable() == []
        assert rig.fake.everything() == []


def _disturb(rig: Rig, chance: random.Random) -> None:
    """What happens between two runs: time passes or does not, and Google has a bad moment."""
    rig.fake.clock.sleep(chance.choice([0, 3, 60, 600]))
    if chance.random() < 0.3:
        rig.fake.fail("*", chance.choice([Fault429, Fault503])(), times=1, after=chance.random() < 0.5)
