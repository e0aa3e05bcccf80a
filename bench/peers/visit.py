"""Measures one server that runs: each load, and what every process spent on it. Edge: what :mod:`bench.client` is."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

from bench.bootstrap import percentile
from bench.client import event_loop, open_session, send
from bench.errors import TargetError
from bench.peers.processes import busy_s, spent
from bench.peers.running import Server
from bench.peers.servers import APP, MODEL
from bench.peers.store import Load, Plan, Visit
from bench.probe import measured
from bench.protocol import Request, Target
from bench.records import Record, read
from bench.runner import Course, run
from bench.statistics import summary
from bench.workloads import Shape, Stage, closed, fixed, poisson
from serve_app import lifetime

Tell = Callable[[str], None]
"""Told what is being measured, and what came of it."""

WARM_UP = 64
_PAUSE_S = 2.0
"""Before each load: what the one before left to do is done, and vLLM's processes have stopped to spin."""
_HANDLE_TIMEOUT_S = 600.0


def measure(server: Server, plan: Plan, visit: Visit, rate: float | None, tell: Tell) -> None:
    """Put the server of a visit under each load of the plan; results go into ``visit``.

    Args:
        server: it runs.
        plan: what to measure.
        visit: of this server; gets the loads.
        rate: of the open loop, requests a second; None: this is bare's first visit, and its best decides.
        tell: told of each step.

    Raises:
        TargetError: it does not answer, or a load failed as a whole.
    """
    with asyncio.Runner(loop_factory=event_loop) as runner:
        runner.run(until_signal(_measure(server, plan, visit, rate, tell)))
    visit.memory_mib = server.memory_mib()


async def until_signal(work: Coroutine[None, None, None]) -> None:
    """Do the work; a signal to end cancels it first, and is then handled as it would have been without this.

    A handler that raises could do so inside a callback of the event loop, where the exception is printed and lost.
    """
    loop, task, came = asyncio.get_running_loop(), asyncio.ensure_future(work), list[int]()

    def end(number: int) -> None:
        came.append(number)
        if len(came) == 1:  # a second one would break off what the first makes it put in order
            task.cancel()

    handlers = {number: signal.getsignal(number) for number in lifetime.END_SIGNALS}
    for number in handlers:
        loop.add_signal_handler(number, end, number)
    try:
        await asyncio.wait([task])
    finally:
        for number, handler in handlers.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])
    await task


def rate_of(visit: Visit, plan: Plan) -> float:
    """The open loop's rate, from bare's closed loops."""
    return plan.share * max(summary(load.records).requests_per_s for load in visit.loads.values())


async def _measure(server: Server, plan: Plan, visit: Visit, rate: float | None, tell: Tell) -> None:
    tell("warming up")
    target, source = await warmed(server, visit.server, Shape(plan.prompt, plan.answer), visit.number, WARM_UP)
    for concurrency in plan.concurrency:
        count = max(plan.least, plan.per * concurrency)
        await _told(server, target, closed(source, concurrency, count), f"c{concurrency}", visit, tell)
    rate = rate_of(visit, plan) if rate is None else rate
    await _told(server, target, poisson(source, rate, plan.open_s, visit.number), "open", visit, tell)
    if visit.server == "switchyard" and plan.handle:
        await _handles(server, plan, source, visit, tell)


async def warmed(
    server: Server, label: str, shape: Shape, seed: int, requests: int
) -> tuple[Target, Iterator[Request]]:
    """A server that has had its first requests, and those that come after them.

    Raises:
        TargetError: it does not answer, or every request failed.
    """
    target = Target(server.url, "completions", label=label, model=MODEL)
    async with open_session() as session:
        words = await measured(session, target)
    source = fixed(shape, words, seed=seed)
    await load_of(server, target, closed(source, 32, requests), "warm-up")
    return target, source


async def _told(server: Server, target: Target, stage: Stage, name: str, visit: Visit, tell: Tell) -> None:
    await asyncio.sleep(_PAUSE_S)
    load = await load_of(server, target, stage, name)
    visit.loads[name] = load
    tell(described(load))


def described(load: Load) -> str:
    """One line about a load."""
    found = summary(load.records)
    at = f" of {load.offered:.1f} offered" if load.offered else ""
    failed = f", {found.failed} FAILED" if found.failed else ""
    return (
        f"{load.name}: {found.requests} requests in {load.wall_s:.1f} s, {found.requests_per_s:.1f} req/s{at}, "
        f"TTFT p50 {found.ttft.p50 * 1e3:.0f} ms p99 {found.ttft.p99 * 1e3:.0f} ms{failed}"
    )


