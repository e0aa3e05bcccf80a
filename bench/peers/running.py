"""Starts one server, waits until it answers, and ends it with everything below it. Edge: processes."""

from __future__ import annotations

import json
import random
import re
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.errors import TargetError
from bench.peers.processes import Snapshot, memory_mib, snapshot
from bench.peers.servers import Start
from serve_app import lifetime

LOG = "server.log"
START_TIMEOUT_S = 600.0
_END_S = 60.0
_POLL_S = 0.25
_LINES = 15
_LOOKS = 40


@dataclass(frozen=True)
class Server:
    """A server that answers.

    Attributes:
        url: where.
        pid: of the process that was started; all of the server is below it.
        log: what it printed.
        started_s: from its start to its first answer, s.
    """

    url: str
    pid: int
    log: Path
    started_s: float

    def processes(self) -> Snapshot:
        """Its processes, now."""
        return snapshot(self.pid)

    def memory_mib(self) -> dict[str, float]:
        """Its memory, now, by kind of process."""
        return memory_mib(self.processes())

    def ray_environment(self) -> dict[str, str]:
        """What a Ray job needs to find it, as ``switchyard serve`` prints it; empty where it prints none."""
        printed = re.search(r".*RAY_ADDRESS=.*", self.log.read_text(errors="replace"))
        return dict(re.findall(r"(RAY_\w+)=(\S+)", printed[0])) if printed else {}


def free_port() -> int:
    """A port that nobody listens on just now, outside of the ranges that Ray takes its own from."""
    ports = list(range(18_100, 18_200))
    random.shuffle(ports)  # another run that is just starting has not taken its own yet
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind(("0.0.0.0", port))
                return port
    raise TargetError("No port between 18100 and 18199 is free. End what listens there.")


@contextmanager
def running(start: Start, port: int, folder: Path) -> Generator[Server]:
    """The server, up inside the block; gone after it, whichever way the block ends.

    Whatever it starts stays below this process (see :func:`serve_app.lifetime.adopt_orphans`), so the end is complete.

    Raises:
        TargetError: it did not start; with the last lines that it printed.
    """
    lifetime.adopt_orphans()
    for name, text in start.files.items():
        (folder / name).write_text(text, encoding="utf-8")
    log = folder / LOG
    begun = time.monotonic()
    with log.open("wb") as out:
        # A session of its own: Ctrl-C reaches this process only, which then ends it in order.
        process = subprocess.Popen(
            start.command,
            env=start.environ,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait(process, port, log, begun)
        yield Server(_url(port), process.pid, log, time.monotonic() - begun)
    finally:
        _end(process)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path, begun: float) -> None:
    url, strange = _url(port), 0
    while time.monotonic() - begun < START_TIMEOUT_S:
        if process.poll() is not None:
            raise TargetError(_last_words(f"The server ended with status {process.returncode} as it started", log))
        if _answers(url):
            if listens(process.pid, port):
                return
            # HAProxy is replaced by another as replicas come, so one look is not enough.
            strange += 1
            if strange == _LOOKS:
                raise TargetError(
                    f"Something else answers at {url}, perhaps another 'make bench'. End it, and try again."
                )
        time.sleep(_POLL_S)
    raise TargetError(_last_words(f"The server did not answer within {START_TIMEOUT_S:.0f} s", log))


def listens(root: int, port: int) -> bool:
    """Whether ``root`` or a process below it listens on the port: what answers there may be another's."""
    for process in snapshot(root).values():
        with suppress(psutil.Error):
            for connection in psutil.Process(process.pid).net_connections("tcp"):
                address: Any = connection.laddr
                if connection.status == psutil.CONN_LISTEN and address.port == port:
                    return True
    return False


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _answers(url: str) -> bool:
    """Whether it lists a model and completes one token: ray.serve.llm lists it before its engine is there."""
    try:
        with urllib.request.urlopen(f"{url}/v1/models", timeout=5) as response:
            model = json.load(response)["data"][0]["id"]
        body = json.dumps({"model": model, "prompt": "a", "max_tokens": 1}).encode()
        asked = urllib.request.Request(f"{url}/v1/completions", body, {"content-type": "application/json"})
        with urllib.request.urlopen(asked, timeout=60) as response:
            return bool(json.load(response)["choices"])
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _last_words(what: str, log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    said = "".join(f"\n  {line[:300]}" for line in lines[-_LINES:])
    return f"{what}. The end of {log}:{said or ' nothing.'}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end; then end whatever is left below this process."""
    process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_END_S)
    lifetime.end_descendants()
    with suppress(subprocess.TimeoutExpired):
        process.wait(5)
