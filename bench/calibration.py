"""From a measured ladder to a simulated engine, and how far the two are apart. Pure."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bench.bootstrap import percentile
from bench.errors import ResultError
from bench.queueing import Arrival, Limits, Served, simulate
from bench.records import Record
from bench.step_times import ENOUGH, StepTimes, fit


def calibrate(records: Sequence[Record], limits: Limits, apart: Sequence[Record] = ()) -> StepTimes:
    """Step times of the engine, and what first tokens take besides.

    The records' own arrivals are simulated without anything besides; what their first tokens took longer than that is
    the entry: a straight line over the requests that were there already, and how it scatters around that. Stages in
    which more than half of the places were taken on average are left out: their requests waited in the queue, and a
    queue that is a little longer or shorter than the simulated one is no entry.

    Args:
        records: of loads from a single request to beyond saturation.
        limits: of the replica that was measured.
        apart: those of them that came one by one (open loops). With enough of them, the entry is taken from them alone:
            a closed loop's requests come together, as one answer's end is the next one's beginning, and hold each other
            up at the door.

    Raises:
        ResultError: see :func:`bench.step_times.fit`.
    """
    times = fit(records)
    pairs: list[tuple[int, float]] = []
    for stage in _stages(apart if len(apart) >= ENOUGH else records):
        served = simulate(times, arrivals_of(stage), limits)
        sent, ended = [record.sent for record in stage], sorted(record.ended for record in stage)
        there = [bisect_right(sent, at) - bisect_right(ended, at) - 1 for at in sent]
        if 2 * sum(there) > limits.running * len(there):
            continue
        for inside, record, one in zip(there, stage, served, strict=True):
            if inside < limits.running and record.ttft is not None:
                pairs.append((inside, record.ttft - one.ttft))
    if not pairs:
        raise ResultError(
            f"In all loads, more than half of {limits.running} places were taken, so what a request takes without "
            "a queue is unknown. Measure lower loads too, or give the engine's real --max-running."
        )
    slope = _slope(pairs)
    rest = sorted(max(0.0, value - slope * inside) for inside, value in pairs)
    return replace(times, entry_s=tuple(percentile(rest, at) for at in range(0, 101, 2)), entry_per_request_s=slope)


def _slope(pairs: Sequence[tuple[int, float]]) -> float:
    """Of the straight line through the medians of each number of requests: single slow ones do not bend it."""
    groups: dict[int, list[float]] = {}
    for inside, value in pairs:
        groups.setdefault(inside, []).append(value)
    points = [(inside, percentile(values, 50), len(values)) for inside, values in groups.items()]
    total = sum(weight for _, _, weight in points)
    mean_x = sum(x * weight for x, _, weight in points) / total
    mean_y = sum(y * weight for _, y, weight in points) / total
    square = sum(weight * (x - mean_x) ** 2 for x, _, weight in points)
    return max(0.0, sum(w * (x - mean_x) * (y - mean_y) for x, y, w in points) / square) if square else 0.0


def _stages(records: Sequence[Record]) -> list[list[Record]]:
    found: dict[tuple[str, int], list[Record]] = {}
    for record in sorted(records, key=lambda record: record.sent):
        if record.ok and record.first is not None:
            found.setdefault((record.target, record.round), []).append(record)
    return list(found.values())


def arrivals_of(records: Sequence[Record]) -> list[Arrival]:
    """The same requests, sent at the same times."""
    ordered = sorted(records, key=lambda record: record.sent)
    return [Arrival(record.sent, record.prompt_tokens, record.completion_tokens) for record in ordered]


@dataclass(frozen=True)
class Step:
    """A stage of a ladder, measured and simulated. Times in s.

    Attributes:
        name: of the stage.
        rate: requests sent a second.
        requests: how many ended well.
        ttft_p50, ttft_p90, tpot_p90: measured, then simulated.
    """

    name: str
    rate: float
    requests: int
    ttft_p50: tuple[float, float]
    ttft_p90: tuple[float, float]
    tpot_p90: tuple[float, float]


def check(times: StepTimes, stages: Mapping[str, Sequence[Record]], limits: Limits, seed: int = 0) -> list[Step]:
    """Simulate the arrivals of each load, and put the times beside those measured.

    Meant for open loops: in a closed one the service itself decided when the next request came. A load that was
    measured several times (records of several rounds) is simulated as often, and looked at as one.
    """
    found: list[Step] = []
    for name, records in stages.items():
        parts = [part for part in _stages(records) if len(part) > 1]
        if not parts:
            continue
        good = [record for part in parts for record in part]
        served = [one for part in parts for one in simulate(times, arrivals_of(part), limits, seed)]
        span = sum(part[-1].sent - part[0].sent for part in parts)

        def both(
            metric: str, at: float, good: list[Record] = good, served: list[Served] = served
        ) -> tuple[float, float]:
            return _percentile(good, metric, at), _percentile(served, metric, at)

        found.append(
            Step(
                name=name,
                rate=(len(good) - len(parts)) / span if span else math.nan,
                requests=len(good),
                ttft_p50=both("ttft", 50),
                ttft_p90=both("ttft", 90),
                tpot_p90=both("tpot", 90),
            )
        )
    return found


def _percentile(items: Sequence[Record] | Sequence[Served], metric: str, at: float) -> float:
    values: list[float | None] = [getattr(item, metric) for item in items]
    return percentile([value for value in values if value is not None], at)


def rate_within(steps: Sequence[Step], limit_s: float) -> tuple[float, float]:
    """The rate up to which TTFT p90 stays within a limit, measured and simulated, requests a second.

    Between two stages the time is taken to grow geometrically with the rate. Infinity: it stays within all of them.
    """
    ordered = sorted(steps, key=lambda step: step.rate)
    return _crossing([(s.rate, s.ttft_p90[0]) for s in ordered], limit_s), _crossing(
        [(s.rate, s.ttft_p90[1]) for s in ordered], limit_s
    )


def _crossing(points: Sequence[tuple[float, float]], limit: float) -> float:
    last: tuple[float, float] | None = None
    for rate, value in points:
        if value > limit:
            if last is None:
                return 0.0
            share = math.log(limit / last[1]) / math.log(value / last[1])
            return last[0] + share * (rate - last[0])
        last = (rate, value)
    return math.inf
