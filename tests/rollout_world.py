"""A model of what KubeRay 1.6.1 does with one RayService, for tests of the rollout's state machine.

What it models was seen on the real operator (tests/e2e/test_rollout.py sees it again): it makes a new cluster where the
release that is asked for is neither the pending nor (where none is pending) the active one's and the strategy allows
it, switches to a pending cluster whose applications all run, and keeps old clusters for a while.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from kuberay.rollout import machine
from kuberay.rollout.machine import Step
from kuberay.rollout.record import Kind, Outcome, Place, Record
from kuberay.rollout.seen import Apps, Seen
from serve_app import decision
from serve_app.decision import Answer, Decision

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


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
            self.pending = ""
        if self.pending and self.apps(self.pending) is Apps.RUNNING:
            self.active, self.pending = self.pending, ""
            self.served.append(self.clusters[self.active].release)
        newest = self.clusters.get(self.pending or self.active)
        if newest is None or (newest.release != self.spec and self.strategy != "None"):
            self.made += 1
            self.pending = f"c{self.made}"
            self.clusters[self.pending] = Cluster(self.spec, broken=self.breaks and self.spec == "new")

    def do(self, step: Step, record: Record) -> Record:
        """What the runner does with a step; the record after it."""
        match step:
            case machine.Apply(revision, strategy):
                self.spec, self.strategy, self.observed = self.objects[revision], strategy, False
                if not record.back and not record.warm:
                    return record.stamped("applied", self.now)
            case machine.Decide(verb, release, cluster, by, reason):
                self.decisions[release] = Decision(verb, by, "", reason, cluster)
            case machine.Point(cluster, active):
                if self.active == active:
                    self.pending = cluster
            case machine.Delete(cluster):
                del self.clusters[cluster]
            case machine.Validate():
                return replace(record, verdict="pass" if self.good else "fail")
            case machine.Watch():
                self.now += timedelta(seconds=5)
            case machine.Note():
                return machine.note(record, step, self.now)
            case machine.Finish(outcome, why):
                return replace(record, outcome=outcome, why=why)
            case machine.Wait():
                self.tick()
        return record


def rollout(**changes: object) -> Record:
    """From ``old`` on c1 to ``new``."""
    base = Record(2, "llm", Kind.ROLLOUT, Place(2, "new"), Place(1, "old", "c1"), by="ada", watch_s=20)
    return replace(base, **changes)  # pyright: ignore[reportArgumentType]


def run(world: World, record: Record, most: int = 400) -> tuple[Record, list[Step]]:
    """Steps until it ends or waits for somebody, at most so many."""
    done: list[Step] = []
    for _ in range(most):
        following = machine.step(record, world.seen(), world.now)
        if isinstance(following, machine.Wait) and following.phase in ("hold", "failed", "ended"):
            break
        if not isinstance(following, machine.Wait):
            done.append(following)
        record = world.do(following, record)
        if record.outcome is not Outcome.NONE:
            break
    return record, done