async def load_of(server: Server, target: Target, stage: Stage, name: str, *, stream: bool = True) -> Load:
    """Put a server under one load; what all processes spent on it is measured with it.

    Raises:
        TargetError: every request failed.
    """
    async with open_session() as session:

        async def ask(request: Request, begun: float) -> Record:
            return await send(session, target, request, begun=begun, stream=stream)

        records: list[Record] = []
        before, busy = server.processes(), busy_s()
        course = Course(time.perf_counter(), records.append)
        await run(stage, ask, course)
        wall_s = course.elapsed
        cpu_s, busy = spent(before, server.processes()), busy_s() - busy
    if not any(record.ok for record in records):
        reason = records[0].error if records else "nothing was sent"
        raise TargetError(f"{target.label}, {name}: every request failed, the first with: {reason}")
    own = course.client.cpu_s
    return Load(
        name, records, wall_s, cpu_s, own, _late(course.client.late), stage.rate, _others(busy, cpu_s, own, wall_s)
    )


def _others(busy: float, cpu_s: Mapping[str, float], client_s: float, wall_s: float) -> float:
    return round(max(0.0, busy - sum(cpu_s.values()) - client_s) / wall_s, 3)


def _late(late: list[float]) -> float:
    found = percentile(late, 99)
    return 0.0 if math.isnan(found) else found


async def _handles(server: Server, plan: Plan, source: Iterator[Request], visit: Visit, tell: Tell) -> None:
    """The Python handle beside HTTP: ``/generate``, which is the handle's own request, in one piece and as a stream."""
    concurrency = 32 if 32 in plan.concurrency else plan.concurrency[-1]
    count = max(plan.least, plan.per * concurrency)
    target = Target(server.url, "generate", label="switchyard")
    for how in ("whole", "stream"):
        for way in ("http", "handle") if visit.number % 2 == 0 else ("handle", "http"):
            await asyncio.sleep(_PAUSE_S)
            requests = tuple(replace(request, raw=True) for request in islice(source, count + concurrency))
            warm, stage = requests[:concurrency], Stage(how, requests[concurrency:], concurrency)
            name = f"{way} {how}"
            if way == "http":
                await load_of(server, target, Stage(how, warm, concurrency), "warm-up", stream=how == "stream")
                load = await load_of(server, target, stage, name, stream=how == "stream")
            else:
                load = await asyncio.to_thread(by_handle, server, warm, stage, name, server.log.parent)
            visit.loads[name] = load
            tell(described(load))


def by_handle(server: Server, warm: tuple[Request, ...], stage: Stage, name: str, folder: Path) -> Load:
    """Have :mod:`bench.peers.handle` make the same requests, in a process of its own, as another Ray job would.

    Raises:
        TargetError: it failed.
    """
    out = folder / "handle.jsonl"
    told = {
        "app": APP,
        "stream": stage.name == "stream",
        "concurrency": stage.concurrency,
        "warm": [asdict(request) for request in warm],
        "requests": [asdict(request) for request in stage.requests],
        "out": str(out),
    }
    environ = {**os.environ, **server.ray_environment()}
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.peers.handle"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ,
        start_new_session=True,
    )
    try:
        return _heard(process, json.dumps(told), server, name, out)
    finally:
        process.kill()
        process.wait()


def _heard(process: subprocess.Popen[str], told: str, server: Server, name: str, out: Path) -> Load:
    if process.stdin is None or process.stdout is None:
        raise TargetError("The handle's process has no pipes.")
    process.stdin.write(told + "\n")
    process.stdin.flush()
    # It says when it is warm, and waits: what it does before is not measured.
    if process.stdout.readline().strip() != "ready":
        raise TargetError(_complaint(process))
    before, busy = server.processes(), busy_s()
    begun = time.perf_counter()
    process.stdin.write("go\n")
    process.stdin.flush()
    said = process.stdout.readline()
    wall_s = time.perf_counter() - begun
    cpu_s, busy = spent(before, server.processes()), busy_s() - busy
    try:
        own = json.loads(said)
    except ValueError:
        raise TargetError(_complaint(process)) from None
    records = read(out.read_text().splitlines(), str(out))
    others = _others(busy, cpu_s, own["cpu_s"], wall_s)
    return Load(name, records, wall_s, cpu_s, own["cpu_s"], own["late_s"], None, others)


def _complaint(process: subprocess.Popen[str]) -> str:
    process.kill()
    _, said = process.communicate(timeout=_HANDLE_TIMEOUT_S)
    lines = [line for line in said.splitlines() if line.strip()]
    return f"The Python handle failed: {lines[-1] if lines else 'it said nothing'}"
