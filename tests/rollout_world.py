"""A model of what KubeRay 1.6.1 does with one RayService, for tests of the rollout's state machine.

What it models was seen on the real operator (tests/e2e/test_rollout.py sees it again): it makes a new cluster where the
release that is asked for is neither the pending nor (where none is pending) the active one's and the strategy allows
it, switches to a pending cluster whose applications all run, and keeps old clusters for a while.

With the incremental strategy (tests/e2e/test_incremental.py): it moves a step of traffic to a pending cluster that runs
when the interval has passed or the time of the last step is not known, retires the active one at 100 per cent, and
where the release that is asked for is not the pending one's any more it takes the traffic back by such steps.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from kuberay.names import INCREMENTAL
from kuberay.rollout import machine, steps
from kuberay.rollout.record import Kind, Outcome, Place, Record, Wish
from kuberay.rollout.seen import Apps, Pace, Seen
from kuberay.rollout.steps import Step
from serve_app import decision
from serve_app.decision import Answer, Decision

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
FILE = Pace(30, 3)
"""The pace of the service file."""


@dataclass
class Cluster:
    release: str
    age: int = 0
    opened: bool = False
    refused: bool = False
    broken: bool = False


@dataclass
class World:
    """One service, its operator and its gates. ``tick`` is one second of theirs, ``do`` what the runner does."""

    spec: str = "old"
    strategy: str = "NewCluster"
    observed: bool = True
    active: str = "c1"
    pending: str = ""
    clusters: dict[str, Cluster] = field(default_factory=lambda: {"c1": Cluster("old", 99, True)})
    decisions: dict[str, Decision] = field(default_factory=dict[str, Decision])
    objects: dict[int, str] = field(default_factory=lambda: {1: "old", 2: "new"})
    now: datetime = BEGAN
    made: int = 1
    starts_in: int = 3
    breaks: bool = False
    good: bool = True
    served: list[str] = field(default_factory=list[str])
    operator: bool = True
    surge: int = 100
    pace: Pace | None = None
    traffic: int = 0
    moved_at: datetime = BEGAN
    nudged: set[str] = field(default_factory=set[str])
    retiring: bool = False
    path: list[int] = field(default_factory=list[int])

    def seen(self) -> Seen:
        return Seen(
            spec_release=self.spec,
            strategy=self.strategy,
            observed=self.observed,
            active=self.active,
            pending=self.pending,
            alive={name: one.release for name, one in self.clusters.items()},
            ready={name: int(one.age >= self.starts_in) for name, one in self.clusters.items()},
            apps=self.apps(self.pending),
            decisions=dict(self.decisions),
            pace=self.pace,
            surge=self.surge,
            traffic=self.traffic if self.pending else 0,
            nudged=frozenset(self.nudged),
        )

    def apps(self, name: str) -> Apps:
        if name not in self.clusters:
            return Apps.NONE
        one = self.clusters[name]
        if one.broken or one.refused:
            return Apps.FAILED
        if one.age < self.starts_in:
            return Apps.STARTING
        return Apps.RUNNING if one.opened else Apps.HELD

    def tick(self) -> None:
        """One second: the clusters come up, the gates look, the operator reconciles."""
        self.now += timedelta(seconds=1)
        for name, one in self.clusters.items():
            one.age += 1
            ready = int(one.age >= self.starts_in and not one.broken)
            said, _ = decision.answer(decision.Seen(name, self.active, self.decisions.get(one.release), ready))
            if one.opened or one.refused or one.broken:
                continue
            one.opened, one.refused = said is Answer.OPEN, said is Answer.REFUSE
        if self.operator:
            self.reconcile()

    def reconcile(self) -> None:
        self.observed = True
        if self.active and self.active not in self.clusters:
            self.active = ""
        if self.pending and self.pending not in self.clusters:
            if self.strategy == INCREMENTAL:  # the name stays, and is made anew
                self.clusters[self.pending] = Cluster(self.spec)
            else:
                self.pending = ""
        if self.strategy == INCREMENTAL and self.active and self.pending:
            self.shift()
            if self.pending:  # it makes no third cluster while it takes the traffic back
                return
        elif self.pending and self.apps(self.pending) is Apps.RUNNING:
            self.promote()
        newest = self.clusters.get(self.pending or self.active)
        if newest is None or (newest.release != self.spec and self.strategy != "None"):
            self.made += 1
            self.pending = f"c{self.made}"
            self.clusters[self.pending] = Cluster(self.spec, broken=self.breaks and self.spec == "new")

    def shift(self) -> None:
        """KubeRay's incremental upgrade, with both clusters there."""
        back = self.clusters[self.pending].release != self.spec
        if self.retiring:
            return self.promote()
        gains = self.active if back else self.pending
        due = gains in self.nudged or (
            self.pace and self.now - self.moved_at >= timedelta(seconds=self.pace.interval_s)
        )
        if due and self.pace and (back or self.apps(self.pending) is Apps.RUNNING):
            self.nudged.discard(gains)
            step = min(self.pace.step, self.surge)
            self.traffic = max(0, self.traffic - step) if back else min(100, self.traffic + step)
            self.moved_at = self.now
            self.path.append(self.traffic)
        if back and not self.traffic:
            self.pending = ""
        self.retiring = self.traffic == 100

    def promote(self) -> None:
        self.active, self.pending, self.traffic, self.retiring = self.pending, "", 0, False
        self.served.append(self.clusters[self.active].release)

    def do(self, step: Step, record: Record) -> Record:
        """What the runner does with a step; the record after it."""
        match step:
            case steps.Nudge(cluster, active, pending, traffic):
                if (active, pending, traffic) == (self.active, self.pending, self.traffic):
                    self.nudged.add(cluster)
            case steps.Apply(revision, strategy, pace):
                self.spec, self.strategy, self.observed = self.objects[revision], strategy, False
                self.pace = (pace or FILE) if strategy == INCREMENTAL else None
                forward = not record.back and not record.warm
                return record.stamped("applied" if forward else "reverted", self.now)
            case steps.Decide(verb, release, cluster, by, reason):
                self.decisions[release] = Decision(verb, by, "", reason, cluster)
            case steps.Point(cluster, active):
                if self.active == active:
                    self.pending = cluster
            case steps.Delete(cluster):
                del self.clusters[cluster]
            case steps.Validate():
                return replace(record, verdict="pass" if self.good else "fail")
            case steps.Watch():
                self.now += timedelta(seconds=5)
            case steps.Note():
                return machine.note(record, step, self.now)
            case steps.Finish(outcome, why):
                return replace(record, outcome=outcome, why=why)
            case steps.Wait():
                self.tick()
        return record


