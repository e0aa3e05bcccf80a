"""The requests of a proof load: what became of each, and how they are kept with a revision. Pure.

A trip is a record of `bench` at its shortest, with times of the clock on the wall, so that those of several commands on
several machines make one picture. Where there are too many to be kept, finished ones far from a switch are thinned out,
and those that stay say how many they stand for: no count changes. What failed is thinned out last.
"""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from operator import attrgetter
from typing import Any, cast

from bench.records import GIVEN_UP, Record
from kuberay.look.redact import redact

NEAR_S = 75.0
"""Around a switch everything is kept: the report compares the minutes before and after it."""
_MOST_ERRORS = 50
_ERROR_CHARACTERS = 200


class Outcome(StrEnum):
    """What became of a request."""

    FINISHED = "finished"
    DROPPED = "dropped"  # broken off, not answered, or answered with an error
    REFUSED = "refused"  # told at once, and properly, to come again later
    GIVEN_UP = "given up"  # by us, when the command was ended


@dataclass(frozen=True, slots=True)
class Trip:
    """One request, there and back.

    Attributes:
        sent, ended: seconds since 1970.
        release: that answered; empty where none said so.
        ttft: time to the first token, s; None where none came.
        pause: the longest time between two events of the stream, s.
        error: what went wrong, in a sentence.
        weight: how many it stands for.
    """

    sent: float
    ended: float
    outcome: Outcome
    release: str = ""
    ttft: float | None = None
    pause: float = 0.0
    error: str = ""
    weight: int = 1

    @property
    def took(self) -> float:
        """Seconds from sending it to its end."""
        return self.ended - self.sent


@dataclass(frozen=True)
class Load:
    """What one command sent.

    Attributes:
        source: of which process on which machine.
        way: how it reached the service, for people.
        streams: how many at a time.
    """

    source: str
    way: str
    streams: int
    trips: tuple[Trip, ...] = ()


def trip(record: Record) -> Trip:
    """The trip that a record tells of, whose times are seconds since 1970."""
    if record.ok:
        outcome = Outcome.FINISHED
    elif record.error == GIVEN_UP:
        outcome = Outcome.GIVEN_UP
    elif record.status in (429, 503) and record.retry_after:
        outcome = Outcome.REFUSED
    else:
        outcome = Outcome.DROPPED
    error = "" if record.ok else _error(record)
    pause = max(record.gaps, default=0.0)
    return Trip(record.sent, record.ended, outcome, record.served_by, record.ttft, pause, error)


def _error(record: Record) -> str:
    """What went wrong, without bench's advice on its own options; an address in it may have a password."""
    told = redact(record.error).partition(" Give the key:")[0] or "it ended without a finish reason"
    return told[:_ERROR_CHARACTERS]


def pack(load: Load, moments: Sequence[float], most: int) -> str:
    """As text of at most ``most`` characters, from which :func:`unpack` makes it again.

    Args:
        moments: when traffic moved, s since 1970; around these nothing is left out while there is room.
    """
    near, stride = NEAR_S, 1
    while True:
        text = _packed(replace(load, trips=tuple(_thinned(load.trips, moments, stride, near))))
        if len(text) <= most:
            return text
        if stride < max(4, len(load.trips)):
            stride *= 4
        elif near > 0:
            near, stride = 0.0, 4
        else:
            return _packed(replace(load, trips=tuple(_summed(load.trips))))


def unpack(text: str) -> Load:
    """What :func:`pack` made.

    Raises:
        ValueError: it is none.
    """
    try:
        data = cast("dict[str, Any]", json.loads(gzip.decompress(base64.b64decode(text, validate=True))))
        outcomes = [Outcome(one) for one in cast("list[str]", data["outcomes"])]
        rows = cast("Iterable[tuple[int, ...]]", zip(*(data[name] for name in _COLUMNS), strict=True))
        sent, trips = float(data["began"]), list[Trip]()
        for step, took, ttft, pause, release, outcome, error, weight in rows:
            sent += step / 1000
            trips.append(
                Trip(
                    sent,
                    sent + took / 1000,
                    outcomes[outcome],
                    data["releases"][release],
                    None if ttft < 0 else ttft / 1000,
                    pause / 1000,
                    data["errors"][error],
                    weight,
                )
            )
        return Load(str(data["source"]), str(data["way"]), int(data["streams"]), tuple(trips))
    except (KeyError, TypeError, IndexError, OSError, EOFError, AttributeError, zlib.error) as error:
        raise ValueError(f"not a proof load: {error}") from None


_COLUMNS = ("step", "took", "ttft", "pause", "release", "outcome", "error", "weight")


def _packed(load: Load) -> str:
    """Columns of small numbers, which gzip makes a few bytes a request of."""
    trips = sorted(load.trips, key=lambda one: one.sent)
    releases, outcomes, errors = _names(one.release for one in trips), [one.value for one in Outcome], [""]
    errors += [name for name in _names(one.error for one in trips) if name][:_MOST_ERRORS]
    numbers = {name: at for at, name in enumerate(errors)}
    if len(errors) > _MOST_ERRORS:
        errors.append("another error")
    columns: dict[str, list[int]] = {name: [] for name in _COLUMNS}
    at = began = round(trips[0].sent, 3) if trips else 0.0
    for one in trips:
        step = round((one.sent - at) * 1000)
        at += step / 1000
        row = (
            step,
            round(one.took * 1000),
            -1 if one.ttft is None else round(one.ttft * 1000),
            round(one.pause * 1000),
            releases.index(one.release),
            outcomes.index(one.outcome.value),
            numbers.get(one.error, len(errors) - 1),
            one.weight,
        )
        for name, value in zip(_COLUMNS, row, strict=True):
            columns[name].append(value)
    about = {"version": 1, "source": load.source, "way": load.way, "streams": load.streams, "began": began}
    data = {**about, "releases": releases, "outcomes": outcomes, "errors": errors, **columns}
    return base64.b64encode(gzip.compress(json.dumps(data, separators=(",", ":")).encode(), mtime=0)).decode()


def _names(found: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(found))


def _thinned(trips: Sequence[Trip], moments: Sequence[float], stride: int, near: float) -> list[Trip]:
    """One of ``stride`` finished ones of each release stands for the others, except where it matters."""
    if stride == 1:
        return list(trips)
    finished = [one for one in trips if one.outcome is Outcome.FINISHED]
    # The report names these two.
    named = {id(max(finished, key=how)) for how in (attrgetter("took"), attrgetter("pause")) if finished}
    kept: list[Trip] = []
    waiting: dict[str, list[Trip]] = {}
    for one in trips:
        spans = any(one.sent - near <= moment <= one.ended + near for moment in moments)
        if spans or one.outcome is not Outcome.FINISHED or id(one) in named:
            kept.append(one)
        else:
            waiting.setdefault(one.release, []).append(one)
    for group in waiting.values():
        for first in range(0, len(group), stride):
            some = group[first : first + stride]
            kept.append(replace(some[len(some) // 2], weight=sum(one.weight for one in some)))
    return kept


def _summed(trips: Sequence[Trip]) -> list[Trip]:
    """One for each release, outcome and error, the longest: the last resort, where so much failed."""
    groups: dict[tuple[str, Outcome, str], list[Trip]] = {}
    for one in trips:
        error = one.error if len(groups) < _MOST_ERRORS else ""
        groups.setdefault((one.release, one.outcome, error), []).append(one)
    return [
        replace(max(group, key=attrgetter("took")), weight=sum(one.weight for one in group))
        for group in groups.values()
    ]
