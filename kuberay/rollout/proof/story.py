"""All that is known of one revision: record, verdict, requests, and what it changed. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kuberay.rollout import show
from kuberay.rollout.proof import between
from kuberay.rollout.proof.account import Account, account, moves
from kuberay.rollout.proof.between import Changed, Side
from kuberay.rollout.proof.trips import Load, Trip
from kuberay.rollout.record import STOP, Outcome, Record
from kuberay.rollout.validation import verdict
from kuberay.rollout.validation.verdict import Verdict

_MEANS = {
    "applied": "the new release's objects are applied, its cluster starts",
    "held": "it is ready and held; it is validated",
    "validated": "the verdict is there; somebody decides",
    "approved": "it is approved; the gate opens",
    "switched": "it has the traffic, which is watched",
    "breached": "the watch found something wrong",
    "back": "the traffic is to go back",
    "returned": "all the traffic is back",
    "reverted": "the objects of what is to serve are applied",
    "ended": "it has ended",
}


@dataclass(frozen=True)
class Phase:
    """A part of a rollout, from its mark to the next.

    Attributes:
        number: from 1; pictures are marked with it.
        begins, ends: seconds since 1970.
        text: what happens in it.
    """

    number: int
    name: str
    begins: float
    ends: float
    text: str


@dataclass(frozen=True)
class Story:
    """One revision.

    Attributes:
        verdict: None where there is none, or nobody can read it.
        loads: what each command sent.
        old, new: what was applied before and now; the first is empty at a first install.
    """

    record: Record
    verdict: Verdict | None
    loads: tuple[Load, ...]
    old: Side
    new: Side
    changed: tuple[Changed, ...]

    @property
    def trips(self) -> list[Trip]:
        """All requests, in the order in which they were sent."""
        return sorted((one for load in self.loads for one in load.trips), key=lambda one: one.sent)

    @property
    def account(self) -> Account:
        """All requests accounted for."""
        return account(self.trips, self.record)

    @property
    def began(self) -> float:
        """When it began, s since 1970."""
        marks = [self.record.began, *self.record.times.values()]
        return min((_seconds(one) for one in marks if one), default=0.0)

    @property
    def phases(self) -> list[Phase]:
        """In the order they came."""
        record = self.record
        marks = sorted((_seconds(text), name) for name, text in record.times.items())
        last = marks[-1][0] if marks else self.began
        found: list[Phase] = []
        for place, (at, name) in enumerate(marks):
            ends = marks[place + 1][0] if place + 1 < len(marks) else last
            found.append(Phase(place + 1, name, at, ends, _text(record, name)))
        return found

    @property
    def title(self) -> str:
        """For the top of a page."""
        record = self.record
        way = f"{record.blue.release} to {record.green.release}" if record.blue.release else record.green.release
        return f"{record.service}, revision {record.number}: {record.kind.value}, release {way}"

    def to_json(self) -> dict[str, Any]:
        """As data."""
        return {
            **show.as_json(self.record),
            "phases": [
                {"phase": one.name, "at": self.record.times[one.name], "took_s": round(one.ends - one.begins, 3)}
                for one in self.phases
            ],
            "verdict_document": self.verdict.to_json() if self.verdict else None,
            "changes": [one.to_json() for one in self.changed],
            "requests": self.account.to_json(),
            "loads": [
                {"source": one.source, "way": one.way, "streams": one.streams, "kept": len(one.trips)}
                for one in self.loads
            ],
        }


def tell(record: Record, data: Mapping[str, str], loads: Sequence[Load], old: Side, new: Side) -> Story:
    """The story of a revision.

    Args:
        data: of its ConfigMap.
        old: what served before; its number is 0 where nobody kept that.
    """
    try:
        found = verdict.from_json(json.loads(data["verdict.json"])) if data.get("verdict.json") else None
    except ValueError:
        found = None
    known = bool(old.objects and new.objects)
    return Story(record, found, tuple(loads), old, new, tuple(between.between(old, new)) if known else ())


def crossed(story: Story) -> list[float]:
    """When traffic moved, s since 1970."""
    return [one.at for one in moves(story.record)]


def _text(record: Record, name: str) -> str:
    text = _MEANS.get(name, name)
    if name.startswith(STOP):
        text = f"{name.removeprefix(STOP)} % of the traffic is on it, and watched"
    if name == "approved" and record.wish.by:
        text = f"approved by {record.wish.by}; the gate opens"
    if name == "breached" and record.found:
        text = f"the watch found: {record.found}"
    if name == "back" and record.back:
        text = f"the traffic is to go back: {record.back}"
    if name == "ended" and record.outcome is not Outcome.NONE:
        text = ended(record)
    return text


def ended(record: Record) -> str:
    """How it ended, and why where that says more."""
    why = "" if record.why in ("", f"it {record.outcome.value}") else f": {record.why}"
    return f"{record.outcome.value}{why}"


def _seconds(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0
