"""What records say: summaries, and how far two services' answers are apart. Pure: stdlib only, so that what gates on it
stays light.

Latencies are in seconds, rates a second. Only requests that ended well count for latencies; all count for failures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from bench.bootstrap import (
    MEDIAN,
    UNKNOWN,
    Interval,
    Percentile,
    Statistic,
    Verdict,
    bootstrap_ratio,
    bootstrap_rounds,
    percentile,
    verdict,
)
from bench.records import GIVEN_UP, Record

__all__ = [
    "MEDIAN",
    "UNKNOWN",
    "AnswerDrift",
    "Interval",
    "Percentile",
    "Quantiles",
    "Slo",
    "Statistic",
    "Summary",
    "Verdict",
    "answers",
    "bootstrap_ratio",
    "bootstrap_rounds",
    "metric",
    "percentile",
    "quantiles",
    "summary",
    "verdict",
]


@dataclass(frozen=True)
class Slo:
    """What a request must keep to count as good, s; None: no bound.

    Attributes:
        ttft: time to first token.
        tpot: time per output token after the first.
        e2e: the whole answer.
    """

    ttft: float | None = None
    tpot: float | None = None
    e2e: float | None = None

    def kept(self, record: Record) -> bool:
        """Whether the request ended well and within every bound."""
        return record.ok and all(
            limit is None or (value is not None and value <= limit) or (value is None and name == "tpot")
            for name, limit, value in (
                ("ttft", self.ttft, record.ttft),
                ("tpot", self.tpot, record.tpot),
                ("e2e", self.e2e, record.e2e),
            )
        )


@dataclass(frozen=True)
class Quantiles:
    """p50, p90 and p99 of a metric, and how many values they are of. nan where there are none."""

    count: int
    mean: float
    p50: float
    p90: float
    p99: float


def quantiles(values: Sequence[float]) -> Quantiles:
    """The usual percentiles of ``values``."""
    mean = fmean(values) if values else math.nan
    return Quantiles(len(values), mean, percentile(values, 50), percentile(values, 90), percentile(values, 99))


@dataclass(frozen=True)
class Summary:
    """A run in numbers. Latencies in seconds.

    Attributes:
        requests, failed: how many; failed ones are not in the latencies.
        duration: from the first request sent to the last one ended, s; of several rounds or targets, which take turns,
            the sum.
        requests_per_s: those that ended well.
        output_tokens_per_s, total_tokens_per_s: of those that ended well, as the server counted.
        goodput_per_s, good_share: requests that ended well within the SLO: a second, and of all.
        ttft, itl, tpot, e2e: percentiles.
        lag: how late the client itself sent, s.
        errors: how often each error came, the most frequent first.
        served_by: how many requests each release answered.
    """

    requests: int
    failed: int
    duration: float
    requests_per_s: float
    output_tokens_per_s: float
    total_tokens_per_s: float
    goodput_per_s: float
    good_share: float
    prompt_tokens: float
    completion_tokens: float
    ttft: Quantiles
    itl: Quantiles
    tpot: Quantiles
    e2e: Quantiles
    lag: Quantiles
    errors: dict[str, int]
    served_by: dict[str, int]


def metric(records: Sequence[Record], name: str) -> list[float]:
    """The values of ``ttft``, ``itl``, ``tpot`` or ``e2e`` of the requests that ended well."""
    good = [record for record in records if record.ok]
    if name == "itl":
        return [gap for record in good for gap in record.gaps]
    values: list[float | None] = [getattr(record, name) for record in good]
    return [value for value in values if value is not None]


def summary(records: Sequence[Record], slo: Slo | None = None) -> Summary:
    """The numbers of a run, or of a part of it. Requests that the client gave up are not in them."""
    records = [record for record in records if record.error != GIVEN_UP]
    good = [record for record in records if record.ok]
    kept = [record for record in good if (slo or Slo()).kept(record)]
    span = _span(records)
    times = 1 / span if span > 0 else 0.0
    output = sum(record.completion_tokens for record in good)
    prompts = sum(record.prompt_tokens for record in good)
    return Summary(
        requests=len(records),
        failed=len(records) - len(good),
        duration=span,
        requests_per_s=len(good) * times,
        output_tokens_per_s=output * times,
        total_tokens_per_s=(output + prompts) * times,
        goodput_per_s=len(kept) * times,
        good_share=len(kept) / len(records) if records else math.nan,
        prompt_tokens=prompts / len(good) if good else math.nan,
        completion_tokens=output / len(good) if good else math.nan,
        ttft=quantiles(metric(good, "ttft")),
        itl=quantiles(metric(good, "itl")),
        tpot=quantiles(metric(good, "tpot")),
        e2e=quantiles(metric(good, "e2e")),
        lag=quantiles([record.lag for record in records]),
        errors=_counted([record.error or "no finish reason" for record in records if not record.ok]),
        served_by=_counted([record.served_by for record in records if record.served_by]),
    )


def _span(records: Sequence[Record]) -> float:
    turns: dict[tuple[str, int], list[Record]] = {}
    for record in records:
        turns.setdefault((record.target, record.round), []).append(record)
    return sum(max(r.ended for r in turn) - min(r.sent for r in turn) for turn in turns.values())


def _counted(names: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in names:
        found[name] = found.get(name, 0) + 1
    return dict(sorted(found.items(), key=lambda item: -item[1]))


@dataclass(frozen=True)
class AnswerDrift:
    """How far apart the answers of two services to the same requests are.

    Attributes:
        pairs: requests that both answered well.
        exact: share of them with the same text, 0 to 1; nan without pairs.
        length_ratio: tokens of b's answers over tokens of a's, all together; nan without pairs.
        common_prefix: share of a's characters up to the first difference, averaged over the pairs.
        logprob_difference: mean absolute difference of log-probabilities (nats) over the tokens that each pair of
            answers begins with in common; None where one side gave none.
    """

    pairs: int
    exact: float
    length_ratio: float
    common_prefix: float
    logprob_difference: float | None


def answers(a_records: Sequence[Record], b_records: Sequence[Record]) -> AnswerDrift:
    """Compare the answers of a and b, paired by ``index``. Meaningful for greedy answers (temperature 0) only."""
    others = {(record.index, record.round): record for record in b_records if record.ok}
    pairs = [
        (record, others[record.index, record.round])
        for record in a_records
        if record.ok and (record.index, record.round) in others
    ]
    if not pairs:
        return AnswerDrift(0, math.nan, math.nan, math.nan, None)
    differences = [difference for a, b in pairs for difference in _logprob_differences(a, b)]
    return AnswerDrift(
        pairs=len(pairs),
        exact=fmean(a.text == b.text for a, b in pairs),
        length_ratio=sum(b.completion_tokens for _, b in pairs) / max(1, sum(a.completion_tokens for a, _ in pairs)),
        common_prefix=fmean(_common(a.text, b.text) / len(a.text) if a.text else float(not b.text) for a, b in pairs),
        logprob_difference=fmean(differences) if differences else None,
    )


def _common(a: str, b: str) -> int:
    """How many characters are the same from the beginning."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _logprob_differences(a: Record, b: Record) -> list[float]:
    if a.logprobs is None or b.logprobs is None:
        return []
    found: list[float] = []
    for i, (one, other) in enumerate(zip(a.logprobs, b.logprobs, strict=False)):
        if a.tokens is not None and b.tokens is not None and a.tokens[i : i + 1] != b.tokens[i : i + 1]:
            break
        found.append(abs(one - other))
    return found
