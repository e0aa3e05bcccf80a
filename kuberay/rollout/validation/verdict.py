"""What a validation concluded: findings, each with its figures, and whether the release may serve. Pure."""

from __future__ import annotations

import math
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
        if self.failed:
            return "; ".join(f"{finding.check}: {finding.text.rstrip('.')}" for finding in self.failed) + "."
        done = [finding.check for finding in self.findings if finding.outcome is Outcome.PASS]
        return f"Passed: {', '.join(done)}." if done else "No check was asked for."

    def to_json(self) -> dict[str, Any]:
        """As it is stored; :func:`from_json` reads it back. Numbers that JSON does not have become null."""
        data = asdict(self)
        for finding in data["findings"]:
            finding["figures"] = {
                name: None if isinstance(value, float) and not math.isfinite(value) else value
                for name, value in finding["figures"].items()
            }
        return data


def from_json(data: object) -> Verdict:
    """A verdict that was stored.

    Raises:
        ValueError: it is none; the message says what is wrong with it.
    """
    try:
        stored = cast("dict[str, Any]", data)
        findings = tuple(_finding(item) for item in stored["findings"])
        return Verdict(
            # Not bool(): whatever somebody wrote there, only a plain true lets a release through.
            passed=stored["passed"] is True and not any(item.outcome is Outcome.FAIL for item in findings),
            release=str(stored["release"]),
            against=str(stored["against"]),
            kind=Kind(stored["kind"]),
            at=str(stored["at"]),
            findings=findings,
            seconds=float(stored["seconds"]),
        )
    except KeyError as error:
        raise ValueError(f"not a verdict: {error} is missing") from None
    except (TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"not a verdict: {error}") from None


def _finding(item: Mapping[str, Any]) -> Finding:
    figures: dict[str, float | str] = {
        str(name): math.nan if value is None else value if isinstance(value, str) else float(value)
        for name, value in dict(item["figures"]).items()
    }
    return Finding(str(item["check"]), Outcome(item["outcome"]), str(item["text"]), figures)


_SIGNS = {Outcome.PASS: "ok", Outcome.FAIL: "FAIL", Outcome.SKIPPED: "--"}


def lines(verdict: Verdict) -> list[str]:
    """For people: one line a check, and the conclusion."""
    width = max((len(finding.check) for finding in verdict.findings), default=0)
    found = [f"{_SIGNS[item.outcome]:<4}  {item.check:<{width}}  {item.text}" for item in verdict.findings]
    beside = f" beside {verdict.against} ({verdict.kind.replace('_', ' ')})" if verdict.against else ""
    count = len(verdict.failed)
    said = "passed" if verdict.passed else f"did not pass: {count} {'check' if count == 1 else 'checks'} failed"
    return [*found, f"Release {verdict.release}{beside} {said}. It took {verdict.seconds:.0f} s."]
