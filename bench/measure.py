"""The runs themselves: one service, or two in turn. Edge: what happens between asking and writing down."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import aiohttp

from bench.client import TIMEOUT_S, open_session, send
from bench.options import Load, shown
from bench.probe import measured, named, warmed
from bench.protocol import Request, Target
from bench.records import Record
from bench.results import Writer
from bench.runner import Ask, Course, run
from bench.workloads import Measure, Stage

VERSION = 1
Watch = Callable[[Course, Sequence[Record]], None]


@dataclass(frozen=True)
class How:
    """What is the same for every request.

    Attributes:
        stream: ask for events.
        timeout_s: of a request.
        warmup: requests that are sent before, and forgotten.
        give_up: end when a service is gone.
    """

    stream: bool = True
    timeout_s: float = TIMEOUT_S
    warmup: int = 8
    give_up: bool = True


@dataclass(frozen=True)
class Prepared:
    """Services that answered, and what they will be asked."""

    targets: list[Target]
    stages: list[Stage]
    measure: Measure

    def about(self, kind: str, load: Load, how: How) -> dict[str, Any]:
        """For ``run.json``; without headers."""
        asked = [request.max_tokens for stage in self.stages for request in stage.requests]
        return {
            "version": VERSION,
            "kind": kind,
            "targets": [{"label": t.label, "url": shown(t.url), "api": t.api, "model": t.model} for t in self.targets],
            "load": load.about(),
            "stages": [{"name": s.name, "rate": s.rate, "concurrency": s.concurrency} for s in self.stages],
            "stream": how.stream,
            "asked_tokens": sum(asked) / len(asked),
            "tokens_per_word": round(self.measure.per_word, 4),
        }


async def prepare(
    session: aiohttp.ClientSession, targets: Sequence[Target], load: Load, how: How, rounds: int = 0
) -> Prepared:
    """Ask each service whether it is there; the words of prompts are counted by the first.

    Args:
        session: from :func:`bench.client.open_session`.
        targets: who will be asked.
        load: what.
        how: the rest.
        rounds: of a comparison, each a stage of its own with other requests; 0: none.

    Raises:
        TargetError: one does not answer.
        WorkloadError: the load cannot be made.
    """
    load.stages(Measure())  # a broken trace is told before anybody is asked
    ready = [await named(session, target) for target in targets]
    measures = [await measured(session, target) for target in ready]
    source = None if load.trace else load.source(measures[0])
    if rounds:
        stages = [load.stages(measures[0], source)[0].as_round(number) for number in range(rounds)]
        stages = [replace(stage, name=f"round {number + 1}") for number, stage in enumerate(stages)]
    else:
        stages = load.stages(measures[0], source)
    if load.logprobs:
        stages = [
            replace(stage, requests=tuple(replace(request, logprobs=True) for request in stage.requests))
            for stage in stages
        ]
    if how.warmup:
        for target in ready:
            await warmed(session, target, stages[0].requests[: how.warmup])
    return Prepared(ready, stages, measures[0])


def asking(session: aiohttp.ClientSession, target: Target, how: How, course: Course) -> Ask:
    """``send`` for a target; what had arrived is kept when the run is ended."""

    async def ask(request: Request, begun: float) -> Record:
        return await send(
            session, target, request, begun=begun, stream=how.stream, timeout_s=how.timeout_s, on_cancel=course.keep
        )

    return ask


async def carry_out(
    targets: Sequence[Target],
    load: Load,
    how: How,
    started: Callable[[Mapping[str, Any]], Writer],
    watch: Watch,
    rounds: int = 0,
) -> Course:
    """Measure one service stage by stage, or two in alternating rounds.

    Args:
        targets: one, or two with ``rounds``.
        load: what to ask.
        how: the rest.
        started: makes the writer of the results, once the services have answered.
        watch: called twice a second, and at the end.
        rounds: how often both are measured, the order changing each time.

    Raises:
        BenchError: see :func:`prepare` and :class:`bench.results.Writer`.
    """
    _end_on_sigterm()
    async with open_session() as session:
        prepared = await prepare(session, targets, load, how, rounds)
        kind = "compare" if len(targets) > 1 else "run"
        with started(prepared.about(kind, load, how)) as writer:
            course = Course(time.perf_counter(), writer.keep, how.give_up)
            course.due = len(targets) * sum(len(stage.requests) for stage in prepared.stages)
            watching = asyncio.create_task(_watch(watch, course, writer.records))
            try:
                for number, stage in enumerate(prepared.stages):
                    ordered = prepared.targets if number % 2 == 0 else prepared.targets[::-1]
                    for target in ordered:
                        if not course.gone:
                            await run(stage, asking(session, target, how, course), course)
            finally:
                watching.cancel()
                watch(course, writer.records)
            return course


async def _watch(watch: Watch, course: Course, records: Sequence[Record]) -> None:
    while True:
        watch(course, records)
        await asyncio.sleep(0.5)


def _end_on_sigterm() -> None:
    """As Ctrl-C does: what has been measured is kept."""
    task = asyncio.current_task()
    if task:
        with suppress(NotImplementedError, RuntimeError, ValueError):
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
