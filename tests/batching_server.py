"""A server that batches as an engine does, with steps of a known length: real HTTP on a real clock, no model.

    async with BatchingServer(STEPS, LIMITS) as server: ... server.url ...

A step lasts as :class:`bench.step_times.StepTimes` says, and is slept, not computed: other work on the machine moves it
by little, and not for long, since each step's end is reckoned from the one before. It schedules by itself, with none of
the planner's code: every running request gets its token, then waiting ones take free places, their prompts whole.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from bench.queueing import Limits
from bench.step_times import StepTimes
from tests.bench_server import BenchServer, _event


@dataclass
class _Asked:
    prompt: int
    left: int
    tokens: asyncio.Queue[None] = field(default_factory=asyncio.Queue)


@dataclass
class BatchingServer(BenchServer):
    """See the module. ``entry_s``: slept before the engine sees a request."""

    times: StepTimes = field(default_factory=lambda: StepTimes(0.02, 0.001, 0.0001))
    limits: Limits = field(default_factory=Limits)
    entry_s: float = 0.005

    async def __aenter__(self) -> Self:
        self._waiting: deque[_Asked] = deque()
        self._awake = asyncio.Event()
        self._engine = asyncio.create_task(self._steps())
        await super().__aenter__()
        return self

    async def __aexit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._engine.cancel()
        await super().__aexit__(kind, error, trace)

    async def _steps(self) -> None:
        running: list[_Asked] = []
        due = time.perf_counter()
        while True:
            if not running and not self._waiting:
                self._awake.clear()
                await self._awake.wait()
                due = time.perf_counter()
            free = self.limits.running - len(running)
            begun = [self._waiting.popleft() for _ in range(min(len(self._waiting), free))]
            due += self.times.step(len(running), sum(one.prompt for one in begun))
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            running += begun
            for one in running:
                one.left -= 1
                one.tokens.put_nowait(None)
            running = [one for one in running if one.left]

    async def _stream(
        self, request: web.Request, body: dict[str, Any], tokens: list[str], usage: dict[str, int]
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        await asyncio.sleep(self.entry_s)
        asked = _Asked(usage["prompt_tokens"], len(tokens))
        self._waiting.append(asked)
        self._awake.set()
        for token in tokens:
            await asked.tokens.get()
            await response.write(_event(self._delta(request.path, token, False)))
        for event in self._last(request.path, usage):
            await response.write(_event(event))
        await response.write(b"data: [DONE]\r\n\r\n")
        return response
