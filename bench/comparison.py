"""Two services, metric by metric. Pure.

The rounds of a comparison alternate, so that whatever else the machine does hits both; the intervals are taken over the
rounds' own ratios. Runs that were not made side by side are compared request by request, which knows nothing of that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.records import Record
from bench.statistics import (
    UNKNOWN,
    AnswerDrift,
    Interval,
    Percentile,
    Verdict,
    answers,
    bootstrap_ratio,
    bootstrap_rounds,
    metric,
    percentile,
    summary,
    verdict,
)

MIN_ROUNDS = 3
LATENCIES = ("ttft", "itl", "tpot", "e2e")
RATES = ("requests_per_s", "output_tokens_per_s")


@dataclass(frozen=True)
class Line:
    """One metric of two services.

    Attributes:
        metric: such as ``ttft p99``.
        unit: ``s``, ``/s`` or ``share``.
        a, b: its values.
        ratio: b over a, with its interval.
        verdict: what that says about b.
    """

    metric: str
    unit: str
    a: float
    b: float
    ratio: Interval
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """Everything about b as against a.

    Attributes:
        lines: a metric each.
        drift: how far their answers are apart.
        rounds: how many alternated; 0: they were not made side by side.
        confidence: of the intervals, each for itself.
    """

    lines: list[Line]
    drift: AnswerDrift
    rounds: int
    confidence: float

    @property
    def worse(self) -> list[Line]:
        """Where b is worse."""
        return [line for line in self.lines if line.verdict == "worse"]

    @property
    def better(self) -> list[Line]:
        """Where b is better."""
        return [line for line in self.lines if line.verdict == "better"]


def compare(
    a: Sequence[Record], b: Sequence[Record], confidence: float = 0.95, limit: float = 1.0, seed: int = 0
) -> Comparison:
    """Compare b with a.

    Args:
        a, b: their records, of the same requests.
        confidence: of each interval.
        limit: a difference below this factor does not matter, see :func:`bench.statistics.verdict`.
        seed: of the bootstrap.
    """
    rounds = _rounds(a, b)
    lines = [_failures(a, b, confidence)]
    for name in LATENCIES:
        for q in (50, 90, 99):
            lines.append(_latency(a, b, rounds, name, q, confidence, limit, seed))
    for name in RATES:
        lines.append(_rate(a, b, rounds, name, confidence, limit, seed))
    return Comparison(lines, answers(a, b), len(rounds), confidence)


def _rounds(a: Sequence[Record], b: Sequence[Record]) -> list[tuple[list[Record], list[Record]]]:
    """What each round measured of both; none where there are too few to say anything."""
    numbers = sorted({record.round for record in a} & {record.round for record in b})
    if len(numbers) < MIN_ROUNDS:
        return []
    return [([r for r in a if r.round == number], [r for r in b if r.round == number]) for number in numbers]


def _latency(
    a: Sequence[Record],
    b: Sequence[Record],
    rounds: list[tuple[list[Record], list[Record]]],
    name: str,
    q: int,
    confidence: float,
    limit: float,
    seed: int,
) -> Line:
    mine, others = metric(a, name), metric(b, name)
    if rounds:
        ones, twos = zip(*((metric(x, name), metric(y, name)) for x, y in rounds), strict=True)
        ratio = bootstrap_rounds(ones, twos, Percentile(q), confidence, seed)
    else:
        ratio = bootstrap_ratio(mine, others, Percentile(q), confidence, seed)
    said = verdict(ratio, limit)
    return Line(f"{name} p{q}", "s", percentile(mine, q), percentile(others, q), ratio, said)


def _rate(
    a: Sequence[Record],
    b: Sequence[Record],
    rounds: list[tuple[list[Record], list[Record]]],
    name: str,
    confidence: float,
    limit: float,
    seed: int,
) -> Line:
    """A rate is one number a run: without rounds there is nothing to take an interval of."""
    if not rounds:
        mine, other = getattr(summary(a), name), getattr(summary(b), name)
        mid = other / mine if mine else math.nan
        return Line(name, "/s", mine, other, Interval(0.0, mid, math.inf), "no difference shown")
    ones, twos = zip(*(([getattr(summary(x), name)], [getattr(summary(y), name)]) for x, y in rounds), strict=True)
    ratio = bootstrap_rounds(ones, twos, Percentile(50), confidence, seed)
    mine, other = (percentile([value for [value] in values], 50) for values in (ones, twos))
    return Line(name, "/s", mine, other, ratio, verdict(ratio, limit, higher_is_better=True))


def _failures(a: Sequence[Record], b: Sequence[Record], confidence: float) -> Line:
    """Failed requests, by Fisher's exact test: counts are too small for anything else."""
    bad_a, bad_b = (sum(not record.ok for record in records) for records in (a, b))
    said: Verdict = "no difference shown"
    if _fisher(bad_a, len(a), bad_b, len(b)) < 1 - confidence:
        said = "worse" if bad_b * len(a) > bad_a * len(b) else "better"
    shares = (bad_a / len(a) if a else math.nan, bad_b / len(b) if b else math.nan)
    return Line("failed", "share", *shares, UNKNOWN, said)


def _fisher(bad_a: int, a: int, bad_b: int, b: int) -> float:
    """Two-sided p-value that both fail as often: the sum over all tables that are no likelier than this one."""
    bad = bad_a + bad_b

    def chance(k: int) -> float:
        return math.comb(a, k) * math.comb(b, bad - k) / math.comb(a + b, bad)

    seen = chance(bad_a)
    likely = (chance(k) for k in range(max(0, bad - b), min(a, bad) + 1))
    return sum(value for value in likely if value <= seen * (1 + 1e-9))
