"""What this client can do at most on this machine: a closed loop against a server that does nothing. Edge."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.client import open_session, send
from bench.errors import BenchError
from bench.protocol import Request, Target
from bench.records import Record
from bench.runner import Client, Course, run
from bench.workloads import Stage

_GAP_S = 0.01  # a small model's step


@dataclass(frozen=True)
class Ceiling:
    """What the client managed.

    Attributes:
        requests_per_s, events_per_s: the most, beside a server that sends as fast as it can.
        cpu_ms_per_request, cpu_us_per_event: CPU time of the client for an answer, and for a token event with its share
            of the rest, while tokens came one at a time as an engine's do. Steady where other work slows the machine.
        tokens: token events an answer.
        concurrency: answers at a time.
    """

    requests_per_s: float
    events_per_s: float
    cpu_ms_per_request: float
    cpu_us_per_event: float
    tokens: int
    concurrency: int

    @property
    def most_events_per_s(self) -> float:
        """Token events that a whole core could follow: the bound where the service runs elsewhere."""
        return 1e6 / self.cpu_us_per_event


@contextmanager
def toy(tokens: int, gap_s: float = 0.0) -> Generator[str]:
    """A trivial server in a process of its own, until the block ends; its URL."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(1024)
        port = listening.getsockname()[1]
        descriptor = listening.fileno()
        command = [sys.executable, "-m", "bench.toy", str(descriptor), str(tokens), str(gap_s)]
        process = subprocess.Popen(command, pass_fds=[descriptor])
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


async def measure(tokens: int = 64, concurrency: int = 32, duration_s: float = 5.0) -> Ceiling:
    """Measure twice for about ``duration_s`` seconds, each after a second of warming up.

    Raises:
        BenchError: a request failed, which here is this machine's or this project's fault.
    """
    with toy(tokens) as url:
        fast, client = await _load(url, tokens, concurrency, duration_s)
        requests_per_s = len(fast) / client.wall_s
    with toy(tokens, _GAP_S) as url:
        paced, client = await _load(url, tokens, concurrency, duration_s)
    return Ceiling(
        requests_per_s=requests_per_s,
        events_per_s=requests_per_s * tokens,
        cpu_ms_per_request=client.cpu_s / len(paced) * 1e3,
        cpu_us_per_event=client.cpu_s / len(paced) / tokens * 1e6,
        tokens=tokens,
        concurrency=concurrency,
    )


async def _load(url: str, tokens: int, concurrency: int, duration_s: float) -> tuple[list[Record], Client]:
    async with open_session() as session:
        target = Target(url, label="toy")

        async def ask(request: Request, begun: float) -> Record:
            return await send(session, target, request, begun=begun)

        records: list[Record] = []
        course = Course(time.perf_counter(), records.append)
        pace = 0.0
        for seconds in (0.3, 0.7, duration_s):
            records = []
            course = Course(time.perf_counter(), records.append)
            request = Request("hi", max_tokens=tokens)
            await run(Stage("ceiling", (request,) * max(concurrency, int(pace * seconds)), concurrency), ask, course)
            pace = len(records) / course.elapsed
    if failed := [record.error for record in records if not record.ok]:
        raise BenchError(f"{len(failed)} requests to a local server failed, the first with: {failed[0]}.")
    return records, course.client
