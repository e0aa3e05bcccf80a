"""What is kept of a change of a service: who wanted what, when each phase began, how it ended. Pure.

A record is a ConfigMap with three keys, each with one writer: ``record.json`` by whoever holds the lease, ``wish.json``
by whoever promotes or aborts, from any machine, ``objects.json`` once.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, cast

from kuberay.names import INCREMENTAL

STOP = "canary-"
"""The phases that are stops of the traffic on its way begin so, and end with its per cent."""


class Kind(StrEnum):
    """How a change came about."""

    FOUND = "found"  # it was there before there were records
    DEPLOY = "deploy"  # switches when it is ready
    ROLLOUT = "rollout"  # is held, validated and decided about
    ROLLBACK = "rollback"  # back (or forward) to an earlier revision


class Outcome(StrEnum):
    """How it ended."""

    NONE = ""
    SERVES = "serves"
    ABORTED = "aborted"
    ROLLED_BACK = "rolled back"
    FAILED = "failed"


class Verb(StrEnum):
    """What is wished for a rollout."""

    NONE = ""
    PROMOTE = "promote"
    ABORT = "abort"


@dataclass(frozen=True)
class Wish:
    """What somebody wants of a rollout that runs.

    Attributes:
        by: who.
        reason: why; needed to promote without a good verdict.
        override: promote although the verdict is bad, or not there.
        to: promote up to so many per cent of the traffic, and hold there (incremental strategy).
        despite: what the watch had found by then, which ``override`` is about as well: up to the next stop.
        keep: abort, and leave green's cluster for as long as KubeRay keeps it, where it has had all the traffic.
    """

    verb: Verb = Verb.NONE
    by: str = ""
    reason: str = ""
    override: bool = False
    to: int = 100
    despite: str = ""
    keep: bool = False


@dataclass(frozen=True)
class Place:
    """A release on a cluster.

    Attributes:
        revision: number of the record that holds its objects; 0 where there is none.
        cluster: the RayCluster, empty while it is not known.
    """

    revision: int = 0
    release: str = ""
    cluster: str = ""


@dataclass(frozen=True)
class Record:
    """One revision of a service.

    Attributes:
        number: counts from 1.
        blue: what served when it began; empty at the first install.
        green: what is to serve.
        strategy: the upgrade strategy of the service file, which is put aside while an old release is put back.
        by: who began it.
        began: when.
        auto: the verdict decides, not a person.
        warm: green runs already, and only has to get the traffic.
        start_s: seconds that green may take to be ready.
        watch_s: seconds that traffic is watched after the switch.
        canary: per cents of the traffic at which it stops on its way (incremental strategy).
        canary_s: seconds that it is watched at each.
        verdict: of the validation: ``pass``, ``fail``, or empty while there is none.
        breach: what the watch found wrong, empty while nothing is.
        back: why blue is to have the traffic again; empty while that is not wanted.
        times: when each phase began.
        outcome: how it ended; none while it runs.
        why: of the outcome, in a sentence.
    """

    number: int
    service: str
    kind: Kind
    green: Place
    blue: Place = Place()
    strategy: str = "NewCluster"
    by: str = ""
    began: str = ""
    auto: bool = False
    warm: bool = False
    start_s: float = 1800
    watch_s: float = 300
    canary: tuple[int, ...] = ()
    canary_s: float = 60
    verdict: str = ""
    breach: str = ""
    back: str = ""
    times: Mapping[str, str] = field(default_factory=dict[str, str])
    outcome: Outcome = Outcome.NONE
    why: str = ""
    wish: Wish = Wish()

    @property
    def running(self) -> bool:
        """It has not ended."""
        return self.outcome is Outcome.NONE

    @property
    def incremental(self) -> bool:
        """Traffic moves by steps."""
        return self.strategy == INCREMENTAL

    @property
    def promoted(self) -> bool:
        """Somebody wished it to have traffic, with a good verdict or without one in so many words."""
        return self.wish.verb is Verb.PROMOTE and (self.verdict == "pass" or self.wish.override)

    @property
    def not_promoted(self) -> bool:
        """Somebody wished it to have traffic, and the verdict that came since is bad."""
        return self.wish.verb is Verb.PROMOTE and self.verdict == "fail" and not self.wish.override

    @property
    def tried(self) -> bool:
        """Green had some of the traffic."""
        return self.reached > 0

    @property
    def reached(self) -> int:
        """Per cent of the traffic that green has had, as far as it went by steps."""
        return max((int(one.removeprefix(STOP)) for one in self.times if one.startswith(STOP)), default=0)

    @property
    def overlooks(self) -> bool:
        """Somebody wished it to go on despite what the watch has found."""
        return bool(self.breach) and self.wish.override and self.wish.despite == self.breach

    @property
    def found(self) -> str:
        """What the watch has found: now, or at an earlier stop, where somebody overlooked it. Empty: nothing."""
        return self.breach or (self.wish.despite if self.wish.override else "")

    @property
    def frees(self) -> bool:
        """Green's cluster goes, even if it has had all the traffic: its GPUs are wanted, not a way forward."""
        return self.wish.verb is Verb.ABORT and not self.wish.keep

    @property
    def stuck(self) -> bool:
        """Green serves although blue was to have the traffic again."""
        return bool(self.back) and self.outcome is Outcome.SERVES

    def since(self, phase: str, now: datetime) -> float | None:
        """Seconds since a phase began; None where it has not."""
        then = self.times.get(phase)
        return (now - datetime.fromisoformat(then)).total_seconds() if then else None

    def stamped(self, phase: str, now: datetime) -> Record:
        """With the time at which the phase began, if this is the first time."""
        if phase in self.times:
            return self
        return replace(self, times={**self.times, phase: now.isoformat(timespec="milliseconds")})


def to_json(record: Record) -> str:
    """As ``record.json`` holds it: all but the wish."""
    data = dataclasses.asdict(record)
    del data["wish"]
    return json.dumps(data)


def wish_to_json(wish: Wish) -> str:
    """As ``wish.json`` holds it."""
    return json.dumps(dataclasses.asdict(wish))


def from_json(text: str, wish: str | None = None) -> Record:
    """A record out of its ConfigMap. What a later version added is passed over.

    Raises:
        ValueError: it is not a record.
    """
    data = _known(Record, json.loads(text))
    try:
        data["kind"], data["outcome"] = Kind(data["kind"]), Outcome(data.get("outcome", ""))
        data["green"] = Place(**_known(Place, data["green"]))
        data["blue"] = Place(**_known(Place, data.get("blue") or {}))
        data["canary"] = tuple(int(one) for one in data.get("canary") or ())
        made = Record(**data)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a record of a revision: {error}") from None
    return replace(made, wish=wish_from_json(wish))


def wish_from_json(text: str | None) -> Wish:
    """A wish; none where there is none, or nobody can read it."""
    try:
        data = _known(Wish, json.loads(text or ""))
        data["verb"] = Verb(data["verb"])
        return Wish(**data)
    except (ValueError, KeyError, TypeError):
        return Wish()


def _known(kind: type, data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise ValueError("not an object")
    names = {one.name for one in dataclasses.fields(kind)} - {"wish"}
    return {key: value for key, value in cast("dict[str, Any]", data).items() if key in names}
