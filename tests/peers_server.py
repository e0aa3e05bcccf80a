"""Stands in for every server that `make bench` starts: a :class:`tests.bench_server.BenchServer` on a port.

``programs(folder)`` makes a folder for ``--programs`` in which each is this. It leaves a process behind that ignores
all polite requests to end, as a crashed Ray would.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

from tests.bench_server import BenchServer

ROOT = Path(__file__).parent.parent
STUBBORN = "import signal, time; signal.signal(2, signal.SIG_IGN); signal.signal(15, signal.SIG_IGN); time.sleep(600)"
FAST = {"switchyard": 0.0005, "vllm": 0.001, "python": 0.003}
"""Seconds a token."""


def programs(folder: Path, broken: str = "") -> Path:
    """A folder with ``vllm``, ``switchyard`` and ``python``; ``broken`` ends as it starts."""
    folder.mkdir(exist_ok=True)
    for name in FAST:
        says = "echo 'no such GPU'; exit 3" if name == broken else f"exec {sys.executable} -m tests.peers_server {name}"
        program = folder / name
        program.write_text(f'#!/bin/sh\ncd {ROOT}\n{says} "$@"\n')
        program.chmod(0o755)
    return folder


def port_of(name: str, arguments: list[str]) -> int:
    """The port that a server was told, in its own way."""
    if name == "vllm":
        return int(arguments[arguments.index("--port") + 1])
    if name == "switchyard":
        return json.loads(Path(arguments[-1]).read_text())["serving"]["port"]
    return json.loads(arguments[-1])["port"]


async def serve(name: str, port: int) -> None:
    async with BenchServer(gap_s=FAST[name], port=port):
        await asyncio.Event().wait()


def main() -> None:
    name, *arguments = sys.argv[1:]
    # Its parent ends at once, so that nothing but adoption finds it.
    orphan = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {STUBBORN!r}])"
    subprocess.run([sys.executable, "-c", orphan], check=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    asyncio.run(serve(name, port_of(name, arguments)))


if __name__ == "__main__":
    main()
