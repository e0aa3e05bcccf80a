"""Keeps a load up: closed loop or open loop, one task a request. Knows no HTTP: ``ask`` sends.

Also watches its own process, since a starved client measures itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from bench.protocol import Request
from bench.records import Record
from bench.workloads import Stage

Ask = Callable[[Request, float], Awaitable[Record]]
"""``ask(request, begun)``: send it, return its record; ``begun`` is perf_counter() at the run's beginning."""
Keep = Callable[[Record], None]

GONE_AFTER = 20
_TICK_S = 0.02


@dataclass
class Client:
    """How the client itself fared.

    Attributes:
        cpu_s: CPU time of this process, s.
        wall_s: over how long.
        late: how late the event loop woke up, each time it was looked at, s.
    """

    cpu_s: float = 0.0
    wall_s: float = 0.0
    late: list[float] = field(default_factory=list[float])

    @property
    def cpu_share(self) -> float:
        """Share of one core that it used; close to 1, it was the bottleneck."""
        return self.cpu_s / self.wall_s if self.wall_s else 0.0


@dataclass
class Course:
    """A run in progress.

    Attributes:
        begun: perf_counter() at its beginning.
        keep: gets each record as soon as there is one.
        give_up: end when the service is gone: ``GONE_AFTER`` requests in a row that found nobody or were cut.
        due: requests in all its stages.
        done, failed, running: requests so far.
        gone: why it was ended early; '' if it was not.
    """

    begun: float
    keep: Keep
    give_up: bool = True
    due: int = 0
    done: int = 0
    failed: int = 0
    running: int = 0
    gone: str = ""
    client: Client = field(default_factory=Client)
    _lost: int = 0

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.perf_counter() - self.begun

    def finished(self, record: Record) -> None:
        """Take in a record, and notice a service that is gone."""
        self.keep(record)
        self.done += 1
        self.failed += not record.ok
        # A refusal is an answer of somebody who is there.
        self._lost = 0 if record.ok or record.status not in (0, 200) else self._lost + 1
        if self.give_up and self._lost >= GONE_AFTER and not self.gone:
            self.gone = f"the last {self._lost} requests all failed: {record.error}"


async def run(stage: Stage, ask: Ask, course: Course) -> None:
    """Carry a stage out. Cancelled, it cancels its requests and waits until they have handed in what had arrived."""
    cpu, wall = time.process_time(), time.perf_counter()
    watch = asyncio.create_task(_watch(course.client))
    tasks: set[asyncio.Task[None]] = set()
    try:
        if stage.concurrency is None:
            await _open(stage, ask, course, tasks)
        else:
            await _closed(stage, stage.concurrency, ask, course, tasks)
    finally:
        for task in (*tasks, watch):
            task.cancel()
        await asyncio.gather(*tasks, watch, return_exceptions=True)
        course.client.cpu_s += time.process_time() - cpu
        course.client.wall_s += time.perf_counter() - wall


async def _closed(stage: Stage, concurrency: int, ask: Ask, course: Course, tasks: set[asyncio.Task[None]]) -> None:
    waiting = iter(stage.requests)

    async def worker() -> None:
        for request in waiting:  # shared: each takes the next one
            if course.gone:
                return
            await _one(request, course.elapsed, ask, course)

    tasks |= {asyncio.create_task(worker()) for _ in range(min(concurrency, len(stage.requests)))}
    await asyncio.gather(*tasks)


async def _open(stage: Stage, ask: Ask, course: Course, tasks: set[asyncio.Task[None]]) -> None:
    begun = course.elapsed
    mistakes: list[BaseException] = []

    def ended(task: asyncio.Task[None]) -> None:
        tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            mistakes.append(error)

    for request in stage.requests:
        due = begun + request.at
        if (early := due - course.elapsed) > 0:
            await asyncio.sleep(early)
        if course.gone or mistakes:
            break
        task = asyncio.create_task(_one(request, due, ask, course))
        tasks.add(task)
        task.add_done_callback(ended)
    while tasks and not mistakes:
        await asyncio.wait(set(tasks), return_when=asyncio.FIRST_EXCEPTION)
    if mistakes:
        raise mistakes[0]


async def _one(request: Request, due: float, ask: Ask, course: Course) -> None:
    course.running += 1
    try:
        course.finished(await ask(replace(request, at=due), course.begun))
    finally:
        course.running -= 1


async def _watch(client: Client) -> None:
    """Note how late the event loop is."""
    with suppress(asyncio.CancelledError):
        while True:
            before = time.perf_counter()
            await asyncio.sleep(_TICK_S)
            client.late.append(time.perf_counter() - before - _TICK_S)
