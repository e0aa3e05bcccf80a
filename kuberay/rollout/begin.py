"""Begins a change of a service: a record of what is to be, beside one of what is."""

from __future__ import annotations

import getpass
import os
import socket
from dataclasses import dataclass, replace
from datetime import datetime

from kuberay.config import Service
from kuberay.errors import Refused
from kuberay.manifests.manifest import release_of
from kuberay.names import INCREMENTAL
from kuberay.plan.outlook import Outlook
from kuberay.rollout.machine import serves
from kuberay.rollout.record import Kind, Outcome, Place, Record
from kuberay.rollout.seen import Seen, seen
from kuberay.rollout.show import SAID
from kuberay.rollout.store import Store
from kuberay.snapshot import Snapshot


def who() -> str:
    """The person and machine that a record names."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):  # an account without a name
        return f"{os.getuid()}@{socket.gethostname()}"


def must_see(snapshot: Snapshot, *what: str) -> None:
    """What was not read looks as if it were not there: nothing would serve, and no cluster be left to go back to.

    Args:
        what: as the snapshot names it in ``unreadable``.

    Raises:
        Refused: one of them could not be read.
    """
    for missed in snapshot.unreadable:
        if missed.startswith(what):
            raise Refused(f"What serves now cannot be seen: {missed}. Nothing was begun; run it again.")


def running(known: list[Record]) -> Record | None:
    """The change that has not ended, if there is one."""
    return known[-1] if known and known[-1].running else None


def forward(
    store: Store, service: Service, outlook: Outlook, kind: Kind, *, auto: bool = False, force: bool = False
) -> Record:
    """A record of the service file's release. One that waits for the same release is gone on with.

    Args:
        force: begin a rollout although there is no way back from it.

    Raises:
        Refused: another release is being rolled out, or this one in another way; or what serves cannot be seen.
    """
    must_see(outlook.snapshot, "the RayService", "rayclusters")
    known, there = store.all(), seen(outlook.snapshot)
    release = release_of(service).id
    current = running(known)
    if current is not None:
        same = current.kind is kind and current.green.release == release
        if same and store.objects(current.number) == list(outlook.wanted):
            _same_way(current, auto=auto)
            return current
        _end(store, current, there)
    number, blue = _beside(store, known, outlook.snapshot, there)
    if kind is Kind.ROLLOUT and blue.cluster and not blue.revision and not force:
        raise Refused(
            f"Release {blue.release or 'unknown'} serves on {blue.cluster}, the RayService asks for another "
            f"({there.spec_release}), and nobody kept the objects of what serves: there would be no way back to it. "
            "Apply the file of the release that serves (switchyard deploy), or take --force."
        )
    record = Record(
        number,
        service.name,
        kind,
        Place(number, release),
        blue,
        strategy=service.kubernetes.upgrade.strategy,
        by=who(),
        began=store.now(),
        auto=auto,
        start_s=service.rollout.start_s,
        watch_s=service.rollout.watch.seconds,
        canary=tuple(service.rollout.canary.stops) if kind is Kind.ROLLOUT else (),
        canary_s=service.rollout.canary.seconds,
    )
    store.create(record, outlook.wanted, service.rollout.model_dump_json())
    return record


@dataclass(frozen=True)
class Way:
    """A way back (or forward again) to an earlier revision.

    Attributes:
        target: the revision.
        cluster: that still runs it and is ready: the way is warm. Empty: a cluster has to be started.
        seconds: about how long it takes; None where nobody knows.
    """

    target: Record
    cluster: str
    seconds: float | None

    @property
    def text(self) -> str:
        """In a sentence."""
        ended = self.target.outcome
        how = "" if ended in (Outcome.SERVES, Outcome.NONE) else f", which {SAID[ended]}"
        about = f"revision {self.target.number} (release {self.target.green.release}{how})"
        if self.cluster:
            return f"{about} still runs on {self.cluster}: the traffic is there in about {self.seconds:.0f} s"
        took = f"about {self.seconds / 60:.1f} min, as last time" if self.seconds else "as long as any start"
        return f"{about} has no cluster any more: a new one is started, which takes {took}"


WARM_S = 10.0
"""What a warm rollback takes: measured, docs/rollouts.md."""


def way_back(known: list[Record], there: Seen, number: int | None) -> Way:
    """Which revision to go back to, and how.

    Args:
        number: of the revision; None: the last one that served before the release that serves now.

    Raises:
        Refused: there is none, or it serves already.
    """
    now = there.release_of(there.active)
    if number is None:
        target = _before(known, now)
        if target is None:
            raise Refused("No other release has served before: there is nothing to go back to.")
    else:
        found = [one for one in known if one.number == number]
        if not found:
            kept = ", ".join(str(one.number) for one in known) or "none"
            raise Refused(f"There is no revision {number}; kept are: {kept}.")
        target = found[0]
    release = target.green.release
    if release == now and not there.pending:
        raise Refused(f"Revision {target.number} (release {release}) serves already.")
    named = [target.green.cluster, *sorted(there.alive, reverse=True)]
    # With the incremental strategy KubeRay has taken the old cluster's replicas away at the end of the upgrade.
    kept = there.strategy != INCREMENTAL
    warm = [name for name in named if kept and there.release_of(name) == release and there.ready.get(name)]
    if warm:
        return Way(target, warm[0], WARM_S)
    took = [_took(one) for one in known if one.green.release == release]
    return Way(target, "", next((one for one in reversed(took) if one), None))


def _before(known: list[Record], release: str) -> Record | None:
    """What served before this release: what its record says was blue, else the last other one that served."""
    served = [one for one in known if one.outcome is Outcome.SERVES]
    blue = next((one.blue for one in reversed(served) if one.green.release == release), Place())
    told = [one for one in known if one.number == blue.revision and blue.release != release]
    former = [one for one in served if one.green.release != release]
    return (told or former[-1:] or [None])[0]


def back(store: Store, known: list[Record], snapshot: Snapshot, way: Way) -> Record:
    """A record of the way back.

    Raises:
        Refused: a rollout is under way that has not switched: abort it instead.
    """
    there = seen(snapshot)
    current = running(known)
    if current is not None:
        _end(store, current, there)
    number, blue = _beside(store, known, snapshot, there)
    target = replace(way.target.green, cluster=way.cluster)
    record = Record(
        number,
        store.service,
        Kind.ROLLBACK,
        target,
        blue,
        strategy=way.target.strategy,
        by=who(),
        began=store.now(),
        warm=bool(way.cluster),
        start_s=way.target.start_s,
        watch_s=0,
    )
    store.create(record, (), "{}")
    return record


def retires_again(known: list[Record], cluster: str) -> bool:
    """Whether what serves has retired before and come back: KubeRay then remembers its first deletion time."""
    return any(
        one.blue.cluster == cluster != "" and (one.outcome is Outcome.SERVES or "switched" in one.times)
        for one in known
        if not one.running
    )


def serves_already(known: list[Record], outlook: Outlook, release: str) -> Record | None:
    """The revision of a release that has the traffic; None where it has not, or nothing is kept of it."""
    there = seen(outlook.snapshot)
    found = [one for one in known if one.green.release == release and one.outcome is Outcome.SERVES]
    return found[-1] if found and there.release_of(there.active) == release and not there.pending else None


def moved(record: Record, there: Seen) -> bool:
    """Whether green has some of the traffic, or all of it, though perhaps nobody was there to note it."""
    return serves(record, there) or record.tried or "switched" in record.times


def may_replace(current: Record | None) -> None:
    """Whether something else may be applied beside the change that has not ended.

    Raises:
        Refused: it is a rollout, which has to be decided about. (A deployment that nobody waited for just ends.)
    """
    if current is None or current.kind is Kind.DEPLOY:
        return
    about = f"Revision {current.number} (release {current.green.release}, by {current.by})"
    if current.kind is Kind.ROLLBACK:
        raise Refused(
            f"{about} is a rollback under way. switchyard rollback goes on with it, switchyard abort takes it back."
        )
    raise Refused(
        f"{about} is being rolled out. switchyard promote or switchyard abort ends it; switchyard history shows it."
    )


def _beside(store: Store, known: list[Record], snapshot: Snapshot, there: Seen) -> tuple[int, Place]:
    """The number of a new revision, and what serves now, which has a record from here on."""
    blue = store.adopt(snapshot.service, there, known) if snapshot.service else Place()
    return max([*(one.number for one in known), blue.revision]) + 1, blue


def _same_way(current: Record, *, auto: bool) -> None:
    if current.auto == auto:
        return
    was = "with --auto: its verdict decides" if current.auto else "without --auto: it waits for promote or abort"
    raise Refused(
        f"Revision {current.number} of the same release was begun by {current.by} {was}. Go on with it "
        f"{'with' if current.auto else 'without'} --auto, or end it with switchyard abort."
    )


def _end(store: Store, current: Record, there: Seen) -> None:
    may_replace(current)
    release = current.green.release
    done = there.release_of(there.active) == release
    outcome = Outcome.SERVES if done else Outcome.FAILED
    why = "it serves" if done else "another release was applied before it served"
    store.write(replace(current, outcome=outcome, why=why))


def _took(record: Record) -> float | None:
    """Seconds from applying a release to its traffic."""
    if not {"applied", "switched"} <= record.times.keys():
        return None
    applied, switched = (datetime.fromisoformat(record.times[one]) for one in ("applied", "switched"))
    return (switched - applied).total_seconds()
