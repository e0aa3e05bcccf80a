"""Loads kept up: how many at a time, when, and what is left when it ends early."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import pytest

from bench.protocol import Request
from bench.records import GIVEN_UP, Record
from bench.runner import GONE_AFTER, Course, run
from bench.workloads import Stage


@dataclass
class Service:
    """Answers after a while, and notes how many it had at a time."""

    takes_s: float = 0.02
    dead_from: int = 10**9
    status: int = 0
    now: int = 0
    most: int = 0
    begun: list[float] = field(default_factory=list[float])
    records: list[Record] = field(default_factory=list[Record])

    async def ask(self, request: Request, begun: float) -> Record:
        sent = time.perf_counter() - begun
        self.begun.append(sent)
        blank = Record(request.index, "it", request.at, sent, None, (), sent, 0, None, 0, 0, round=request.round)
        if request.index >= self.dead_from:
            return replace(blank, status=self.status, error="no connection")
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(self.takes_s)
        except asyncio.CancelledError:
            self.records.append(replace(blank, error=GIVEN_UP))
            raise
        finally:
            self.now -= 1
        return replace(blank, ended=time.perf_counter() - begun, status=200, finish_reason="stop", completion_tokens=1)


def requests(count: int, at: Callable[[int], float] = lambda _: 0.0) -> tuple[Request, ...]:
    return tuple(Request("x", index=number, at=at(number)) for number in range(count))


async def carried_out(service: Service, stage: Stage, give_up: bool = True) -> Course:
    course = Course(time.perf_counter(), service.records.append, give_up)
    await run(stage, service.ask, course)
    return course


async def test_a_closed_loop_keeps_its_number_running() -> None:
    service = Service()
    course = await carried_out(service, Stage("c", requests(30), concurrency=5))
    assert service.most == 5
    assert sorted(record.index for record in service.records) == list(range(30))
    assert (course.done, course.failed, course.running) == (30, 0, 0)
    assert course.elapsed >= 30 / 5 * 0.02


async def test_an_open_loop_does_not_wait_for_answers() -> None:
    service = Service(takes_s=0.4)
    course = await carried_out(service, Stage("o", requests(20, at=lambda number: number * 0.01)))
    assert service.most == 20, "the first answers come after the last request is due"
    assert course.done == 20
    assert all(record.lag < 0.3 for record in service.records)
    assert [round(record.at, 1) for record in sorted(service.records, key=lambda r: r.index)][::10] == [0.0, 0.1]


async def test_a_second_stage_counts_its_times_from_its_own_beginning() -> None:
    service = Service()
    course = Course(time.perf_counter(), service.records.append)
    stage = Stage("o", requests(3, at=lambda number: number * 0.05))
    await run(stage, service.ask, course)
    await run(stage, service.ask, course)
    first, second = service.records[:3], service.records[3:]
    assert min(record.at for record in second) >= max(record.ended for record in first) - 1e-3
    assert max(record.lag for record in service.records) < 0.2


@pytest.mark.parametrize("concurrency", [3, None])
async def test_a_service_that_is_gone_ends_the_run(concurrency: int | None) -> None:
    service = Service(takes_s=0.001, dead_from=10)
    stage = Stage("s", requests(400, at=lambda number: number * 0.002), concurrency)
    course = await carried_out(service, stage)
    assert course.gone.startswith(f"the last {GONE_AFTER} requests all failed: no connection")
    assert sum(record.ok for record in service.records) == 10
    assert len(service.records) < 200


async def test_told_to_keep_going_it_goes_on() -> None:
    service = Service(takes_s=0.001, dead_from=10)
    course = await carried_out(service, Stage("s", requests(100), concurrency=3), give_up=False)
    assert (course.gone, course.done, course.failed) == ("", 100, 90)


async def test_refusals_are_answers_of_somebody_who_is_there() -> None:
    service = Service(dead_from=0, status=503)
    course = await carried_out(service, Stage("s", requests(100), concurrency=3))
    assert (course.gone, course.failed) == ("", 100)


@pytest.mark.parametrize("concurrency", [4, None])
async def test_a_run_that_is_cancelled_hands_in_what_was_running(concurrency: int | None) -> None:
    service = Service(takes_s=60)
    course = Course(time.perf_counter(), service.records.append)
    task = asyncio.create_task(run(Stage("s", requests(4), concurrency), service.ask, course))
    while service.now < 4:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [record.error for record in service.records] == [GIVEN_UP] * 4
    assert (service.now, course.running) == (0, 0)


@pytest.mark.parametrize("concurrency", [2, None])
async def test_a_mistake_of_ours_is_not_taken_for_the_services(concurrency: int | None) -> None:
    async def ask(request: Request, begun: float) -> Record:
        raise ValueError("a request has exactly one of prompt and messages")

    mistaken: Callable[[Request, float], Awaitable[Record]] = ask
    with pytest.raises(ValueError, match="exactly one"):
        await run(Stage("s", requests(3), concurrency), mistaken, Course(time.perf_counter(), lambda _: None))


async def test_the_client_notices_when_it_is_the_bottleneck() -> None:
    service = Service()

    async def busy(request: Request, begun: float) -> Record:
        until = time.process_time() + 0.05
        while time.process_time() < until:
            pass
        return await service.ask(request, begun)

    course = Course(time.perf_counter(), service.records.append)
    await run(Stage("s", requests(12), concurrency=4), busy, course)
    assert course.client.cpu_s >= 0.5
    assert max(course.client.late) > 0.03
    assert course.client.wall_s == pytest.approx(course.elapsed, rel=0.2)