def incremental(**changes: object) -> Record:
    """The same with the incremental strategy, stopping at 10 and 99 %."""
    return rollout(**{"strategy": INCREMENTAL, "canary": (10, 99), "canary_s": 10} | changes)


def gradual(**changes: object) -> World:
    """A world whose service has the incremental strategy."""
    return World(strategy=INCREMENTAL, pace=FILE, **changes)  # pyright: ignore[reportArgumentType]


def rollout(**changes: object) -> Record:
    """From ``old`` on c1 to ``new``."""
    base = Record(2, "llm", Kind.ROLLOUT, Place(2, "new"), Place(1, "old", "c1"), by="ada", watch_s=20)
    return replace(base, **changes)  # pyright: ignore[reportArgumentType]


def run(world: World, record: Record, most: int = 400) -> tuple[Record, list[Step]]:
    """Steps until it ends or waits for somebody, at most so many."""
    done: list[Step] = []
    for _ in range(most):
        following = machine.step(record, world.seen(), world.now)
        if isinstance(following, steps.Wait) and following.phase in ("hold", "failed", "ended"):
            break
        if not isinstance(following, steps.Wait):
            done.append(following)
        record = world.do(following, record)
        if record.outcome is not Outcome.NONE:
            break
    return record, done


def every(
    make: Callable[..., Record], kinds: Sequence[Kind], wishes: Sequence[Wish], times: Sequence[Mapping[str, str]]
) -> Iterator[Record]:
    """Every record there can be, of these kinds, wishes and times."""
    for kind, auto, verdict, wish, when, cluster, back, breach in itertools.product(
        kinds, (False, True), ("", "pass", "fail"), wishes, times, ("", "green"), ("", "why"), ("", "errors")
    ):
        yield make(
            kind=kind,
            auto=auto,
            verdict=verdict,
            wish=wish,
            times=when,
            back=back,
            breach=breach,
            green=Place(2, "new", cluster),
            blue=Place(1, "old", "blue"),
        )
