"""How long an engine's steps take, fitted to what a bench run measured from outside. Pure: stdlib only.

A continuous-batching engine (Orca, OSDI '22; vLLM's scheduler) makes one token for every running request in each step,
and prefills new prompts in the same steps. A step's time is taken to be

    base_s + per_request_s * requests that run + per_prompt_token_s * prompt tokens that are prefilled

A request that ran from its first token to its end has therefore taken, with n tokens after the first,

    n * (base_s + (mean number that ran meanwhile) * per_request_s)
        + (prompt tokens that began meanwhile) * per_prompt_token_s

Every request of a run is one such equation; what solves all of them best, with no coefficient below zero, is the fit.
Tokens that came joined in one event do not matter, since only a request's first token and its end are used.

What a first token takes beyond the engine's own steps (connection, proxy, parsing, a busy machine) is ``entry``,
measured as the difference to a simulation without it; see :func:`bench.calibration.calibrate`.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from bench.errors import ResultError
from bench.records import Record

ENOUGH = 20
"""Requests without which nothing is fitted."""


@dataclass(frozen=True)
class StepTimes:
    """The engine of one replica in numbers; all of them measured.

    Attributes:
        base_s: of a step that does nothing else, s.
        per_request_s: for each request that makes a token in it, s.
        per_prompt_token_s: for each prompt token prefilled in it, s.
        entry_s: what a request's first token takes outside the engine's steps, s: quantiles in equal distances, from
            the smallest to the largest.
        entry_per_request_s: what is added to that for each request that is in the engine already, s.
        error: how far the fitted time per token is from the measured one: mean absolute difference, as a share of the
            mean of its stage.
        requests: how many it was fitted to.
        most_running: the most requests that ran at one time.
        prompts: the shortest and the longest prompt, tokens.
        answers: the shortest and the longest answer, tokens.
    """

    base_s: float
    per_request_s: float
    per_prompt_token_s: float
    entry_s: tuple[float, ...] = (0.0,)
    entry_per_request_s: float = 0.0
    error: float = math.nan
    requests: int = 0
    most_running: int = 0
    prompts: tuple[int, int] = (0, 0)
    answers: tuple[int, int] = (0, 0)

    def step(self, running: int, prompt_tokens: int = 0) -> float:
        """Time of a step, s."""
        return self.base_s + running * self.per_request_s + prompt_tokens * self.per_prompt_token_s

    def entry(self, chance: float, running: int) -> float:
        """What a request's first token takes outside the engine's steps, s.

        Args:
            chance: 0 to 1, which of the measured values.
            running: requests in the engine.
        """
        place = chance * (len(self.entry_s) - 1)
        low = int(place)
        high = min(low + 1, len(self.entry_s) - 1)
        value = self.entry_s[low] + (place - low) * (self.entry_s[high] - self.entry_s[low])
        return value + running * self.entry_per_request_s


@dataclass(frozen=True)
class _Equation:
    """Time per token of one request (s), what makes it up, and how much it counts."""

    tpot: float
    running: float
    prompt_share: float
    weight: float


def fit(records: Sequence[Record]) -> StepTimes:
    """The step times that explain the records best; ``entry`` is not among them.

    Args:
        records: of a run or several; each target and stage is looked at by itself.

    Raises:
        ResultError: too few requests ended well, or they have no token counts.
    """
    stages: dict[tuple[str, int], list[Record]] = {}
    for record in records:
        if record.ok and record.first is not None:
            stages.setdefault((record.target, record.round), []).append(record)
    good = [record for stage in stages.values() for record in stage]
    if any(not record.completion_tokens or not record.prompt_tokens for record in good):
        raise ResultError(
            "The service did not say how many tokens it read and made, so step times cannot be fitted. Measure it "
            "again with 'switchyard bench run' against an API that reports usage."
        )
    equations = [equation for stage in stages.values() for equation in _equations(stage)]
    if len(equations) < ENOUGH:
        raise ResultError(
            f"Only {len(equations)} requests with two tokens or more ended well; step times need {ENOUGH} at least, at "
            "several loads. Measure a ladder: switchyard bench run --concurrency 1,4,16,32 --shape 64/64"
        )
    base, each, token = _solve(equations)
    # In units of the mean of each stage: a single answer may have come all at once.
    wrong = [abs(base + each * e.running + token * e.prompt_share - e.tpot) * e.weight**0.5 for e in equations]
    return StepTimes(
        base_s=base,
        per_request_s=each,
        per_prompt_token_s=token,
        error=sum(wrong) / len(wrong),
        requests=len(equations),
        most_running=max(_most(stage) for stage in stages.values()),
        prompts=_range([record.prompt_tokens for record in good]),
        answers=_range([record.completion_tokens for record in good]),
    )


def _equations(stage: Sequence[Record]) -> list[_Equation]:
    """Of the requests of one stage. Together they weigh as many requests, in units of their mean time per token.

    Without that, the fit would be that of the slowest stage alone.
    """
    begun = sorted((record.first or 0.0, record.prompt_tokens) for record in stage)
    times = [at for at, _ in begun]
    tokens = [0, *accumulate(prompt for _, prompt in begun)]
    marks, area = _running(stage)
    timed = [(record, record.tpot) for record in stage if record.tpot and record.tpot > 0]
    # What one step made reaches the client at slightly different times. A prompt prefilled in the step that gave a
    # request its first token did not hold that request up; one in the step of its last token did.
    same_step = min((tpot for _, tpot in timed), default=0.0) / 2
    found: list[tuple[float, float, float]] = []
    for record, tpot in timed:
        after, first = record.completion_tokens - 1, record.first or 0.0
        running = (_area_until(marks, area, record.ended) - _area_until(marks, area, first)) / (record.ended - first)
        last, begin = bisect_right(times, record.ended + same_step), bisect_right(times, first + same_step)
        found.append((tpot, running, (tokens[last] - tokens[begin]) / after))
    if not found:
        return []
    mean = sum(tpot for tpot, _, _ in found) / len(found)
    return [_Equation(tpot, running, prompts, 1 / mean**2) for tpot, running, prompts in found]


def _running(stage: Sequence[Record]) -> tuple[list[tuple[float, int]], list[float]]:
    """When the number of running requests changed and to what; and its integral until each of these times."""
    changes = sorted([(r.first or 0.0, 1) for r in stage] + [(r.ended, -1) for r in stage])
    running = list(accumulate(change for _, change in changes))
    marks = [(at, count) for (at, _), count in zip(changes, running, strict=True)]
    area = [0.0, *accumulate((later[0] - mark[0]) * mark[1] for mark, later in pairwise(marks))]
    return marks, area


def _area_until(marks: Sequence[tuple[float, int]], area: Sequence[float], at: float) -> float:
    place = bisect_right(marks, at, key=lambda mark: mark[0]) - 1
    return 0.0 if place < 0 else area[place] + (at - marks[place][0]) * marks[place][1]


def _most(stage: Sequence[Record]) -> int:
    return max(count for _, count in _running(stage)[0])


def _range(values: Sequence[int]) -> tuple[int, int]:
    return min(values), max(values)


def _solve(equations: Sequence[_Equation]) -> tuple[float, float, float]:
    """Least squares with no coefficient below zero: the best of all choices of which ones are zero.

    Three unknowns have seven such choices, so nothing cleverer is needed (Lawson and Hanson, 1974, for more).
    """
    columns = [(1.0, e.running, e.prompt_share) for e in equations]
    weights = [e.weight for e in equations]
    square = [[sum(w * c[i] * c[j] for w, c in zip(weights, columns, strict=True)) for j in range(3)] for i in range(3)]
    right = [sum(e.weight * e.tpot * c[i] for e, c in zip(equations, columns, strict=True)) for i in range(3)]
    best: tuple[float, tuple[float, ...]] = (math.inf, (0.0, 0.0, 0.0))
    for choice in ((0, 1, 2), (0, 1), (0, 2), (1, 2), (0,), (1,), (2,)):
        solved = _gauss([[square[i][j] for j in choice] + [right[i]] for i in choice])
        if solved is None or min(solved) < 0:
            continue
        full = [0.0, 0.0, 0.0]
        for place, value in zip(choice, solved, strict=True):
            full[place] = value
        # The sum of squares, less the part that is the same for all.
        left = sum(full[i] * full[j] * square[i][j] for i in range(3) for j in range(3))
        left -= 2 * sum(full[i] * right[i] for i in range(3))
        if left < best[0] - 1e-12:
            best = (left, tuple(full))
    base, each, token = best[1]
    return base, each, token


def _gauss(rows: list[list[float]]) -> list[float] | None:
    """Solve a small linear system given with its right side; None where it has no single answer."""
    size = len(rows)
    scale = max(abs(row[place]) for place, row in enumerate(rows)) or 1.0
    for place in range(size):
        pivot = max(range(place, size), key=lambda row: abs(rows[row][place]))
        if abs(rows[pivot][place]) < 1e-12 * scale:
            return None
        rows[place], rows[pivot] = rows[pivot], rows[place]
        for other in range(size):
            if other != place:
                factor = rows[other][place] / rows[place][place]
                rows[other] = [a - factor * b for a, b in zip(rows[other], rows[place], strict=True)]
    return [rows[place][size] / rows[place][place] for place in range(size)]


def as_table(times: StepTimes) -> dict[str, Any]:
    """The fit as plain values, times in ms."""
    entries = times.entry_s
    return {
        "step_base_ms": times.base_s * 1000,
        "step_per_request_ms": times.per_request_s * 1000,
        "step_per_prompt_token_ms": times.per_prompt_token_s * 1000,
        "entry_p50_ms": entries[len(entries) // 2] * 1000,
        "entry_p90_ms": entries[round(0.9 * (len(entries) - 1))] * 1000,
        "entry_per_request_ms": times.entry_per_request_s * 1000,
        "mean_error": times.error,
        "requests": times.requests,
        "most_running": times.most_running,
        "prompt_tokens": list(times.prompts),
        "answer_tokens": list(times.answers),
    }
