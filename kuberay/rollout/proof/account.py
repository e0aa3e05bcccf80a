"""Accounts for every request of a proof load: where it was served, whether it ended, what a switch did to it. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from bench.statistics import percentile
from kuberay.rollout.proof.trips import Outcome, Trip
from kuberay.rollout.record import Kind, Record
from kuberay.rollout.record import Outcome as Ended

AROUND_S = 60.0
"""The minutes before and after a switch are held against each other."""


@dataclass(frozen=True)
class Move:
    """Traffic went from one release to another.

    Attributes:
        name: ``switch`` or ``back``.
        at: seconds since 1970, as it was recorded; KubeRay did it up to a few seconds before.
        decided: when it was decided.
        old, new: releases; ``old`` is empty at a first install.
    """

    name: str
    at: float
    decided: float
    old: str
    new: str


@dataclass(frozen=True)
class Crossing:
    """What the requests saw of a move.

    Attributes:
        spanning: requests that were sent before it and ended after it, by the release that answered.
        spanning_dropped: how many of these were dropped.
        spanning_longest_s: the longest of these that ended well.
        first_new_s: from the decision to the first request that the new release answered; nan: it answered none.
        before_p99_s, after_p99_s: time to the first token in the minute before, on the old release, and in the first
            minute on the new one; nan without requests.
        before_count, after_count: how many requests these are of.
        ratio: after over before.
    """

    move: Move
    spanning: Mapping[str, int]
    spanning_dropped: int
    spanning_longest_s: float
    first_new_s: float
    before_p99_s: float
    after_p99_s: float
    before_count: int
    after_count: int
    ratio: float


@dataclass(frozen=True)
class Account:
    """All requests.

    Attributes:
        sent: the sum of the next four.
        by_release: outcomes by the release that answered; '' is nobody.
        longest_s: the longest request that ended well.
        pause_s: the longest pause inside a stream that ended well.
        errors: how often each came.
    """

    sent: int = 0
    finished: int = 0
    dropped: int = 0
    refused: int = 0
    given_up: int = 0
    by_release: Mapping[str, Mapping[str, int]] = field(default_factory=dict[str, Mapping[str, int]])
    longest_s: float = math.nan
    pause_s: float = math.nan
    errors: Mapping[str, int] = field(default_factory=dict[str, int])
    crossings: tuple[Crossing, ...] = ()

    @property
    def sentence(self) -> str:
        """What one wants to know first."""
        if not self.sent:
            return "No requests are kept: with --load N, N streams run beside a command, and are kept when it ends."
        said = f"{self.dropped} of {self.sent} requests dropped"
        said += f", {self.refused} refused with Retry-After" if self.refused else ""
        said += f", {self.given_up} given up when the command was ended" if self.given_up else ""
        for one in self.crossings:
            name = "switch" if one.move.name == "switch" else "way back"
            count = sum(one.spanning.values())
            dropped = f", {one.spanning_dropped} of them dropped" if one.spanning_dropped else ""
            said += f"; {count} spanned the {name}{dropped}"
        return f"{said}; the longest took {self.longest_s:.1f} s." if self.finished else f"{said}."

    def to_json(self) -> dict[str, Any]:
        """As data; what is not known is null."""
        return {**_plain(asdict(self)), "sentence": self.sentence}


def moves(record: Record) -> list[Move]:
    """When traffic moved, in order, as far as the record knows."""
    found: list[Move] = []
    blue, green = record.blue.release, record.green.release
    if "switched" in record.times:
        decided = _first(record, "approved", "applied", "switched")
        found.append(Move("switch", _first(record, "switched"), decided, blue, green))
    if "ended" in record.times:
        if record.outcome is Ended.ROLLED_BACK:
            found.append(
                Move("back", _first(record, "returned", "ended"), _first(record, "back", "ended"), green, blue)
            )
        elif record.kind is Kind.ROLLBACK and record.outcome is Ended.SERVES and not found:
            # A warm one: the cluster was there, so that there is no switch to be seen before its end.
            found.append(Move("switch", _first(record, "ended"), _first(record, "reverted", "ended"), blue, green))
    return found


def account(trips: Sequence[Trip], record: Record) -> Account:
    """Account for the trips of a revision."""
    outcomes = Counter[Outcome]()
    by_release: dict[str, Counter[str]] = {}
    errors = Counter[str]()
    for one in trips:
        outcomes[one.outcome] += one.weight
        by_release.setdefault(one.release, Counter())[one.outcome.value] += one.weight
        if one.error:
            errors[one.error] += one.weight
    good = [one for one in trips if one.outcome is Outcome.FINISHED]
    crossings: list[Crossing] = []
    since = -math.inf
    for move in moves(record):
        crossings.append(_crossing(trips, move, since))
        since = move.at
    return Account(
        sent=sum(outcomes.values()),
        finished=outcomes[Outcome.FINISHED],
        dropped=outcomes[Outcome.DROPPED],
        refused=outcomes[Outcome.REFUSED],
        given_up=outcomes[Outcome.GIVEN_UP],
        by_release={release: dict(count) for release, count in by_release.items()},
        longest_s=max((one.took for one in good), default=math.nan),
        pause_s=max((one.pause for one in good), default=math.nan),
        errors=dict(errors.most_common()),
        crossings=tuple(crossings),
    )


def _crossing(trips: Sequence[Trip], move: Move, since: float) -> Crossing:
    spanning = [one for one in trips if one.sent < move.at < one.ended]
    counts = Counter[str]()
    for one in spanning:
        counts[one.release] += one.weight
    well = [one.took for one in spanning if one.outcome is Outcome.FINISHED]
    told = move.new not in ("", move.old) and any(one.release == move.new for one in trips)
    old = [one for one in trips if since < one.sent < move.at and (not told or one.release == move.old)]
    # On the way back blue is asked all along, by those that keep a connection, or have the rest of a canary's traffic.
    begun = max(since, move.decided) if move.name == "back" else since
    new = [one for one in trips if one.sent > (begun if told else move.at) and (not told or one.release == move.new)]
    first = min((one.sent for one in new), default=math.nan)
    last = move.at if not told else min(move.at, first)
    before = _ttft(one for one in old if last - AROUND_S <= one.sent <= last)
    after = _ttft(one for one in new if first <= one.sent <= first + AROUND_S)
    before_p99, after_p99 = percentile(before, 99), percentile(after, 99)
    return Crossing(
        move,
        dict(counts),
        sum(one.weight for one in spanning if one.outcome is Outcome.DROPPED),
        max(well, default=math.nan),
        first - move.decided,
        before_p99,
        after_p99,
        len(before),
        len(after),
        after_p99 / before_p99 if before and after and before_p99 > 0 else math.nan,
    )


def _ttft(trips: Iterable[Trip]) -> list[float]:
    good = [one for one in trips if one.outcome is Outcome.FINISHED and one.ttft is not None]
    return [one.ttft for one in good for _ in range(one.weight) if one.ttft is not None]


def _first(record: Record, *phases: str) -> float:
    """When the first of these phases that there was began."""
    return next(datetime.fromisoformat(record.times[one]).timestamp() for one in phases if one in record.times)


def _plain(value: Any) -> Any:
    """Without the numbers that JSON does not have."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]  # pyright: ignore[reportUnknownVariableType]
    return None if isinstance(value, float) and not math.isfinite(value) else value
