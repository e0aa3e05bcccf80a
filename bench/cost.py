"""What tokens cost on one's own machines, and from how many a day that is less than an API. Pure.

With P output tokens a second of one busy replica (measured), R replicas, one machine each at c USD an hour:

    hours on       H = hours a month * (24 - off hours a day) / 24
    running          = R c H
    upgrades         = R c * rollouts a month * (start + kept beside) / 60      both clusters are paid for meanwhile
    month            = running + upgrades + fixed
    tokens a month   = 3600 P R H * utilisation
    USD / M output   = month / tokens * 10^6

A utilisation is the mean over the hours on; what is not used are idle hours, which cost the same. The break-even
against an API that takes k USD for a million output tokens and the prompts that belong to them is the smallest R for
which a day of R machines at the highest utilisation makes more than the month's cost buys there, and of that R the
tokens a day that cost the same: month / k / days.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.errors import ResultError
from bench.price_table import Api
from bench.statistics import Summary

MILLION = 1e6
MOST_REPLICAS = 10_000


@dataclass(frozen=True)
class Speed:
    """What one replica does when it is kept busy.

    Attributes:
        output_per_s: output tokens a second.
        prompt_ratio: prompt tokens for each output token.
        source: where that is from, for people.
        measured: whether it was measured by a run, rather than told.
    """

    output_per_s: float
    prompt_ratio: float
    source: str
    measured: bool


@dataclass(frozen=True)
class Usage:
    """How the machines are used. All of it is assumed, none of it measured.

    Attributes:
        replicas: machines that are on, at least.
        hours: of a month.
        off_hours: a day in which nothing runs, 0 to 24.
        rollouts: upgrades a month.
        rollout_minutes: from starting the new cluster until traffic is on it, both running.
        keep_old_minutes: for which the old one is kept after that.
        fixed: USD a month, whatever runs.
        most: highest mean utilisation that still keeps answers quick, 0 to 1; above it, another replica is added.
    """

    replicas: int = 1
    hours: float = 730.0
    off_hours: float = 0.0
    rollouts: float = 4.0
    rollout_minutes: float = 10.0
    keep_old_minutes: float = 10.0
    fixed: float = 0.0
    most: float = 0.7

    @property
    def hours_on(self) -> float:
        """Hours a month in which the machines are paid for, upgrades apart."""
        return self.hours * (24 - self.off_hours) / 24

    @property
    def days(self) -> float:
        """Days of the month."""
        return self.hours / 24

    @property
    def overlap_hours(self) -> float:
        """Hours a month in which there is a second cluster."""
        return self.rollouts * (self.rollout_minutes + self.keep_old_minutes) / 60


@dataclass(frozen=True)
class Month:
    """A month's cost in USD.

    Attributes:
        running: machines, idle or not.
        upgrades: the second cluster of each rollout.
        fixed: whatever runs.
    """

    running: float
    upgrades: float
    fixed: float

    @property
    def total(self) -> float:
        """All of it, USD."""
        return self.running + self.upgrades + self.fixed


def month(hourly: float, usage: Usage, replicas: int | None = None) -> Month:
    """The cost of a month at ``hourly`` USD a machine; it does not depend on how much the machines do."""
    machines = usage.replicas if replicas is None else replicas
    return Month(machines * hourly * usage.hours_on, machines * hourly * usage.overlap_hours, usage.fixed)


@dataclass(frozen=True)
class AtUse:
    """Cost at a utilisation.

    Attributes:
        utilisation: 0 to 1.
        idle_hours: machine hours a month that are paid for and not used.
        output_tokens: a month.
        per_million_output, per_million_total: USD; infinity where there are no tokens.
    """

    utilisation: float
    idle_hours: float
    output_tokens: float
    per_million_output: float
    per_million_total: float


def at_use(speed: Speed, hourly: float, usage: Usage, utilisation: float) -> AtUse:
    """What tokens cost when the machines are used to ``utilisation`` of their hours on."""
    tokens = 3600 * speed.output_per_s * usage.replicas * usage.hours_on * utilisation
    paid = month(hourly, usage).total
    each = paid / tokens * MILLION if tokens else math.inf
    idle = usage.replicas * usage.hours_on * (1 - utilisation)
    return AtUse(utilisation, idle, tokens, each, each / (1 + speed.prompt_ratio))


def per_day(speed: Speed, usage: Usage, replicas: int) -> float:
    """Output tokens a day that ``replicas`` make at the highest utilisation."""
    return 3600 * speed.output_per_s * (24 - usage.off_hours) * usage.most * replicas


def replicas_for(speed: Speed, usage: Usage, tokens_a_day: float) -> int:
    """Replicas that make so many output tokens a day; at least those that are always on."""
    each = per_day(speed, usage, 1)
    if each <= 0:
        return usage.replicas
    return max(usage.replicas, math.ceil(tokens_a_day / each - 1e-9))


@dataclass(frozen=True)
class BreakEven:
    """From where on one's own machines cost less than an API.

    Attributes:
        api: which.
        per_million: USD that it takes for a million output tokens with their prompts.
        tokens_a_day: output tokens a day; infinity: never.
        replicas: that make them; 0: never.
        utilisation: theirs at that point.
    """

    api: Api
    per_million: float
    tokens_a_day: float
    replicas: int
    utilisation: float


def break_even(api: Api, speed: Speed, hourly: float, usage: Usage) -> BreakEven:
    """The fewest tokens a day at which one's own machines cost no more than ``api``."""
    price = api.per_million_output(speed.prompt_ratio)
    room = per_day(speed, usage, 1)
    never = BreakEven(api, price, math.inf, 0, math.nan)
    if price <= 0 or room <= 0:
        return never
    # USD a month: what one more machine costs, and what its tokens would cost there.
    costs, saves = month(hourly, usage, 1).total - usage.fixed, room * usage.days / MILLION * price
    replicas = usage.replicas
    if replicas * saves < month(hourly, usage, replicas).total:
        if saves <= costs:
            return never
        replicas = max(replicas, math.ceil(usage.fixed / (saves - costs) - 1e-9))
    if replicas > MOST_REPLICAS:
        return never
    tokens = month(hourly, usage, replicas).total / price * MILLION / usage.days
    return BreakEven(api, price, tokens, replicas, usage.most * tokens / (room * replicas))


