"""What parts of Switchyard cost: the same service with one of them left out or doubled, in alternated rounds.

``python -m bench.peers.parts [ROUNDS]`` prints medians. Edge: processes.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from statistics import median

from bench.client import event_loop
from bench.peers.cli import folder_of
from bench.peers.ratios import cpu_ms
from bench.peers.running import Server, free_port, running
from bench.peers.servers import MODEL, Engine, dtype_for, start
from bench.peers.store import Load
from bench.peers.visit import load_of, warmed
from bench.statistics import summary
from bench.terminal import table
from bench.workloads import Shape, closed

VARIANTS: dict[str, dict[str, str]] = {
    "as it is": {},
    "without metrics through Ray": {"SWITCHYARD__SERVING__RAY_METRICS": "false"},
    "two replicas": {"SWITCHYARD__SCALING__MIN_REPLICAS": "2", "SWITCHYARD__SCALING__MAX_REPLICAS": "2"},
}
CONCURRENCY = (32, 64)
REQUESTS = 768
"""Of each load."""
HEADER = ("service", "load", "req/s", "replicas ms", "engines ms", "haproxy ms", "memory MiB")
DIGITS = (1, 2, 2, 2, 0)


async def _loads(server: Server) -> dict[str, Load]:
    target, source = await warmed(server, "switchyard", Shape(64, 64), seed=1, requests=256)
    return {
        f"c{number}": await load_of(server, target, closed(source, number, REQUESTS), f"c{number}")
        for number in CONCURRENCY
    }


def measure(variant: str, model: str, programs: Path) -> dict[str, tuple[float, ...]]:
    """Figures of one start of one variant, by load: in the order of :data:`HEADER`."""
    port = free_port()
    engine = Engine(model, dtype_for(Path("/proc/cpuinfo").read_text()))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        begin = start("switchyard", engine, port, folder, programs, folder, {**os.environ, **VARIANTS[variant]})
        with running(begin, port, folder) as server, asyncio.Runner(loop_factory=event_loop) as runner:
            loads = runner.run(_loads(server))
            memory = sum(server.memory_mib().values())
    return {
        name: (
            summary(load.records).requests_per_s,
            *(cpu_ms(load, kind) for kind in ("server", "engine core", "haproxy")),
            memory,
        )
        for name, load in loads.items()
    }


def main(rounds: int) -> None:
    """Measure, and print."""
    model, programs = folder_of(MODEL), Path(sys.executable).parent
    found: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    for number in range(rounds):
        for variant in VARIANTS if number % 2 == 0 else reversed(VARIANTS):
            print(f"round {number + 1}/{rounds}: {variant}", file=sys.stderr, flush=True)
            for load, figures in measure(variant, model, programs).items():
                found.setdefault((variant, load), []).append(figures)
    order = list(VARIANTS)
    rows: list[list[str]] = []
    for (variant, load), each in sorted(found.items(), key=lambda item: order.index(item[0][0])):
        middle = [median(column) for column in zip(*each, strict=True)]
        rows.append([variant, load, *(f"{value:.{digits}f}" for value, digits in zip(middle, DIGITS, strict=True))])
    table(HEADER, rows, {})


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
