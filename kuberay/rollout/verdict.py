"""What a validation concluded: findings, each with its figures, and whether the release may serve. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, cast


class Outcome(StrEnum):
    """What became of a check."""

    PASS = "pass"
    FAIL = "fail"
    SKIPPED = "skipped"


class Kind(StrEnum):
    """What a release is to the one that serves."""

    SAME_MODEL = "same_model"
    QUANTIZED = "quantized"
    NEW_MODEL = "new_model"


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Attributes:
        check: its name in the service file, such as ``latency``.
        text: what was found, in a sentence; with what to do about it where it failed.
        figures: what was measured, by name; units are in the names.
    """

    check: str
    outcome: Outcome
    text: str
    figures: Mapping[str, float | str] = field(default_factory=dict[str, float | str])


@dataclass(frozen=True)
class Verdict:
    """All findings about a release.

    Attributes:
        passed: no check failed, and all that were asked for came to an end.
        release: what was validated.
        against: the release that served meanwhile; empty where none did.
        kind: what it is to that one.
        at: RFC 3339 time in UTC at which it was concluded.
        seconds: how long the validation took.
    """

    passed: bool
    release: str
    against: str
    kind: Kind
    at: str
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def failed(self) -> tuple[Finding, ...]:
        """The findings against it."""
        return tuple(finding for finding in self.findings if finding.outcome is Outcome.FAIL)

    @property
    def reason(self) -> str:
        """In a sentence, fit for a decision: what failed, or that nothing did."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """As it is stored; :func:`from_json` reads it back."""
        raise NotImplementedError


def from_json(data: object) -> Verdict:
    """A verdict that was stored.

    Raises:
        ValueError: it is none; the message says what is wrong with it.
    """
    raise NotImplementedError


def lines(verdict: Verdict) -> list[str]:
    """For people: one line a check, and the conclusion."""
    raise NotImplementedError