def curve(speed: Speed, hourly: float, usage: Usage, tokens_a_day: Sequence[float]) -> list[tuple[float, float]]:
    """(tokens a day, USD a month) of one's own machines: stairs, each step another replica."""
    return [(tokens, month(hourly, usage, replicas_for(speed, usage, tokens)).total) for tokens in tokens_a_day]


def speed_of(stages: Mapping[str, Summary], name: str, stage: str | None, replicas: int, share: float) -> Speed:
    """What one replica did in a run: its stage with the most output tokens a second.

    Args:
        stages: summaries by name, with the SLO worked in; see :func:`bench.tables.by_stage`.
        name: of the run, for messages.
        stage: take this one instead.
        replicas: that served the run.
        share: of a stage's requests that must have ended well within the SLO.

    Raises:
        ResultError: there is no such stage, or nothing was measured.
    """
    if stage is not None and stage not in stages:
        raise ResultError(f"{name} has no stage {stage!r}; it has: {', '.join(stages)}.")
    within = {
        key: found
        for key, found in stages.items()
        if key == stage or (stage is None and found.output_tokens_per_s > 0 and found.good_share >= share)
    }
    if not within:
        raise ResultError(
            f"In no stage of {name} did {share:.0%} of the requests end well within the SLO, so there is no speed to "
            "reckon with. Allow more time with --slo, or measure lower loads."
        )
    best, found = max(within.items(), key=lambda item: item[1].output_tokens_per_s)
    if found.output_tokens_per_s <= 0:
        raise ResultError(f"The stage {best!r} of {name} has no output tokens: nothing ended well in it.")
    each = found.output_tokens_per_s / replicas
    ratio = found.prompt_tokens / found.completion_tokens
    return Speed(each, ratio, f"{name}, stage '{best}', {found.requests} requests", True)
