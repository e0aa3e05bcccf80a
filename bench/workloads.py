"""What is asked, and when. Pure: the same seed makes the same requests.

A workload is a list of stages, each with a load of its own: a number of requests that are kept running (closed loop),
or arrivals that do not wait for answers (open loop). Only the second shows what a queue does to users: a slow service
slows a closed loop's clients down with it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from bench.errors import WorkloadError
from bench.protocol import Request

SHAPES = ("64/64", "128/128", "1024/128", "128/1024", "512/128")
"""Prompt and answer tokens of the usual comparisons: chat, prefill-heavy, decode-heavy, Anyscale's."""
MAX_REQUESTS = 1_000_000

WORDS = (
    "the", "of", "and", "to", "in", "is", "was", "for", "on", "that", "with", "as",
    "by", "at", "from", "his", "it", "an", "are", "which", "this", "be", "or", "had",
)  # fmt: skip
"""Short, frequent words: one token each for most tokenizers. What they really are is measured, see :class:`Measure`."""


@dataclass(frozen=True)
class Shape:
    """Tokens of a prompt and of its answer."""

    prompt: int
    answer: int

    def __str__(self) -> str:
        return f"{self.prompt}/{self.answer}"


def shape(text: str) -> Shape:
    """``64/64`` as a shape.

    Raises:
        WorkloadError: it is none.
    """
    parts = text.split("/")
    if len(parts) != 2 or not all(part.isdecimal() and 0 < int(part) <= MAX_REQUESTS for part in parts):
        raise WorkloadError(f"{text!r} is no shape: give prompt tokens / answer tokens, such as {', '.join(SHAPES)}.")
    return Shape(int(parts[0]), int(parts[1]))


@dataclass(frozen=True)
class Measure:
    """How many tokens a service makes of words: ``overhead + words * per_word``, template and all.

    Attributes:
        per_word: tokens of each word of the vocabulary.
        overhead: tokens of the template.
        vocabulary: words that are equally long.
    """

    per_word: float = 1.0
    overhead: float = 0.0
    vocabulary: tuple[str, ...] = WORDS

    def text(self, tokens: int, chance: random.Random) -> str:
        """Random words that are ``tokens`` tokens; one word at least."""
        return self.words(self.count(tokens), chance)

    def count(self, tokens: int) -> int:
        """How many words make ``tokens`` tokens; one at least."""
        return max(1, round((tokens - self.overhead) / self.per_word))

    def words(self, count: int, chance: random.Random) -> str:
        """``count`` random words."""
        return " ".join(chance.choices(self.vocabulary, k=count))


def fixed(shape: Shape, measure: Measure, seed: int = 0) -> Iterator[Request]:
    """Endless requests with random prompts of one length; answers go on to theirs where the API can be told to."""
    chance = random.Random(seed)
    index = 0
    while True:
        text = measure.text(shape.prompt, chance)
        yield Request(text, max_tokens=shape.answer, ignore_eos=True, seed=seed, index=index)
        index += 1


def shared_prefix(shape: Shape, measure: Measure, groups: int, share: float, seed: int = 0) -> Iterator[Request]:
    """Endless requests of which each begins like all others of its group: system prompts, documents, long chats.

    Args:
        shape: the whole prompt, and the answer, tokens.
        measure: tokens a word.
        groups: how many different beginnings there are.
        share: how much of the prompt is the beginning, 0 to 1.
        seed: decides everything.
    """
    chance = random.Random(seed)
    total = measure.count(shape.prompt)
    common = min(total - 1, round(total * share))
    beginnings = [measure.words(common, chance) for _ in range(groups)]
    index = 0
    while True:
        text = f"{chance.choice(beginnings)} {measure.words(total - common, chance)}".strip()
        yield Request(text, max_tokens=shape.answer, ignore_eos=True, seed=seed, index=index)
        index += 1


@dataclass(frozen=True)
class Stage:
    """A part of a run under one load.

    Attributes:
        name: for tables and plots, such as ``4/s``.
        requests: what to send; for an open loop, each with the time at which it is due, s from the stage's beginning.
        concurrency: how many are kept running (closed loop); None: they are sent when due (open loop).
        rate: the requests a second that an open loop offers, as asked for.
    """

    name: str
    requests: tuple[Request, ...]
    concurrency: int | None = None
    rate: float | None = None

    def as_round(self, number: int) -> Stage:
        """The same, every request marked with ``number``."""
        return replace(self, requests=tuple(replace(request, round=number) for request in self.requests))


def closed(source: Iterator[Request], concurrency: int, count: int) -> Stage:
    """``count`` requests, ``concurrency`` of them at a time."""
    return Stage(f"{concurrency} at a time", tuple(islice(source, count)), concurrency=concurrency)


def poisson(source: Iterator[Request], rate: float, duration_s: float, seed: int = 0) -> Stage:
    """Arrivals of a Poisson process: exponential times in between, ``rate`` a second, over ``duration_s``.

    Raises:
        WorkloadError: that is no requests, or too many.
    """
    if not 0 < rate * duration_s <= MAX_REQUESTS:
        raise WorkloadError(f"{rate:g} requests a second over {duration_s:g} s cannot be made.")
    chance = random.Random(f"{seed}/{rate}")
    times: list[float] = []
    at = chance.expovariate(rate)
    while at < duration_s:
        times.append(at)
        at += chance.expovariate(rate)
    if not times:  # so few are expected that none came
        times = [duration_s / 2]
    requests = tuple(replace(request, at=at) for request, at in zip(source, times, strict=False))
    return Stage(f"{rate:g}/s", requests, rate=rate)


def ladder(source: Iterator[Request], rates: Sequence[float], duration_s: float, seed: int = 0) -> list[Stage]:
    """A Poisson stage for each rate, in the order given; numbered, so that records tell their step."""
    return [poisson(source, rate, duration_s, seed).as_round(step) for step, rate in enumerate(rates)]
