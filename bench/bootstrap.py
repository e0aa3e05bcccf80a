"""Percentiles, ratios with bootstrap confidence intervals, and verdicts. Pure: stdlib only, knows no records."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean
from typing import Literal

Verdict = Literal["better", "worse", "no difference shown"]
Statistic = Callable[[Sequence[float]], float]

RESAMPLES = 2000
_SMALLEST = 1e-9  # s; stands in for a zero in a ratio


def percentile(values: Sequence[float], q: float) -> float:
    """The ``q``-th percentile (0 to 100), linear between the two nearest values as numpy's default; nan for none."""
    return _at(sorted(values), q)


def _at(ordered: Sequence[float], q: float) -> float:
    if not ordered:
        return math.nan
    place = (len(ordered) - 1) * q / 100
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


@dataclass(frozen=True)
class Percentile:
    """A percentile as a statistic: ``bootstrap_ratio(a, b, Percentile(99))``. Has a quick way to be bootstrapped."""

    q: float

    def __call__(self, values: Sequence[float]) -> float:
        """See :func:`percentile`."""
        return percentile(values, self.q)


MEDIAN = Percentile(50)


@dataclass(frozen=True)
class Interval:
    """A ratio with its confidence interval. ``mid`` is nan, from 0 to infinity, where nothing can be said."""

    low: float
    mid: float
    high: float


UNKNOWN = Interval(0.0, math.nan, math.inf)


def bootstrap_ratio(
    a: Sequence[float],
    b: Sequence[float],
    statistic: Statistic,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The ratio of ``statistic(b)`` over ``statistic(a)``, with a percentile bootstrap interval (Efron 1979).

    Values are taken as independent; for interleaved rounds see :func:`bootstrap_rounds`. The same values and seed give
    the same interval. :data:`UNKNOWN` where a side has no values.
    """
    if not a or not b:
        return UNKNOWN
    chance = random.Random(seed)
    drawn = sorted(
        _ratio(one, other)
        for one, other in zip(
            _resampled(a, statistic, RESAMPLES, chance), _resampled(b, statistic, RESAMPLES, chance), strict=True
        )
    )
    tail = (1 - confidence) / 2 * 100
    return Interval(_at(drawn, tail), _ratio(statistic(a), statistic(b)), _at(drawn, 100 - tail))


def bootstrap_rounds(
    a: Sequence[Sequence[float]],
    b: Sequence[Sequence[float]],
    statistic: Statistic,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The same for rounds that alternated: ``a[i]`` and ``b[i]`` were measured next to each other.

    The geometric mean of the rounds' own ratios; rounds are drawn anew, and values within them, so that what changes
    from round to round (other work on the machine) widens the interval instead of being taken for certainty. A
    percentile interval of few rounds is too narrow: it is widened by ``t / z * sqrt(n / (n - 1))``, the expanded
    percentile interval of Hesterberg, "What Teachers Should Know About the Bootstrap" (2015). :data:`UNKNOWN` for
    fewer than two rounds with values on both sides.
    """
    pairs = [(one, other) for one, other in zip(a, b, strict=True) if one and other]
    count = len(pairs)
    if count < 2:
        return UNKNOWN
    chance = random.Random(seed)
    each = 300
    pools = [
        [
            math.log(_ratio(x, y))
            for x, y in zip(
                _resampled(one, statistic, each, chance), _resampled(other, statistic, each, chance), strict=True
            )
        ]
        for one, other in pairs
    ]
    mid = fmean(math.log(_ratio(statistic(one), statistic(other))) for one, other in pairs)
    drawn = sorted(fmean(chance.choice(pools[chance.randrange(count)]) for _ in range(count)) for _ in range(RESAMPLES))
    tail = (1 - confidence) / 2 * 100
    wider = _student(confidence, count - 1) / _normal(confidence) * math.sqrt(count / (count - 1))
    low, high = (mid + (_at(drawn, q) - mid) * wider for q in (tail, 100 - tail))
    return Interval(math.exp(min(low, mid)), math.exp(mid), math.exp(max(high, mid)))


def verdict(interval: Interval, limit: float = 1.0, higher_is_better: bool = False) -> Verdict:
    """What a ratio of b over a says about b: better or worse only if the whole interval is beyond ``limit``.

    Args:
        interval: the ratio.
        limit: a difference below this factor (1.05: five per cent) does not matter. At least 1.
        higher_is_better: for rates; for latencies, lower is better.
    """
    if limit < 1:
        raise ValueError(f"limit is a factor of at least 1, not {limit}")
    if math.isnan(interval.mid):
        return "no difference shown"
    if interval.low > limit:
        return "better" if higher_is_better else "worse"
    if interval.high < 1 / limit:
        return "worse" if higher_is_better else "better"
    return "no difference shown"


def _ratio(a: float, b: float) -> float:
    return max(b, _SMALLEST) / max(a, _SMALLEST)


def _resampled(values: Sequence[float], statistic: Statistic, times: int, chance: random.Random) -> list[float]:
    """``statistic`` of ``times`` samples drawn from ``values`` with replacement."""
    if isinstance(statistic, Percentile):
        return _resampled_percentile(sorted(values), statistic.q, times, chance)
    # A long list needs fewer draws for the same error, and they cost more: about a second at most.
    wanted = max(200, min(times, 20_000_000 // len(values) // 10))
    drawn = [statistic(chance.choices(values, k=len(values))) for _ in range(min(times, wanted))]
    return [drawn[i % len(drawn)] for i in range(times)]


def _resampled_percentile(ordered: Sequence[float], q: float, times: int, chance: random.Random) -> list[float]:
    """The same for a percentile without drawing the samples.

    The k-th smallest of n uniform numbers is Beta(k, n + 1 - k), the next one above it (1 - u) * Beta(1, n - k) more
    (order statistics, David and Nagaraja 2003); a sample's k-th smallest value is the one at that place.
    """
    n = len(ordered)
    place = (n - 1) * q / 100
    below = math.floor(place)
    found: list[float] = []
    for _ in range(times):
        u = chance.betavariate(below + 1, n - below)
        value = ordered[min(int(u * n), n - 1)]
        if place > below:
            above = u + (1 - u) * chance.betavariate(1, n - below - 1)
            value += (ordered[min(int(above * n), n - 1)] - value) * (place - below)
        found.append(value)
    return found


def _normal(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _student(confidence: float, freedom: int) -> float:
    """Student's t quantile, by Cornish and Fisher's expansion (Abramowitz and Stegun 26.7.5)."""
    z = _normal(confidence)
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * freedom**4)
    )
