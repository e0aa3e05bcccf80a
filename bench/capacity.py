"""How many replicas a load needs, by simulating them. Pure: the same seed gives the same plan.

A replica's **capacity** is the highest Poisson rate at which the simulated times keep the SLO. Requests are spread
over replicas as if at random, which makes each replica's share a Poisson process too; a router that looks at load does
better, so this errs towards more replicas. It also makes the plan steady: replicas = rate / capacity, rounded up, so
more load never needs fewer.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from bench.bootstrap import percentile
from bench.errors import WorkloadError
from bench.queueing import Arrival, Lengths, Limits, Served, poisson, ramp, simulate
from bench.step_times import StepTimes

REQUESTS = 3000
"""Simulated for each rate; the first tenth is warm-up and is not counted."""
WINDOW = 100
"""Requests in a row by which the breaking of an SLO is noticed."""
MOST_REPLICAS = 10_000


@dataclass(frozen=True)
class Bound:
    """One line of an SLO: at this percentile, a metric may be so much.

    Attributes:
        metric: ``ttft``, ``tpot`` or ``e2e``.
        percentile: 0 to 100.
        limit_s: s.
    """

    metric: str
    percentile: float
    limit_s: float

    def __str__(self) -> str:
        return f"{self.metric.upper()} p{self.percentile:g} <= {self.limit_s * 1000:g} ms"


def bound(text: str) -> Bound:
    """``ttft:p90:500`` (ms) as a bound; without a percentile it is p90.

    Raises:
        WorkloadError: it is none.
    """
    parts = text.lower().split(":")
    if len(parts) == 2:
        parts.insert(1, "p90")
    try:
        metric, at, limit = parts
        found = Bound(metric, float(at.removeprefix("p")), float(limit) / 1000)
    except ValueError:
        found = Bound("", 0, 0)
    if found.metric not in ("ttft", "tpot", "e2e") or not 0 < found.percentile < 100 or not 0 < found.limit_s < 1e6:
        raise WorkloadError(
            f"--slo {text}: give METRIC:PERCENTILE:MS, such as ttft:p90:500, tpot:p99:50 or e2e:p90:8000."
        )
    return found


def seen(served: Sequence[Served], metric: str, at: float) -> float:
    """A percentile of a metric, s; nan where nothing has it."""
    values: list[float | None] = [getattr(one, metric) for one in served]
    return percentile([value for value in values if value is not None], at)


def keeps(served: Sequence[Served], slo: Sequence[Bound]) -> bool:
    """Whether every bound is kept. A metric that no request has (TPOT of single tokens) is."""
    return not any(seen(served, one.metric, one.percentile) > one.limit_s for one in slo)


@dataclass(frozen=True)
class Replica:
    """One replica as the planner knows it."""

    times: StepTimes
    limits: Limits
    seed: int = 0

    def under(self, rate: float, lengths: Lengths, count: int = REQUESTS) -> list[Served]:
        """Simulated times at a Poisson rate, warmed up."""
        return simulate(self.times, poisson(rate, count, lengths, self.seed), self.limits, self.seed)[count // 10 :]


def capacity(replica: Replica, lengths: Lengths, slo: Sequence[Bound]) -> float:
    """The highest rate at which one replica keeps the SLO, requests a second, found to 1 %.

    Returns:
        0 where not even single requests keep it.
    """

    def kept(rate: float) -> bool:
        return keeps(replica.under(rate, lengths), slo)

    single = 1 / max(1e-9, lengths.answer * replica.times.step(1) + lengths.prompt * replica.times.per_prompt_token_s)
    return _highest(kept, single / 100, single)


def _highest(kept: Callable[[float], bool], low: float, high: float) -> float:
    """The highest value for which ``kept`` holds: doubled until it does not, then halved in between."""
    if not kept(low):
        return 0.0
    while kept(high):
        low, high = high, high * 2
        if high > 1e9:
            return low
    while high / low > 1.01:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if kept(middle) else (low, middle)
    return low


def tolerated_s(
    replica: Replica, rate: float, lengths: Lengths, slo: Sequence[Bound], factor: float, over_s: float
) -> float:
    """How long one replica keeps the SLO after its load has begun to grow, s; infinity: it bears the most of it.

    Args:
        replica: which.
        rate: its share before.
        lengths: of prompts and answers.
        slo: to keep.
        factor: how much the load grows to, times what it was.
        over_s: how long it takes to grow, s.
    """
    if keeps(replica.under(rate * factor, lengths), slo):
        return math.inf
    count = max(REQUESTS, int(rate * over_s * (1 + factor)) + REQUESTS)
    served = simulate(
        replica.times,
        ramp(rate, factor, over_s, min(count, 100_000), lengths, replica.seed),
        replica.limits,
        replica.seed,
    )
    for begin in range(0, len(served) - WINDOW, WINDOW // 4):
        if not keeps(served[begin : begin + WINDOW], slo):
            # A new replica must be there when the first of these is sent; half of them were still well.
            return served[begin + WINDOW // 2].at
    return math.inf


@dataclass(frozen=True)
class Growth:
    """What may happen to the load before more replicas can be there.

    Attributes:
        factor: what it grows to, times what it was.
        over_s: how long it takes to grow, s.
        start_s: how long a new replica takes to be there, s.
    """

    factor: float = 1.5
    over_s: float = 600.0
    start_s: float = 180.0


@dataclass(frozen=True)
class Plan:
    """What a load needs.

    Attributes:
        rate: requests a second.
        capacity_per_s: of one replica within the SLO, requests a second.
        needed: replicas that keep the SLO under ``rate`` as long as nothing happens.
        replicas: those and the spare ones, and those that bridge the start of new ones.
        gpus: of all of them.
        load: share of the capacity that is used, 0 to 1.
        headroom: how much more load they bear, as a share of ``rate``.
        tolerated_s: how long scaling out may take when the load grows as told, s; infinity: it need not.
        without_spare: the same with only ``needed`` replicas.
        ttft_p90, ttft_p99, tpot_p90: what users will see, s.
        tokens_per_s: output tokens of all replicas together at ``rate``.
    """

    rate: float
    capacity_per_s: float
    needed: int
    replicas: int
    gpus: int
    load: float
    headroom: float
    tolerated_s: float
    without_spare: float
    ttft_p90: float
    ttft_p99: float
    tpot_p90: float
    tokens_per_s: float


def plan(
    replica: Replica,
    rate: float,
    lengths: Lengths,
    slo: Sequence[Bound],
    growth: Growth,
    spare: int = 0,
    gpus_each: int = 1,
) -> Plan:
    """Replicas for a Poisson load.

    Args:
        replica: what one is like.
        rate: requests a second; 0: nobody asks, and one replica is kept.
        lengths: of prompts and answers.
        slo: to keep.
        growth: what has to be borne until new replicas are there.
        spare: replicas that may be lost without breaking the SLO.
        gpus_each: of a replica.

    Raises:
        WorkloadError: no number of replicas keeps the SLO.
    """
    most = capacity(replica, lengths, slo)
    if most <= 0:
        alone = replica.under(1e-3, lengths, 300)
        told = ", ".join(f"{one} (alone: {seen(alone, one.metric, one.percentile) * 1000:.0f} ms)" for one in slo)
        raise WorkloadError(
            f"No number of replicas keeps {told}: even a request that is alone takes longer. Allow more time, make "
            "prompts or answers shorter, or use a faster GPU or a smaller model."
        )
    needed = max(1, math.ceil(rate / most - 1e-9))
    if needed > MOST_REPLICAS:
        raise WorkloadError(f"{rate:g} requests a second need {needed} replicas; at most {MOST_REPLICAS} are planned.")

    def tolerated(count: int) -> float:
        return tolerated_s(replica, rate / count, lengths, slo, growth.factor, growth.over_s) if rate else math.inf

    bare = tolerated(needed)
    count, bridged = needed + spare, bare
    if rate and growth.factor > 1:
        # Enough that the whole growth is borne bounds the search; in between, more replicas tolerate more.
        low, high = needed, max(needed, math.ceil(rate * growth.factor / most))
        while low < high and bare < growth.start_s:
            middle = (low + high) // 2
            low, high = (low, middle) if tolerated(middle) >= growth.start_s else (middle + 1, high)
        count = low + spare
        bridged = tolerated(count)
    served = replica.under(rate / count, lengths) if rate else []
    return Plan(
        rate=rate,
        capacity_per_s=most,
        needed=needed,
        replicas=count,
        gpus=count * gpus_each,
        load=rate / (count * most),
        headroom=count * most / rate - 1 if rate else math.inf,
        tolerated_s=bridged,
        without_spare=bare,
        ttft_p90=seen(served, "ttft", 90),
        ttft_p99=seen(served, "ttft", 99),
        tpot_p90=seen(served, "tpot", 90),
        tokens_per_s=rate * lengths.answer,
    )


def plan_trace(
    replica: Replica, arrivals: Sequence[Arrival], slo: Sequence[Bound], spare: int = 0, gpus_each: int = 1
) -> Plan:
    """Replicas for recorded arrivals, bursts and all, spread over them at random.

    Args:
        replica: what one is like.
        arrivals: in the order of their times.
        slo: to keep.
        spare: replicas that may be lost without breaking the SLO.
        gpus_each: of a replica.

    Raises:
        WorkloadError: no number of replicas keeps the SLO.
    """
    chance = random.Random(f"routing {replica.seed}")
    draws = [chance.random() for _ in arrivals]

    def served(count: int, faster: float = 1.0) -> list[Served]:
        parts: list[list[Arrival]] = [[] for _ in range(count)]
        for arrival, draw in zip(arrivals, draws, strict=True):
            parts[int(draw * count)].append(replace(arrival, at=arrival.at / faster))
        return [one for part in parts for one in simulate(replica.times, part, replica.limits, replica.seed)]

    needed = 1
    while not keeps(served(needed), slo):
        if needed >= min(len(arrivals), MOST_REPLICAS):
            raise WorkloadError("No number of replicas keeps this SLO over the trace: allow more time.")
        needed += max(1, needed // 16)
    count = needed + spare
    # How much quicker the same requests could come.
    faster = _highest(lambda by: keeps(served(count, by), slo), 1.0, 2.0) if len(arrivals) > 1 else math.inf
    span = arrivals[-1].at - arrivals[0].at
    rate = (len(arrivals) - 1) / span if span else 0.0
    found = served(count)
    return Plan(
        rate=rate,
        capacity_per_s=rate * faster / count if rate else math.nan,
        needed=needed,
        replicas=count,
        gpus=count * gpus_each,
        load=1 / max(faster, 1.0),
        headroom=max(faster, 1.0) - 1,
        tolerated_s=math.nan,
        without_spare=math.nan,
        ttft_p90=seen(found, "ttft", 90),
        ttft_p99=seen(found, "ttft", 99),
        tpot_p90=seen(found, "tpot", 90),
        tokens_per_s=rate * sum(arrival.answer for arrival in arrivals) / len(arrivals),
    )
