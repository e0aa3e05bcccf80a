"""A continuous-batching engine as a discrete-event simulation. Pure: the same seed gives the same times.

What is taken from vLLM's scheduler (V1): each step first gives every running request its next token, then spends what
is left of the token budget on prompts, those that are begun first, then waiting ones in the order of their arrival,
as long as there is a free place. A prompt that is longer than the budget is prefilled over several steps. Requests are
only let in when their whole context fits into the KV cache, where its size is given: vLLM lets them in earlier and
preempts, which costs time too. Prefix caching and speculative decoding are not in it.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.step_times import StepTimes


@dataclass(frozen=True)
class Arrival:
    """A request to come.

    Attributes:
        at: when it is sent, s.
        prompt, answer: tokens.
    """

    at: float
    prompt: int
    answer: int


@dataclass(frozen=True)
class Served:
    """What became of it, s from its sending.

    Attributes:
        at: when it was sent.
        ttft: to its first token.
        tpot: per token after the first; None for an answer of one token.
        e2e: to its end.
    """

    at: float
    ttft: float
    tpot: float | None
    e2e: float


@dataclass(frozen=True)
class Limits:
    """What one replica takes at a time.

    Attributes:
        running: requests in a step (``max_num_seqs``).
        step_tokens: tokens in a step (``max_num_batched_tokens``).
        kv_tokens: tokens that its KV cache holds; 0: no limit.
    """

    running: int = 256
    step_tokens: int = 2048
    kv_tokens: int = 0


class _Request:
    """A request inside the engine. ``first`` is -1 until its first token is there."""

    __slots__ = ("answer", "at", "first", "number", "prompt", "room")

    def __init__(self, number: int, arrival: Arrival) -> None:
        self.number, self.at = number, arrival.at
        self.prompt, self.answer = arrival.prompt, max(1, arrival.answer)
        self.room = arrival.prompt + self.answer
        self.first = -1.0


def simulate(
    times: StepTimes, arrivals: Sequence[Arrival], limits: Limits | None = None, seed: int = 0
) -> list[Served]:
    """Put requests through one replica.

    Args:
        times: what its steps take.
        arrivals: in the order of their times.
        limits: what it takes at a time. A request that can never fit into the KV cache is let in when it is empty.
        seed: decides what each first token takes outside the engine.

    Returns:
        One for each arrival, in the same order.
    """
    bounds = limits or Limits()
    chance = random.Random(seed)
    draws = [chance.random() for _ in arrivals]
    coming = deque(_Request(number, arrival) for number, arrival in enumerate(arrivals))
    entering: list[tuple[float, int, _Request]] = []  # sent, not yet at the engine
    waiting: deque[_Request] = deque()
    prefilling: list[_Request] = []
    ends: list[tuple[int, int, _Request]] = []  # decoding requests, by the number of the step that ends them
    done: list[Served | None] = [None] * len(arrivals)
    now, step, held = 0.0, 0, 0

    def finish(request: _Request, at: float) -> None:
        nonlocal held
        held -= request.room
        after = request.answer - 1
        tpot = (at - request.first) / after if after else None
        done[request.number] = Served(request.at, request.first - request.at, tpot, at - request.at)

    while coming or entering or waiting or prefilling or ends:
        inside = len(ends) + len(prefilling)
        if not inside and not waiting:
            ahead = entering[0][0] if entering else math.inf
            now = max(now, min(ahead, coming[0].at if coming else math.inf))
        while coming and coming[0].at <= now:
            request = coming.popleft()
            delay = times.entry(draws[request.number], inside)
            heapq.heappush(entering, (request.at + delay, request.number, request))
        while entering and entering[0][0] <= now:
            waiting.append(heapq.heappop(entering)[2])
        decoding = len(ends)
        budget = bounds.step_tokens - decoding
        prefilled = 0
        begun: list[_Request] = []
        for request in prefilling:
            part = min(request.prompt, max(0, budget - prefilled))
            request.prompt -= part
            prefilled += part
            if request.prompt == 0:
                begun.append(request)
        while waiting and decoding + len(prefilling) < bounds.running and prefilled < budget:
            request = waiting[0]
            if bounds.kv_tokens and held and held + request.room > bounds.kv_tokens:
                break
            waiting.popleft()
            held += request.room
            part = min(request.prompt, budget - prefilled)
            request.prompt -= part
            prefilled += part
            prefilling.append(request)
            if request.prompt == 0:
                begun.append(request)
        if not decoding and not prefilled:
            continue
        step += 1
        now += times.step(decoding, prefilled)
        for request in begun:
            request.first = now
            if request.answer == 1:
                finish(request, now)
            else:
                heapq.heappush(ends, (step + request.answer - 1, request.number, request))
        if begun:
            prefilling = [request for request in prefilling if request.first < 0]
        while ends and ends[0][0] == step:
            finish(heapq.heappop(ends)[2], now)
    return [served for served in done if served is not None]


@dataclass(frozen=True)
class Lengths:
    """Tokens of prompts and answers: fixed, or drawn from what was seen.

    Attributes:
        pairs: (prompt, answer); each request is one of them.
    """

    pairs: tuple[tuple[int, int], ...]

    @property
    def prompt(self) -> float:
        """Mean, tokens."""
        return sum(prompt for prompt, _ in self.pairs) / len(self.pairs)

    @property
    def answer(self) -> float:
        """Mean, tokens."""
        return sum(answer for _, answer in self.pairs) / len(self.pairs)


def spread(prompt: int, answer: int, variation: float, seed: int = 0, count: int = 512) -> Lengths:
    """Lengths of a lognormal distribution, as those of real traffic are, roughly (Mooncake's and Azure's traces).

    Args:
        prompt, answer: means, tokens.
        variation: standard deviation over mean; 0: all the same.
        seed: decides them.
        count: how many pairs.
    """
    if variation <= 0:
        return Lengths(((prompt, answer),))
    sigma = math.sqrt(math.log(1 + variation**2))
    chance = random.Random(f"lengths {seed}")

    def drawn(mean: int) -> int:
        return max(1, round(mean * math.exp(chance.gauss(-(sigma**2) / 2, sigma))))

    return Lengths(tuple((drawn(prompt), drawn(answer)) for _ in range(count)))


def poisson(rate: float, count: int, lengths: Lengths, seed: int = 0) -> list[Arrival]:
    """``count`` requests of a Poisson process. Another rate gives the same requests, closer together or further apart.

    That is what makes comparisons of rates, and searches among them, steady.
    """
    return [
        Arrival(at / rate, prompt, answer)
        for at, (prompt, answer) in _unit(count, lengths, random.Random(f"at {seed}"))
    ]


def ramp(rate: float, factor: float, over_s: float, count: int, lengths: Lengths, seed: int = 0) -> list[Arrival]:
    """``count`` requests of a Poisson process whose rate grows evenly to ``factor`` times what it was, and stays.

    Args:
        rate: at first, requests a second.
        factor: above 1.
        over_s: how long it grows, s; 0: a jump.
        count: of requests.
        lengths: of prompts and answers.
        seed: decides the rest.
    """
    found: list[Arrival] = []
    grown = over_s * (1 + factor) / 2  # in units of 1 / rate: the requests until it stays
    for unit, (prompt, answer) in _unit(count, lengths, random.Random(f"at {seed}")):
        due = unit / rate
        if due >= grown:
            at = over_s + (due - grown) / factor
        else:
            # The time at which the integral of 1 + (factor - 1) t / over_s is ``due``.
            slope = (factor - 1) / over_s
            at = ((1 + 2 * slope * due) ** 0.5 - 1) / slope if slope else due
        found.append(Arrival(at, prompt, answer))
    return found


def _unit(count: int, lengths: Lengths, chance: random.Random) -> Iterable[tuple[float, tuple[int, int]]]:
    at = 0.0
    for _ in range(count):
        at += chance.expovariate(1.0)
        yield at, chance.choice(lengths.pairs)
